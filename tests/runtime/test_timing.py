"""What `caffe time` prints, of models with and without losses."""

import re

import keras
import numpy as np
import pytest

from caffe2k.runtime.timing import benchmark


def lines(capsys):
    return re.sub(r"\d+(\.\d+)?(e-\d+)?(?= ms)", "T", capsys.readouterr().out)


def expected(*names):
    layers = "".join(f"{name:>10}\tforward: T ms.\n" for name in names)
    return (
        "*** Benchmark begins ***\n"
        "Testing for 2 iterations.\n"
        "Average time per layer, with its input brought in and its output fetched:\n"
        f"{layers}"
        "Average Forward pass: T ms.\n"
        "Average Backward pass: T ms.\n"
        "Average Forward-Backward: T ms.\n"
        "Total Time: T ms.\n"
        "*** Benchmark ends ***\n"
    )


def test_a_net_without_losses(capsys):
    x = keras.Input((4, 4, 1), name="data")
    conv = keras.layers.Conv2D(2, 3, name="conv")(x)
    twice = keras.layers.Concatenate(name="concat")([conv, conv])
    relu = keras.layers.ReLU(name="relu")
    model = keras.Model(x, {"a": relu(relu(twice)), "b": conv})
    benchmark(model, (np.zeros((3, 4, 4, 1), "float32"),), 2)
    # relu is called twice: it is timed as a part of the whole alone.
    assert lines(capsys) == expected("conv", "concat")


@pytest.mark.parametrize("training", [True, False])
def test_a_compiled_net_in_its_phase(capsys, training):
    seen = []

    class Spy(keras.layers.Layer):
        def call(self, x, training=None):
            seen.append(training)
            return x

    model = keras.Sequential(
        [keras.Input((3,)), Spy(name="spy"), keras.layers.Dense(2, name="ip")]
    )
    model.compile(keras.optimizers.SGD(0.0), keras.losses.MeanSquaredError())
    before = model.get_weights()
    seen.clear()
    batch = (np.ones((4, 3), "float32"), np.ones((4, 2), "float32"))
    benchmark(model, batch, 2, training=training)
    assert lines(capsys) == expected("spy", "ip")
    assert training in seen[:-1]
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
