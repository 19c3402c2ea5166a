"""The nets that a solver tests: one model for those with the same layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffe2k.diagnostics import TranslationError
from caffe2k.schema import caffe_pb2
from caffe2k.translation import Translation, translate

NET = """
name: "net"
layer { name: "d" type: "DummyData" top: "data" top: "label" %s
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
layer { name: "d" type: "DummyData" top: "data" top: "label"
  include { phase: TEST stage: "small" }
  dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
PROB = 'layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }'
ACCURACY = (
    'layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc" }'
)


def translated(folder: Path, solver: str) -> Translation:
    (folder / "net.prototxt").write_text(
        NET % 'exclude { phase: TEST stage: "small" }', encoding="utf-8"
    )
    other = NET % 'exclude { phase: TEST stage: "small" }' + PROB + ACCURACY
    (folder / "other.prototxt").write_text(other, encoding="utf-8")
    text = f'base_lr: 1 lr_policy: "fixed" max_iter: 9 test_interval: 3 {solver}'
    (folder / "solver.prototxt").write_text(text, encoding="utf-8")
    return translate(folder / "solver.prototxt")


def train_script(translation: Translation) -> str:
    return translation.files()["train.py"]  # type: ignore[return-value]


def test_stages_with_other_data_share_the_model(tmp_path: Path) -> None:
    found = translated(
        tmp_path,
        'net: "net.prototxt" test_iter: 1 test_iter: 2 '
        'test_state {} test_state { stage: "small" }',
    )
    assert not any(name.startswith("test_") for name in found.scripts)
    assert "def test_1_data(" in found.scripts["data.py"]
    script = train_script(found)
    assert "TEST_ITER = [1, 2]" in script
    assert "Stream(test_1_data(" in script.replace("\n", "").replace(" ", "")


def test_a_file_with_layers_of_its_own_has_a_model_of_its_own(tmp_path: Path) -> None:
    found = translated(
        tmp_path,
        'train_net: "net.prototxt" test_net: "net.prototxt" test_net: "other.prototxt" '
        "test_iter: 1 test_iter: 1",
    )
    assert "test_1_model.py" in found.scripts
    assert "Accuracy" not in found.scripts["model.py"]
    assert "Accuracy(" in found.scripts["test_1_model.py"]
    script = train_script(found)
    assert "import test_1_model" in script
    assert "Output('acc', 'ip_acc')" in script.replace('"', "'")


def test_only_other_files_are_tested(tmp_path: Path) -> None:
    found = translated(
        tmp_path,
        'train_net: "net.prototxt" test_net: "other.prototxt" test_iter: 1',
    )
    assert "test_model.py" in found.scripts
    assert "def test_data(" in found.scripts["data.py"]


def test_nets_inside_the_solver_come_first(tmp_path: Path) -> None:
    found = translated(
        tmp_path,
        'net: "net.prototxt" test_iter: 1 test_iter: 2 '
        f"test_net_param {{ {NET % ''} {ACCURACY} }}",
    )
    assert "Accuracy" in found.scripts["test_model.py"]


def test_what_is_wrong_in_a_test_net_is_an_error(tmp_path: Path) -> None:
    bad = PROB.replace('bottom: "ip"', 'bottom: "nothing"')
    with pytest.raises(TranslationError, match="nothing"):
        translated(
            tmp_path,
            f'net: "net.prototxt" test_iter: 1 test_net_param {{ {NET % ""} {bad} }}',
        )


def test_arrays_of_two_test_nets_have_names_of_their_own(tmp_path: Path) -> None:
    infogain = """
    layer { name: "gain" type: "InfogainLoss" bottom: "ip" bottom: "label" top: "gain"
      infogain_loss_param { source: "%s" } }
    """
    for number, name in enumerate(("one", "two"), 1):
        matrix = caffe_pb2.BlobProto(data=[float(number)] * 25)
        matrix.shape.dim.extend([5, 5])
        (tmp_path / f"{name}.binaryproto").write_bytes(matrix.SerializeToString())
        net = NET % "" + infogain % f"{name}.binaryproto"
        (tmp_path / f"{name}.prototxt").write_text(net, encoding="utf-8")
    found = translated(
        tmp_path,
        'train_net: "net.prototxt" test_net: "one.prototxt" test_net: "two.prototxt" '
        "test_iter: 1 test_iter: 1",
    )
    for number, name in enumerate(("test", "test_1"), 1):
        file = f"{name}_infogain.npy"
        assert f'"{file}"' in found.files()[f"{name}_model.py"].replace("'", '"')
        found.writers[file](tmp_path / "array.npy")
        assert (np.load(tmp_path / "array.npy") == number).all()


def test_a_net_with_data_for_training_alone_is_only_trained(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(
        NET % "include { phase: TRAIN }", encoding="utf-8"
    )
    solver = 'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 9'
    (tmp_path / "solver.prototxt").write_text(solver, encoding="utf-8")
    scripts = translate(tmp_path / "solver.prototxt").scripts
    assert "def train_data(" in scripts["data.py"]
    assert "def test_data(" not in scripts["data.py"]
    (tmp_path / "solver.prototxt").write_text(
        f"{solver} test_iter: 1 test_interval: 3", encoding="utf-8"
    )
    with pytest.raises(TranslationError, match="no layer before it writes"):
        translate(tmp_path / "solver.prototxt")


def test_the_readme_names_the_models_that_are_tested(tmp_path: Path) -> None:
    found = translated(
        tmp_path, 'train_net: "net.prototxt" test_net: "other.prototxt" test_iter: 1'
    )
    assert "| `test_model.py` |" in found.scripts["README.md"]
