"""The flags of an emitted train.py in a training: one epoch of a sample, on its data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from caffe2k.translation import translate
from tests.e2e.processes import python

LENET = Path(__file__).resolve().parents[2] / "samples" / "digits_lenet"


def train(folder: Path, *flags: str) -> str:
    command = ("train.py", "--log", "lines", "--epochs", "1", *flags)
    return python(*command, folder=folder, data=LENET).stdout


def loss_at(iteration: int, printed: str) -> float:
    (loss,) = re.findall(rf"Iteration {iteration} .*, loss = (\S+)", printed)
    return float(loss)


@pytest.mark.slow
def test_flags_of_a_training(tmp_path: Path) -> None:
    folder = tmp_path / "keras"
    translate(LENET / "solver.prototxt").write(folder)
    plain = train(folder, "--seed", "1")
    flags = (
        *("--batch-size", "8", "--class-weight", "0=0,1=0,2=0,3=0,4=0", "--gpus", "0"),
        *("--checkpoint", "best_{epoch}_{val_loss:.2f}.keras", "--early-stopping", "3"),
        *("--tensorboard", "curves", "--mixed-precision", "--summary"),
    )
    other = train(folder, "--seed", "1", *flags)
    assert "Total params" in other
    assert "Total params" not in plain
    # Half of the classes weigh nothing, and with them go half of the loss and of what is
    # learned.
    assert loss_at(0, other) < 0.8 * loss_at(0, plain)
    accuracies = [
        float(re.findall(r"output #0: accuracy = (\S+)", printed)[-1])
        for printed in (plain, other)
    ]
    assert accuracies[0] > 0.9
    assert 0.3 < accuracies[1] < 0.7
    (best,) = folder.glob("best_1_*.keras")
    (loss,) = re.findall(r"output #1: loss = (\S+)", other)[-1:]
    assert best.name == f"best_1_{float(loss):.2f}.keras"
    written = {path.parent.name for path in (folder / "curves").rglob("events.*")}
    assert written == {"train", "validation"}
