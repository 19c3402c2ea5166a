"""Im2col and SPP: against Caffe's results, and against its loops in NumPy."""

import keras
import numpy as np
import pytest

from caffe2k.runtime.windows import Im2col, SpatialPyramidPooling2D
from tests.runtime.window_rules import im2col, spp

FORMATS = {"channels_last": -1, "channels_first": 1}


def to_keras(array, data_format, spatial):
    """Moves the channels, which lie before the spatial axes, to where Keras has them."""
    if data_format == "channels_first":
        return array
    return np.moveaxis(array, array.ndim - spatial - 1, -1)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "pad", "dilation"),
    [
        ((2, 3, 7), [3], [2], [1], [2]),
        ((2, 3, 5, 6), [3, 2], [2, 1], [1, 0], [1, 2]),
        ((1, 2, 4, 4), [1, 1], [3, 3], [0, 0], [1, 1]),
        ((1, 2, 3, 4, 3), [2, 2, 2], [1, 2, 1], [0, 1, 1], [1, 1, 1]),
        ((2, 2, 3, 5, 4), [3, 2], [1, 1], [1, 0], [1, 1]),
        ((2, 3, 2, 6), [3, 3], [2, 2], [0, 1], [1, 1]),
    ],
)
def test_im2col_rule(shape, kernel, stride, pad, dilation, data_format, check, vjp):
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    axis = len(shape) - len(kernel) - 1
    images = x.reshape(-1, *shape[axis:])
    pairs = [im2col(image, kernel, stride, pad, dilation) for image in images]
    top = np.reshape([t for t, _ in pairs], (*shape[:axis], *pairs[0][0].shape))
    dy = np.random.default_rng(2).normal(size=top.shape).astype("float32")
    bottom_diff = np.zeros_like(images)
    flat = dy.reshape(len(images), -1)
    for n, (_, origin) in enumerate(pairs):
        known = origin.ravel() >= 0
        np.add.at(bottom_diff[n].ravel(), origin.ravel()[known], flat[n][known])
    settings = {"strides": stride, "padding": pad, "dilation_rate": dilation}
    layer = Im2col(kernel, **settings, data_format=data_format)
    given, wanted = (to_keras(a, data_format, len(kernel)) for a in (x, top))
    out, (din,) = vjp(layer, [given], to_keras(dy, data_format, len(kernel)))
    check(out, wanted, 0)
    expected = to_keras(bottom_diff.reshape(shape), data_format, len(kernel))
    check(din, expected, 1e-4)
    assert layer.compute_output_shape(given.shape) == out.shape


@pytest.mark.parametrize("data_format", FORMATS)
def test_im2col_case(data_format, caffe_case, check, vjp):
    case = caffe_case("im2col")
    layer = Im2col([3, 3], 2, 1, data_format=data_format)
    x, dy, top, dx = (
        to_keras(case[key], data_format, 2)
        for key in ("in/data", "dout/out", "out/out", "din/data")
    )
    out, (din,) = vjp(layer, [x], dy)
    check(out, top)
    check(din, dx, 1e-4)


@pytest.mark.parametrize("data_format", FORMATS)
def test_spp_case(data_format, caffe_case, check, vjp):
    case = caffe_case("spp_max")
    layer = SpatialPyramidPooling2D(3, data_format=data_format)
    x, dx = (to_keras(case[key], data_format, 2) for key in ("in/data", "din/data"))
    out, (din,) = vjp(layer, [x], case["dout/out"])
    check(out, case["out/out"])
    check(din, dx, 1e-4)
    assert layer.compute_output_shape(x.shape) == out.shape


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("plane", [(9, 9), (7, 12), (4, 4), (13, 8)])
def test_spp_rule(plane, pool, data_format, check):
    x = np.random.default_rng(3).normal(size=(2, 3, *plane)).astype("float32")
    levels = 3
    layer = SpatialPyramidPooling2D(levels, pool, data_format=data_format)
    expected = np.stack([spp(image, levels, pool) for image in x])
    out = layer(to_keras(x, data_format, 2))
    check(out, expected)
    assert layer.compute_output_shape(to_keras(x, data_format, 2).shape) == out.shape


def test_stochastic_pyramids_draw_in_training():
    x = np.random.default_rng(4).uniform(size=(2, 4, 4, 3)).astype("float32")
    layer = SpatialPyramidPooling2D(2, "STOCHASTIC")
    np.testing.assert_array_equal(layer(x), layer(x))
    drawn = keras.ops.convert_to_numpy(layer(x, training=True))
    assert np.isin(drawn, x).all()


def test_fit_and_save(survives):
    inputs = keras.Input((6, 8, 2))
    x = Im2col([3, 3], padding=1)(inputs)
    x = SpatialPyramidPooling2D(2, "AVE")(x)
    assert x.shape == (None, 18 * 5)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    data = np.random.default_rng(0).normal(size=(6, 6, 8, 2)).astype("float32")
    model.compile("sgd", "mse")
    model.fit(data, np.zeros((6, 1)), batch_size=4, verbose=0)
    survives(model, data)


def test_images_of_unknown_batch_and_height():
    x = Im2col([2], data_format="channels_first")(keras.Input((3, None)))
    assert x.shape == (None, 6, None)
