"""Which blobs the log prints, and where their numbers come from."""

from __future__ import annotations

import ast
from pathlib import Path

from caffe2k.translation import translate

DATA = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 4 dim: 1 dim: 3 dim: 3 } shape { dim: 4 } } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 3 } }
layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc"
  include { phase: TEST } }
"""
LOSS = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss"
  loss_weight: %s }
"""
PROB = 'layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }'
POOL = """
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { kernel_size: 2 } }
"""
SUM = """
layer { name: "sum" type: "Reduction" bottom: "ip" top: "sum" loss_weight: 0.3 }
"""
ROWS = """
layer { name: "rows" type: "Reduction" bottom: "ip" top: "rows" loss_weight: 0.2
  reduction_param { axis: 1 } }
"""


def outputs(folder: Path, *layers: str) -> tuple[dict[str, str], dict[str, str]]:
    """What train.py prints in training and in tests: blob -> the other arguments."""
    (folder / "net.prototxt").write_text(DATA + "".join(layers), encoding="utf-8")
    (folder / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 9 display: 1 '
        "test_iter: 1 test_interval: 3",
        encoding="utf-8",
    )
    script = str(translate(folder / "solver.prototxt").scripts["train.py"])
    found = {
        node.targets[0].id: [
            [ast.unparse(argument) for argument in (*call.args, *call.keywords)]
            for call in ast.walk(node.value)
            if isinstance(call, ast.Call)
        ]
        for node in ast.parse(script).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    train, test = (
        {ast.literal_eval(top): ", ".join(rest) for top, *rest in found[name]}
        for name in ("TRAIN_OUTPUTS", "TEST_OUTPUTS")
    )
    needs = any("'" not in rest for rest in train.values())
    assert ("data=data" in script) == needs
    return train, test


def test_the_only_loss_is_keras_own_number(tmp_path: Path) -> None:
    train, test = outputs(tmp_path, LOSS % 0.5)
    assert train == {"loss": "'loss', loss_weight=0.5, weighted=True"}
    assert test == {"acc": "'acc'", **train}


def test_a_loss_without_weight_has_a_metric(tmp_path: Path) -> None:
    train, _ = outputs(tmp_path, LOSS % 0)
    assert train == {"loss": "'loss_value'"}


def test_blobs_with_values_for_each_sample_are_outputs_of_the_model(
    tmp_path: Path,
) -> None:
    train, _ = outputs(tmp_path, LOSS % 1, PROB, POOL)
    assert train == {
        "loss": "'loss', loss_weight=1.0",
        "pool": "channels_last=True",
        "prob": "",
    }


def test_losses_inside_the_model(tmp_path: Path) -> None:
    train, test = outputs(tmp_path, LOSS % 0.5, SUM, ROWS)
    assert train == {
        "loss": "'ip_loss_value', loss_weight=0.5",
        "rows": "loss_weight=0.2",
        "sum": "loss_weight=0.3, repeated=True",
    }
    assert test == {"acc": "'ip_acc'", **train}
