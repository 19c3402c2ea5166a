"""Tile and Crop: against Caffe's results, and along every axis."""

import itertools

import keras
import numpy as np
import pytest

from caffe2k.runtime.tiling import Crop, Tile

X = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype("float32")
FORMATS = {"channels_last": (0, 2, 3, 1), "channels_first": (0, 1, 2, 3)}


@pytest.mark.parametrize("order", FORMATS.values(), ids=FORMATS)
def test_tile_case(order, caffe_case, check, vjp):
    case = caffe_case("tile_channels")
    layer = Tile(order.index(1), 3)
    x, dy = (case[key].transpose(order) for key in ("in/data", "dout/out"))
    out, (din,) = vjp(layer, [x], dy)
    check(out, case["out/out"].transpose(order))
    check(din, case["din/data"].transpose(order), 1e-4)


@pytest.mark.parametrize("axis", range(4))
def test_tile_repeats_the_whole_axis(axis, check, vjp):
    layer = Tile(axis, 3)
    top = np.concatenate([X, X, X], axis)
    dy = np.random.default_rng(2).normal(size=top.shape).astype("float32")
    out, (din,) = vjp(layer, [X], dy)
    check(out, top, 0)
    check(din, sum(np.split(dy, 3, axis)), 1e-4)
    assert layer.compute_output_shape(X.shape) == out.shape


@pytest.mark.parametrize("order", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("crop_center", {2: 1, 3: 1}),
        ("crop_channels", {1: 1, 2: 2, 3: 3}),
        ("crop_offsets", {2: 3, 3: 0}),
    ],
)
def test_crop_case(name, box, order, caffe_case, check, vjp):
    case = caffe_case(name)
    axes, offsets = [order.index(axis) for axis in box], list(box.values())
    x, ref, dy = (case[k].transpose(order) for k in ("in/data", "in/ref", "dout/out"))
    sizes = [ref.shape[axis] for axis in axes]
    out, (din,) = vjp(Crop(axes, offsets, sizes), [x], dy)
    check(out, case["out/out"].transpose(order), 0)
    check(din, case["din/data"].transpose(order), 0)
    dynamic = Crop(axes, offsets)
    out, (din, dref) = vjp(lambda x, ref: dynamic([x, ref]), [x, ref], dy)
    check(out, case["out/out"].transpose(order), 0)
    check(din, case["din/data"].transpose(order), 0)
    assert not dref.any()
    assert dynamic.compute_output_shape([x.shape, ref.shape]) == out.shape


def test_crop_along_any_axes(check):
    for axes in itertools.chain(*(itertools.combinations(range(4), n) for n in (1, 2))):
        sizes = [X.shape[axis] - 1 for axis in axes]
        expected = X
        for axis in axes:
            expected = np.delete(expected, 0, axis)
        layer = Crop(list(axes), [1] * len(axes), sizes)
        check(layer(X), expected, 0)
        assert layer.compute_output_shape(X.shape) == expected.shape


def test_crop_refuses_lists_of_different_lengths():
    with pytest.raises(ValueError, match="equal lengths"):
        Crop([1, 2], [0])
    with pytest.raises(ValueError, match="equal lengths"):
        Crop([1, 2], [0, 0], [3])


def test_images_of_any_size(survives):
    image, reference = keras.Input((None, None, 2)), keras.Input((None, None, 1))
    x = Crop([1, 2], [1, 0], name="crop")([image, reference])
    x = Tile(3, 2, name="tile")(x)
    assert x.shape == (None, None, None, 4)
    model = keras.Model([image, reference], x)
    data = [np.ones((2, 5, 5, 2), "float32"), np.ones((2, 3, 4, 1), "float32")]
    assert model.predict(data, verbose=0).shape == (2, 3, 4, 4)
    survives(model, data)
