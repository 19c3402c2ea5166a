"""ShuffleChannel, Reorg and Flip: against their forks' loops in NumPy."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.rearranging import Flip, Reorg, ShuffleChannel
from tests.runtime.rearranging_rules import reorg, shuffle

FORMATS = {"channels_last": (0, 2, 3, 1), "channels_first": (0, 1, 2, 3)}


@pytest.mark.parametrize("group", [1, 2, 3, 6])
@pytest.mark.parametrize("order", FORMATS.values(), ids=FORMATS)
def test_shuffle_rule(order, group, check, vjp):
    x = np.random.default_rng(1).normal(size=(2, 6, 3, 4)).astype("float32")
    dy = np.random.default_rng(2).normal(size=x.shape).astype("float32")
    layer = ShuffleChannel(group, order.index(1))
    out, (din,) = vjp(layer, [x.transpose(order)], dy.transpose(order))
    check(out, shuffle(x, group).transpose(order), 0)
    # Backward_cpu shuffles with rows and columns swapped.
    check(din, shuffle(dy, 6 // group).transpose(order), 0)


def test_shuffle_of_flat_blobs(check):
    x = np.arange(12, dtype="float32").reshape(2, 6)
    check(ShuffleChannel(2)(x), shuffle(x, 2), 0)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("stride", "shape"), [(2, (2, 8, 4, 6)), (3, (1, 9, 3, 3)), (1, (1, 2, 3, 4))]
)
def test_reorg_rule(stride, shape, reverse, data_format, check, vjp):
    order = FORMATS[data_format]
    x = np.random.default_rng(3).normal(size=shape).astype("float32")
    layer = Reorg(stride, reverse, data_format=data_format)
    out, (din,) = vjp(layer, [x.transpose(order)])
    check(out, reorg(x, stride, reverse).transpose(order), 0)
    assert layer.compute_output_shape(x.transpose(order).shape) == out.shape
    # Backward_cpu reads `diff_`, which nothing has written.
    check(din, np.zeros_like(x).transpose(order), 0)


@pytest.mark.parametrize("axes", [[1], [2], [1, 2]])
def test_flip_rule(axes, check, vjp):
    x = np.random.default_rng(4).normal(size=(2, 3, 4, 5)).astype("float32")
    dy = np.random.default_rng(5).normal(size=x.shape).astype("float32")
    out, (din,) = vjp(Flip(axes), [x], dy)
    index = tuple(slice(None, None, -1 if a in axes else 1) for a in range(4))
    check(out, x[index], 0)
    check(din, dy[index], 0)


def test_fit_and_save(survives):
    inputs = keras.Input((4, 6, 8))
    x = keras.layers.Conv2D(8, 1)(inputs)
    x = ShuffleChannel(2)(x)
    x = Flip([2])(x)
    x = keras.layers.Concatenate()([Reorg(2)(x), keras.layers.AveragePooling2D(2)(x)])
    assert Reorg(2)(inputs).shape == (None, 2, 3, 32)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))
    data = np.random.default_rng(0).normal(size=(6, 4, 6, 8)).astype("float32")
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((6, 1)), batch_size=4, verbose=0)
    survives(model, data)
