"""Random chains of layers that rename, cut, join and reduce axes, in both data formats.

Whatever axis order a blob has in Keras, the model's output is Caffe's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.conformance.against_rules import FORMATS, blobs, check, emitted, normal
from tests.conformance.gradients import run
from tests.conformance.suite import error
from tests.runtime.reduction_rules import argmax
from tests.unit.nets import layer

Made = tuple[str, np.ndarray]
"""The text of layers from blob `a` to blob `b`, and the value of `b`."""


def one(kind: str, a: str, b: str, param: str = "") -> str:
    return layer(f"{kind}_{b}", kind, a, b, param)


def permute(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    order = draw.sample(range(x.ndim), x.ndim)
    # Batches of other sizes than the input's are not in this game.
    order = [0, *(axis for axis in order if axis)]
    given = " ".join(f"order: {axis}" for axis in order)
    return one("Permute", a, b, f"permute_param {{ {given} }}"), x.transpose(order)


def tile(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    axis = draw.randrange(1, x.ndim)
    param = f"tile_param {{ axis: {axis} tiles: 2 }}"
    return one("Tile", a, b, param), np.concatenate([x, x], axis)


def cut(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    axis = draw.randrange(1, x.ndim)
    if x.shape[axis] < 2:
        return power(x, a, b, draw)
    param = f"slice_param {{ axis: {axis} slice_point: 1 }}"
    text = one("Slice", a, f"{b}_first {b}", param) + layer("", "Silence", f"{b}_first")
    return text.replace(f'top: "Silence_{b}"', ""), x.take(
        range(1, x.shape[axis]), axis
    )


def concat(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    axis = draw.randrange(1, x.ndim)
    text, y = power(x, a, f"{b}_other", draw)
    param = f"concat_param {{ axis: {axis} }}"
    both = np.concatenate([x, y], axis)
    return text + one("Concat", f"{a} {b}_other", b, param), both


def add_permuted(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    """A sum of two blobs that lie in different orders."""
    first, y = permute(x, a, f"{b}_there", draw)
    if y.shape != x.shape:
        return first.replace(f"{b}_there", b), y
    text, z = power(y, f"{b}_there", f"{b}_power", draw)
    return first + text + one("Eltwise", f"{a} {b}_power", b), x + z


def power(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    return one("Power", a, b, "power_param { scale: 2 shift: 1 }"), 2 * x + 1


def softmax(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    axis = draw.randrange(1, x.ndim)
    if x.shape[axis] == 1:
        # Keras warns of it.
        return power(x, a, b, draw)
    e = np.exp(x - x.max(axis, keepdims=True))
    text = one("Softmax", a, b, f"softmax_param {{ axis: {axis} }}")
    return text, e / e.sum(axis, keepdims=True)


def reduction(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    axis = draw.randrange(max(1, x.ndim - 2), x.ndim)
    text = one("Reduction", a, b, f"reduction_param {{ axis: {axis} operation: MEAN }}")
    return text, x.mean(tuple(range(axis, x.ndim)))


def best(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    axis = draw.randrange(1, x.ndim)
    text = one("ArgMax", a, b, f"argmax_param {{ axis: {axis} out_max_val: true }}")
    return text, argmax(x, axis, 1, True).astype("float32")


def flatten(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    first = draw.randrange(1, x.ndim)
    last = draw.randrange(first, x.ndim)
    shape = (*x.shape[:first], -1, *x.shape[last + 1 :])
    param = f"flatten_param {{ axis: {first} end_axis: {last} }}"
    return one("Flatten", a, b, param), x.reshape(shape)


def reshape(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    values = math.prod(x.shape[1:])
    divisors = [d for d in range(1, values + 1) if values % d == 0]
    shape = (x.shape[0], draw.choice(divisors), -1)
    dims = f"dim: 0 dim: {shape[1]} dim: -1"
    param = f"reshape_param {{ shape {{ {dims} }} }}"
    return one("Reshape", a, b, param), x.reshape(shape)


def fold(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    """The second axis becomes a part of the batch."""
    shape = (-1, *x.shape[2:])
    dims = " ".join(f"dim: {d}" for d in shape)
    param = f"reshape_param {{ shape {{ {dims} }} }}"
    return one("Reshape", a, b, param), x.reshape(shape)


def split(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    """One axis becomes two; the batch leaves its larger part behind."""
    axis = draw.randrange(x.ndim)
    factors = [d for d in range(1, x.shape[axis] + 1) if x.shape[axis] % d == 0]
    inner = 1 if axis == 0 else draw.choice(factors)
    shape = (*x.shape[:axis], -1, inner, *x.shape[axis + 1 :])
    param = (
        f"reshape_param {{ axis: {axis} num_axes: 1 shape {{ dim: -1 dim: {inner} }} }}"
    )
    return one("Reshape", a, b, param), x.reshape(shape)


def crop(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    axis = draw.randrange(1, x.ndim)
    if x.shape[axis] < 2:
        return power(x, a, b, draw)
    text, smaller = cut(x, a, f"{b}_smaller", draw)
    if smaller.shape == x.shape:
        return text + one("Power", f"{b}_smaller", b), smaller
    offsets = [big - small for big, small in zip(x.shape, smaller.shape, strict=True)]
    given = " ".join(f"offset: {o}" for o in offsets[1:])
    box = tuple(slice(o, None) for o in offsets)
    param = f"crop_param {{ axis: 1 {given} }}"
    return text + one("Crop", f"{a} {b}_smaller", b, param), x[box]


def inner(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    """All weights are 1."""
    axis = draw.randrange(1, x.ndim)
    sums = x.reshape(*x.shape[:axis], -1).sum(-1, keepdims=True)
    param = f"inner_product_param {{ num_output: 3 axis: {axis} }}"
    y = np.repeat(sums, 3, -1) / 60 + 1 / 60
    scaled = one("InnerProduct", a, f"{b}_sums", param)
    return scaled + one(
        "Power", f"{b}_sums", b, "power_param { scale: 0.01666666666 }"
    ), y


def norm(x: np.ndarray, a: str, b: str, draw: random.Random) -> Made:
    if not 2 <= x.ndim <= 4:
        return power(x, a, b, draw)
    text = one("Normalize", a, b, "norm_param { across_spatial: false eps: 0.1 }")
    return text, x / np.sqrt((x**2).sum(1, keepdims=True) + 0.1)


LAYERS: list[Callable[[np.ndarray, str, str, random.Random], Made]] = [
    permute,
    permute,
    tile,
    cut,
    concat,
    add_permuted,
    power,
    softmax,
    reduction,
    best,
    flatten,
    reshape,
    fold,
    split,
    crop,
    inner,
    norm,
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("seed", range(60))
def test_chain(seed: int, form: str, tmp_path: Path) -> None:
    draw = random.Random(seed)
    x = value = normal(2, 3, 4, 5)
    text, blob = "", "x"
    for number in range(draw.randrange(2, 7)):
        if value.ndim < 2:
            break
        after = f"b{number}"
        more, value = draw.choice(LAYERS)(value, blob, after, draw)
        text, blob = text + more, after
    text += layer("op", "Power", blob, "out", "power_param { power: 2 }")
    net = emitted(text, {"x": x}, tmp_path, form)
    for planned in net.net.plan.layers:
        ones = [np.ones(w.keras_shape) for w in planned.weights]
        net.model.get_layer(planned.keras_name).set_weights(ones)
    found = run(net, {"x": x}, {}).out["out"]
    assert found.shape == value.shape, text
    assert error(found, value**2) <= 1e-5, text


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("transpose", ["false", "true"])
def test_an_image_made_by_a_matrix(transpose: str, form: str, tmp_path: Path) -> None:
    """The matrix makes the values in the order in which the image lies in Keras."""
    z, dout = normal(2, 7), normal(2, 6, 4, 5)
    settings = f"inner_product_param {{ num_output: 60 transpose: {transpose} }}"
    text = (
        layer("fc", "InnerProduct", "z", "fc", settings)
        + layer("relu", "ReLU", "fc", "fc")
        + layer(
            "image",
            "Reshape",
            "fc",
            "image",
            "reshape_param { shape { dim: 0 dim: 3 dim: 4 dim: 5 } }",
        )
        + layer(
            "op",
            "Convolution",
            "image",
            "out",
            "convolution_param { num_output: 6 kernel_size: 1 }",
        )
    )
    net = emitted(text, {"z": z}, tmp_path, form)
    weights, bias = blobs(net, "fc")
    matrix = weights if transpose == "true" else weights.T
    kernel, shift = blobs(net, "op")
    flat = z @ matrix + bias
    image = np.maximum(flat, 0).reshape(2, 3, 4, 5)
    top = np.einsum("nchw,oc->nohw", image, kernel[..., 0, 0]) + shift[:, None, None]
    dflat = np.einsum("nohw,oc->nchw", dout, kernel[..., 0, 0]).reshape(2, 60)
    dflat = np.where(flat > 0, dflat, 0)
    dmatrix = z.T @ dflat
    passes = run(net, {"z": z}, {"out": dout}, compiled=form == "channels_first")
    check(passes, top, {"z": dflat @ matrix.T})
    expected = dmatrix if transpose == "true" else dmatrix.T
    assert error(passes.dparam["fc", 0], expected) <= 1e-4
    assert error(passes.dparam["fc", 1], dflat.sum(0)) <= 1e-4
