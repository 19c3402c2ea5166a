"""An emitted train.py that is killed, and goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.translation import translate

SOLVER = """
net: "net.prototxt"
type: "Adam" base_lr: 0.01 momentum: 0.9 lr_policy: "step" stepsize: 5 gamma: 0.5
weight_decay: 0.001 iter_size: 2 max_iter: 12 display: 1
test_iter: 2 test_interval: 4 snapshot: 3 snapshot_prefix: "snap"
"""
NET = """
name: "net"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
  hdf5_data_param { source: "train.txt" batch_size: 4 shuffle: true } }
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TEST }
  hdf5_data_param { source: "train.txt" batch_size: 5 } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "ip1" top: "ip1" }
layer { name: "drop" type: "Dropout" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An emitted project whose data, Dropout and initial weights are random."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "train.h5", "w") as file:
        file["data"] = rng.normal(size=(23, 6)).astype("float32")
        file["label"] = rng.integers(0, 3, 23).astype("float32")
    (tmp_path / "train.txt").write_text("train.h5\n", encoding="utf-8")
    (tmp_path / "solver.prototxt").write_text(SOLVER, encoding="utf-8")
    (tmp_path / "net.prototxt").write_text(NET, encoding="utf-8")
    translate(tmp_path / "solver.prototxt").write(tmp_path / "keras")
    return tmp_path / "keras"


def running(project: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "CAFFE_DATA_ROOT": str(project.parent),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    return subprocess.Popen(
        [sys.executable, str(project / "train.py"), *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def until(process: subprocess.Popen[str], text: str) -> None:
    """Reads what a process prints, up to the line that begins with `text`."""
    assert process.stdout is not None
    assert any(line.startswith(text) for line in process.stdout), text


def arrays(snapshot: Path) -> dict[str, np.ndarray]:
    """All that a snapshot holds, weights, history and random state."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with zipfile.ZipFile(snapshot) as archive:
        place = json.loads(archive.read("caffe_state.json"))
        with archive.open("model.weights.h5") as weights, h5py.File(weights) as file:
            file.visititems(keep)
    assert place["random"]
    found["random"] = np.array(place["random"])
    return found


@pytest.mark.slow
def test_killed_and_interrupted_it_ends_where_it_would_have(project: Path) -> None:
    """SIGKILL between two snapshots, and right behind one; then SIGINT, which takes one."""
    folder = project.parent
    with running(project, folder / "whole", "--seed", "7") as process:
        printed, _ = process.communicate()
    with running(project, folder / "parts", "--seed", "7") as process:
        until(process, "Iteration 4 ")
        process.kill()
    with running(project, folder / "parts", "--resume") as process:
        until(process, "Snapshotting to snap_iter_6.keras")
        until(process, "Iteration 6 ")
        process.kill()
    with running(project, folder / "parts", "--resume") as process:
        until(process, "Resuming from snap_iter_6.keras")
        until(process, "Iteration 7 ")
        process.send_signal(signal.SIGINT)
        stopped, _ = process.communicate()
    assert "Optimization stopped early." in stopped
    with running(project, folder / "parts", "--resume") as process:
        resumed, _ = process.communicate()
    # What the last part prints of losses and tests is what the whole run printed.
    last, all_ = values(resumed), values(printed)
    assert last
    assert last == all_[-len(last) :]
    once, again = (
        arrays(folder / part / "snap_iter_12.keras") for part in ("whole", "parts")
    )
    assert once.keys() == again.keys()
    for name, expected in once.items():
        np.testing.assert_array_equal(again[name], expected, err_msg=name)
    assert not list((folder / "parts").glob("*partial*"))
    # One that has reached its end, in the middle of an epoch, is left as it is.
    ended = ("--resume", "snap_iter_9.keras", "--epochs", "0")
    with running(project, folder / "parts", *ended) as process:
        printed, _ = process.communicate()
    assert "Optimization Done." in printed
    assert not (folder / "parts" / "snap_iter_10.keras").exists()


def values(printed: str) -> list[str]:
    """What is printed of losses."""
    return re.findall("loss = (.*)", printed)
