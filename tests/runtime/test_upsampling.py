"""Unpooling2D, Interpolation2D: against NumPy readings of the forks' layers."""

import keras
import numpy as np
import pytest
from resampling_rules import interpolation, repetition, unpooling

from caffe2k.runtime.pooling import MaxPooling2DWithMask
from caffe2k.runtime.upsampling import Interpolation2D, Unpooling2D

RNG = np.random.default_rng(8)
FORMATS = {"channels_last": (0, 2, 3, 1), "channels_first": (0, 1, 2, 3)}


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def drawn():
    """A function that draws a gradient for a top, and the gradients it drew."""
    made = []

    def dout_of(top):
        made.append(normal(*top.shape))
        return made[-1]

    return dout_of, made


MASKS = [
    # Windows of their own: every place is taken once.
    ((2, 3, 8, 6), 2, 2, 0),
    # Shared pixels: the last window's value stands.
    ((2, 3, 7, 7), 3, 1, 0),
    ((1, 2, 8, 5), 3, 2, 1),
]


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(("shape", "kernel", "stride", "pad"), MASKS)
def test_unpooling(shape, kernel, stride, pad, data_format, check, vjp):
    order = FORMATS[data_format]
    back = np.argsort(order)
    pooling = MaxPooling2DWithMask(kernel, stride, pad, data_format=data_format)
    mask = keras.ops.convert_to_numpy(pooling(normal(*shape).transpose(order))[1])
    values = normal(*mask.transpose(back).shape)
    # A plane of another width takes the same flat positions.
    for size in (shape[2:], (shape[2], shape[3] + 2)):
        dout_of, made = drawn()
        top, (dx,) = unpooling(values, mask.transpose(back), size, dout_of)
        layer = Unpooling2D(size, data_format=data_format)
        x, dout = values.transpose(order), made[0].transpose(order)
        out, gradients = vjp(lambda x, layer=layer: layer([x, mask]), [x], dout)
        check(out.transpose(back), top, 0)
        check(gradients[0].transpose(back), dx, 0)
        assert layer.compute_output_shape([x.shape, mask.shape]) == out.shape


SIZES = [
    # input, output, cut in front and behind
    ((5, 4), (9, 7), 0, 0),
    ((5, 4), (17, 13), 0, 0),
    ((7, 9), (4, 5), 0, 0),
    ((7, 9), (3, 20), 0, 0),
    ((6, 5), (6, 11), 0, 0),
    ((5, 4), (5, 4), 0, 0),
    ((1, 1), (6, 3), 0, 0),
    ((5, 6), (1, 1), 0, 0),
    ((8, 7), (9, 9), 1, 2),
    ((8, 7), (6, 4), 0, 3),
    ((8, 7), (6, 5), 2, 0),
]


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(("given", "size", "front", "behind"), SIZES)
def test_interpolation(given, size, front, behind, data_format, check, vjp):
    order = FORMATS[data_format]
    back = np.argsort(order)
    x = normal(2, 3, *given)
    dout_of, made = drawn()
    top, (dx,) = interpolation(x, size, front, behind, dout_of)
    layer = Interpolation2D(size, (front, behind), data_format)
    dout = made[0].transpose(order)
    out, gradients = vjp(layer, [x.transpose(order)], dout)
    check(out.transpose(back), top)
    check(gradients[0].transpose(back), dx, 1e-4)
    assert layer.compute_output_shape(x.transpose(order).shape) == out.shape


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_stock_upsampling_repeats(scale, check, vjp):
    x = normal(2, 3, 3, 4)
    dout_of, made = drawn()
    top, (dx,) = repetition(x, scale, dout_of)
    layer = keras.layers.UpSampling2D(scale)
    x, dout = x.transpose(0, 2, 3, 1), made[0].transpose(0, 2, 3, 1)
    out, gradients = vjp(layer, [x], dout)
    check(out.transpose(0, 3, 1, 2), top, 0)
    check(gradients[0].transpose(0, 3, 1, 2), dx, 1e-4)


def test_refuses():
    with pytest.raises(ValueError, match="size"):
        Unpooling2D((0, 4))
    with pytest.raises(ValueError, match="cropping"):
        Interpolation2D((4, 4), -1)
    with pytest.raises(ValueError, match="known size"):
        Interpolation2D((4, 4), 2)(np.zeros((1, 4, 4, 1), "float32"))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_fit_and_save(policy, survives):
    inputs = keras.Input((8, 8, 2))
    x = keras.layers.Conv2D(3, 1, dtype=policy)(inputs)
    x, mask = MaxPooling2DWithMask(2, 2, dtype=policy)(x)
    x = Unpooling2D((8, 8), dtype=policy)([x, mask])
    x = Interpolation2D((12, 10), (1, 0), dtype=policy)(x)
    model = keras.Model(inputs, x)
    data = normal(4, 8, 8, 2)
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((4, 12, 10, 3)), batch_size=3, verbose=0)
    survives(model, data)
