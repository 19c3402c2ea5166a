"""Small HDF5 files of weights, for tests."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe2k.weights.errors import WeightsError

VALUES = np.array([[0.5, -2, 0], [3, 1, 7]], np.float32)


def code_of(error: pytest.ExceptionInfo[WeightsError]) -> str:
    (found,) = error.value.diagnostics
    return found.code


def shared_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["data/a/0"] = VALUES
        file["data/soft/0"] = h5py.SoftLink("/data/a/0")
        file["data/hard/0"] = file["data/a/0"]
        file.create_dataset("data/packed/0", data=VALUES, compression="gzip")
        file["data/big_endian/0"] = VALUES.astype(">f8")


def keras_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "ip"
        group["0"] = VALUES
        file.create_group("layers/re_lu/vars").attrs["name"] = "relu"
        for name in ("optimizer", "metrics/mean"):
            state = file.create_group(f"{name}/vars")
            state.attrs["name"] = name
            state["0"] = VALUES


def one_layer(listing: h5py.Group, name: str) -> None:
    listing.attrs["layer_names"] = [name.encode()]
    group = listing.create_group(name)
    group.attrs["weight_names"] = [b"kernel"]
    group["kernel"] = VALUES
