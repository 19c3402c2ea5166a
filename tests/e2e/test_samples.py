"""Sample projects, from prototxt to accuracy: the two of `make demo` as processes, and
the weights that Caffe trained for nets whose log has no accuracy.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from caffe2k.translation import translate
from tests.e2e.processes import python
from tests.e2e.unlogged import accuracy, caffes_accuracies, last_snapshot

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
LENET = SAMPLES / "digits_lenet"
PARITY = SAMPLES / "digits_parity_finetune"
UNLOGGED = caffes_accuracies(SAMPLES / "README.md")


def run(*command: str, folder: Path, data: Path) -> str:
    return python(*command, folder=folder, data=data).stdout


def translated(sample: Path, weights: Path, folder: Path, *options: str) -> Path:
    arguments = (
        *("-m", "caffe2k", "translate", str(sample / "solver.prototxt")),
        *("--weights", str(weights), *options, "-o", str(folder)),
    )
    run(*arguments, folder=sample, data=sample)
    return folder


def outputs(log: str, name: str) -> list[str]:
    """What a test printed under a name, each time."""
    return re.findall(rf"Test net output[^:]*: {name} = ([0-9.e+-]+)", log)


@pytest.mark.slow
def test_lenet_is_caffes_lenet(tmp_path: Path) -> None:
    folder = translated(LENET, LENET / "lenet_iter_400.caffemodel", tmp_path / "keras")
    command = ("train.py", "--weights", "DigitsLeNet.h5", "--evaluate")
    printed = run(*command, folder=folder, data=LENET)
    logged = (LENET / "caffe.log").read_text(encoding="utf-8")
    for name in ("accuracy", "loss"):
        assert outputs(printed, name)[-1] == outputs(logged, name)[-1]


@pytest.mark.slow
def test_fine_tuning_ends_where_caffe_does(tmp_path: Path) -> None:
    weights = LENET / "lenet_iter_400.caffemodel"
    folder = translated(PARITY, weights, tmp_path / "keras", "--allow-partial")
    printed = run(
        "train.py", "--weights", "DigitsParity.h5", folder=folder, data=PARITY
    )
    logged = (PARITY / "caffe.log").read_text(encoding="utf-8")
    ours, caffes = (float(outputs(log, "accuracy")[-1]) for log in (printed, logged))
    assert abs(ours - caffes) <= 0.01
    assert sorted(p.name for p in folder.glob("*.keras")) == [
        "parity_iter_100.keras",
        "parity_iter_200.keras",
    ]


@pytest.mark.parametrize("name", UNLOGGED)
def test_caffes_weights_reach_caffes_accuracy(name: str, tmp_path: Path) -> None:
    sample, folder = SAMPLES / name, tmp_path / "keras"
    weights = last_snapshot(sample, "caffemodel")
    translation = translate(sample / "solver.prototxt", weights=weights)
    translation.write(folder)
    assert translation.weights_file is not None
    reached = accuracy(folder, folder / translation.weights_file, data=sample)
    assert reached == UNLOGGED[name]


def test_four_samples_have_an_accuracy_that_is_not_logged() -> None:
    names = {"lstm_text", "mlp_binary", "siamese_digits", "two_inputs_two_outputs"}
    assert UNLOGGED.keys() == names
