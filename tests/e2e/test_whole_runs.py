"""Two whole runs of a train.py, as processes: what they leave, print and agree on."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.translation import translate
from tests.e2e.processes import python

VGG = Path(__file__).resolve().parents[2] / "samples" / "vgg_like"

# It ends within an epoch.
SOLVER = """
net: "train_val.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 6 display: 2
test_iter: 1 test_interval: 4 random_seed: 5 snapshot_prefix: "snap"
"""

LOADING = """
import keras
import train

model = keras.models.load_model("snap_iter_6.keras")
print(type(model.optimizer).__name__, int(model.optimizer.iterations))
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # TensorFlow's warnings are looked for.
    return python(*command, folder=folder, data=VGG, TF_CPP_MIN_LOG_LEVEL="0")


def arrays(snapshot: Path) -> dict[str, np.ndarray]:
    """The weights and the history that a snapshot holds."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with (
        zipfile.ZipFile(snapshot) as archive,
        archive.open("model.weights.h5") as weights,
        h5py.File(weights) as file,
    ):
        file.visititems(keep)
    return found


@pytest.mark.slow
def test_with_one_seed_they_are_one(tmp_path: Path) -> None:
    """With Dropout, random crops and mirrors; and the snapshot is a model of Keras."""
    text = (VGG / "train_val.prototxt").read_text(encoding="utf-8")
    (tmp_path / "train_val.prototxt").write_text(text, encoding="utf-8")
    mean = (VGG / "patches_mean.binaryproto").read_bytes()
    (tmp_path / "patches_mean.binaryproto").write_bytes(mean)
    for name in ("patches_train_lmdb", "patches_test_lmdb"):
        (tmp_path / name).symlink_to(VGG / name)
    (tmp_path / "solver.prototxt").write_text(SOLVER, encoding="utf-8")
    translation = translate(tmp_path / "solver.prototxt")
    assert "Dropout" in translation.model
    runs = []
    for name in ("one", "two"):
        translation.write(tmp_path / name)
        done = run(tmp_path / name, "train.py")
        assert "Optimization Done." in done.stdout
        assert "GeneratorDataset iterator" not in done.stderr
        runs.append(arrays(tmp_path / name / "snap_iter_6.keras"))
    assert runs[0].keys() == runs[1].keys()
    for name, array in runs[0].items():
        np.testing.assert_array_equal(array, runs[1][name], err_msg=name)
    assert run(tmp_path / "one", "-c", LOADING).stdout == "CaffeSGD 6\n"
