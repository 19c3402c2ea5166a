"""What Caffe computed, and gradients on whichever Keras backend the tests run."""

import pathlib

import keras
import numpy as np
import pytest

from caffe2k.weights.caffemodel import read_caffemodel

TESTS = pathlib.Path(__file__).resolve().parents[1]
SUITES = (TESTS / "conformance", TESTS.parents[1] / "shared" / "conformance")


def pytest_configure(config):
    # Keras 3.15 converts variables for saving in a way that NumPy 2 will give up.
    config.addinivalue_line(
        "filterwarnings",
        "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning",
    )


@pytest.fixture
def caffe_case():
    """Loads a layer case by name; its arrays are in Caffe's axis order.

    The blobs of its caffemodel stand under `param/<layer>/<i>`.
    """

    def load(name):
        folders = [suite / "layers" / name for suite in SUITES]
        folder = next((f for f in folders if f.exists()), None)
        if folder is None:
            pytest.skip(f"the conformance case {name} is not here")
        with np.load(folder / "io.npz") as arrays:
            case = dict(arrays)
        weights = folder / "weights.caffemodel"
        for layer in read_caffemodel(weights).layers if weights.exists() else ():
            for i, blob in enumerate(layer.blobs):
                case[f"param/{layer.name}/{i}"] = blob.array()
        return case

    return load


def error(actual, expected):
    """The conformance suite's error: max|a - b| / max(1, max|b|)."""
    actual, expected = np.asarray(actual, "float64"), np.asarray(expected, "float64")
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / max(1.0, np.abs(expected).max())


@pytest.fixture
def check():
    """Asserts that two arrays agree as far as the conformance suite demands."""

    def agree(actual, expected, tolerance=1e-5):
        assert error(keras.ops.convert_to_numpy(actual), expected) <= tolerance

    return agree


@pytest.fixture
def survives(tmp_path):
    """Asserts that a model computes the same after each way of saving it."""

    def assert_survives(model, data):
        expected = model.predict(data, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        rebuilt = keras.models.model_from_json(model.to_json())
        rebuilt.set_weights(model.get_weights())
        for again in (loaded, rebuilt):
            keras.tree.map_structure(
                np.testing.assert_array_equal, again.predict(data, verbose=0), expected
            )
        for layer in model.layers:
            config = layer.get_config()
            assert type(layer).from_config(config).get_config() == config

    return assert_survives


@pytest.fixture
def vjp():
    """Calls function(*inputs) and returns (outputs, gradients), both as arrays.

    The gradients belong to the inputs and then the variables, for the given output
    gradients (ones by default).
    """
    return {"tensorflow": _vjp_tensorflow, "jax": _vjp_jax, "torch": _vjp_torch}[
        keras.backend.backend()
    ]


def _vjp_tensorflow(function, inputs, cotangents=None, variables=()):
    import tensorflow as tf

    inputs = [tf.constant(x) for x in inputs]
    watched = [*inputs, *(v.value for v in variables)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = function(*inputs)
    gradients = tape.gradient(outputs, watched, output_gradients=cotangents)
    return _arrays(outputs), [
        _array_or_zeros(g, x) for g, x in zip(gradients, watched, strict=True)
    ]


def _vjp_jax(function, inputs, cotangents=None, variables=()):
    import jax

    def stateless(inputs, values):
        with keras.StatelessScope(
            state_mapping=list(zip(variables, values, strict=True))
        ):
            return function(*inputs)

    inputs = [jax.numpy.asarray(x) for x in inputs]
    values = [v.value for v in variables]
    outputs, pullback = jax.vjp(stateless, inputs, values)
    if cotangents is None:
        cotangents = jax.numpy.ones_like(outputs)
    gradients = pullback(jax.tree.map(jax.numpy.asarray, cotangents))
    return _arrays(outputs), [np.asarray(g) for part in gradients for g in part]


def _vjp_torch(function, inputs, cotangents=None, variables=()):
    import torch

    inputs = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    watched = [*inputs, *(v.value for v in variables)]
    for x in watched:
        x.grad = None
    outputs = function(*inputs)
    flat = outputs if isinstance(outputs, list) else [outputs]
    if cotangents is None:
        cotangents = [torch.ones_like(x) for x in flat]
    elif not isinstance(outputs, list):
        cotangents = [cotangents]
    seeds = [torch.as_tensor(c) for c in cotangents]
    pairs = [p for p in zip(flat, seeds, strict=True) if p[0].requires_grad]
    if pairs:
        torch.autograd.backward(*map(list, zip(*pairs, strict=True)))
    return _arrays(outputs), [_array_or_zeros(x.grad, x) for x in watched]


def _arrays(outputs):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def _array_or_zeros(gradient, like):
    if gradient is None:
        return np.zeros(like.shape, "float32")
    return keras.ops.convert_to_numpy(gradient)
