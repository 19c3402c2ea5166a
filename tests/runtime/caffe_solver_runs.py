"""Caffe's recorded training runs, and the net that they trained, in Keras."""

import itertools
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PLACES = (_ROOT / "tests/conformance", _ROOT.parent / "shared/conformance")
SUITE = next((p for p in _PLACES if (p / "solvers").is_dir()), None)
needs_suite = pytest.mark.skipif(SUITE is None, reason="no conformance suite here")


def trajectory(case):
    """What Caffe recorded while training `solvers/<case>`."""
    with np.load(SUITE / "solvers" / case / "trajectory.npz") as arrays:
        return dict(arrays)


def batches(split, batch_size):
    """Batches of the digits in file order, for ever, as HDF5Data reads them."""
    with h5py.File(SUITE / "digits" / f"{split}.h5") as file:
        data = file["data"][:].transpose(0, 2, 3, 1)
        label = file["label"][:].astype("int32")
    for start in itertools.count(0, batch_size):
        rows = np.arange(start, start + batch_size) % len(label)
        yield data[rows], label[rows]


def digits_net(recorded):
    """The net of the digits cases with the weights that training started from."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="ip"),
        ]
    )
    conv, conv_bias, ip, ip_bias = keras_parameters(recorded, 0)
    model.get_layer("conv").set_weights([conv, conv_bias])
    model.get_layer("ip").set_weights([ip, ip_bias])
    return model


def compile_digits_net(model, optimizer):
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )


def keras_parameters(recorded, iteration):
    """Caffe's parameters after `iteration` updates in Keras's axis order."""
    conv, conv_bias, ip, ip_bias = (
        recorded[f"param/{iteration}/{blob}"]
        for blob in ("conv/0", "conv/1", "ip/0", "ip/1")
    )
    ip = ip.reshape(10, 4, 3, 3).transpose(2, 3, 1, 0).reshape(36, 10)
    return [conv.transpose(2, 3, 1, 0), conv_bias, ip, ip_bias]


def parameter_error(model, recorded, iteration):
    """The largest error of any parameter: max|a - b| / max(1, max|b|)."""
    pairs = zip(model.get_weights(), keras_parameters(recorded, iteration), strict=True)
    return max(np.abs(a - b).max() / max(1, np.abs(b).max()) for a, b in pairs)
