"""Layers that rearrange, cut, repeat or reduce axes, through emitted code.

In both data formats, and along every axis; expected are plain NumPy in Caffe's axis
order, or the readings of the C++ in tests/runtime/*_rules.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.against_rules import (
    FORMATS,
    Arrays,
    blobs,
    check,
    emitted,
    normal,
)
from tests.conformance.gradients import Passes, run
from tests.conformance.suite import error
from tests.runtime.image_norm_rules import mvn, normalize
from tests.runtime.rearranging_rules import reorg, shuffle
from tests.runtime.reduction_rules import argmax, reduce
from tests.runtime.window_rules import im2col, spp
from tests.unit.nets import layer

pytestmark = pytest.mark.parametrize("form", FORMATS)

SHAPE = (2, 3, 4, 5)


def passes(op: str, inputs: Arrays, dout: object, folder: Path, form: str) -> Passes:
    folder.mkdir(exist_ok=True)
    net = emitted(op, inputs, folder, form)
    return run(net, inputs, {} if dout is None else {"out": dout})


@pytest.mark.parametrize("axis", range(4))
def test_tile(axis: int, form: str, tmp_path: Path) -> None:
    x = normal(*SHAPE)
    top = np.concatenate([x, x, x], axis)
    dout = normal(*top.shape)
    op = layer("op", "Tile", "x", "out", f"tile_param {{ axis: {axis} tiles: 3 }}")
    found = passes(op, {"x": x}, dout, tmp_path, form)
    check(found, top, {"x": sum(np.split(dout, 3, axis))})


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_crop(rank: int, form: str, tmp_path: Path) -> None:
    x = normal(*(6, 5, 7, 6, 4)[:rank])
    for axis in range(rank):
        offsets = [1 + (i % 2) for i in range(rank - axis)]
        # One axis keeps its size: there the offset is 0.
        offsets[-1] = 0
        starts = [0] * axis + offsets
        ref = normal(
            *(
                n - s - 1 if i >= axis and s else n
                for i, (n, s) in enumerate(zip(x.shape, starts, strict=True))
            )
        )
        box = tuple(
            slice(s, s + n) if i >= axis else slice(None)
            for i, (s, n) in enumerate(zip(starts, ref.shape, strict=True))
        )
        dout = normal(*x[box].shape)
        dx = np.zeros_like(x)
        dx[box] = dout
        given = " ".join(f"offset: {o}" for o in offsets)
        param = f"crop_param {{ axis: {axis - rank} {given} }}"
        op = layer("op", "Crop", "x ref", "out", param)
        found = passes(op, {"x": x, "ref": ref}, dout, tmp_path / str(axis), form)
        check(found, x[box], {"x": dx})
        assert not found.din["ref"].any()


@pytest.mark.parametrize("axis", range(4))
@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
def test_reduction(operation: str, axis: int, form: str, tmp_path: Path) -> None:
    x, dout = normal(*SHAPE), normal(*SHAPE[:axis])
    axes = tuple(range(axis, 4))
    top, dx = reduce(x, dout, axes, operation, 0.3)
    param = f"reduction_param {{ axis: {axis} operation: {operation} coeff: 0.3 }}"
    op = layer("op", "Reduction", "x", "out", param)
    check(passes(op, {"x": x}, dout, tmp_path, form), top, {"x": dx})


def test_mean_of_an_image(form: str, tmp_path: Path) -> None:
    x, dout = normal(*SHAPE), normal(2, 3)
    top, dx = reduce(x, dout, (2, 3), "MEAN", 1)
    op = layer(
        "op", "Reduction", "x", "out", "reduction_param { axis: -2 operation: MEAN }"
    )
    check(passes(op, {"x": x}, dout, tmp_path, form), top, {"x": dx})


def test_numbers_of_the_whole_batch_are_blobs_too(form: str, tmp_path: Path) -> None:
    x = normal(*SHAPE)
    op = (
        layer("a", "Reduction", "x", "a", "reduction_param { coeff: 0.1 }")
        + layer("b", "Reduction", "x", "b", "reduction_param { operation: SUMSQ }")
        + layer("p", "Power", "b", "p", "power_param { power: 2 scale: 0.1 }")
        + layer("op", "Eltwise", "a p", "out", "loss_weight: 0.5")
    )
    top = 0.1 * x.sum() + (0.1 * (x**2).sum()) ** 2
    dx = 0.5 * (0.1 + 2 * 0.01 * (x**2).sum() * 2 * x)
    found = passes(op, {"x": x}, None, tmp_path, form)
    check(found, top, {"x": dx})


@pytest.mark.parametrize(
    "param", ["", "top_k: 2", "out_max_val: true", "top_k: 3 out_max_val: true"]
)
@pytest.mark.parametrize("axis", [None, 1, -1, 2])
def test_argmax(axis: int | None, param: str, form: str, tmp_path: Path) -> None:
    x = np.round(normal(*SHAPE))
    top_k = int(param.partition("top_k: ")[2][:1] or 1)
    values = "out_max_val" in param
    if axis is not None:
        top = argmax(x, axis, top_k, values)
        param += f" axis: {axis}"
    else:
        flat = x.reshape(2, -1)
        parts = [argmax(flat, 1, top_k, v) for v in (False, True)[: 1 + values]]
        top = np.stack(parts, 1)[..., None]
    op = layer("op", "ArgMax", "x", "out", f"argmax_param {{ {param} }}")
    found = passes(op, {"x": x}, None, tmp_path, form)
    assert found.out["out"].shape == top.shape
    check(found, top, {})


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5), (2, 3, 1, 4), SHAPE])
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("param", ["eps: 0.1", "normalize_variance: false"])
def test_mvn(
    param: str, across: bool, shape: tuple[int, ...], form: str, tmp_path: Path
) -> None:
    x = normal(*shape)
    image = x.reshape(*shape, *[1] * (4 - len(shape)))
    dout = normal(*image.shape)
    axes = (1, 2, 3) if across else (2, 3)
    top, dx = mvn(image, dout, axes, "eps" in param, 0.1)
    word = "true" if across else "false"
    param = f"mvn_param {{ {param} across_channels: {word} }}"
    found = passes(
        layer("op", "MVN", "x", "out", param), {"x": x}, dout, tmp_path, form
    )
    assert found.out["out"].shape == top.shape
    check(found, top, {"x": dx.reshape(shape)})


@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_normalize(shared: bool, spatial: bool, form: str, tmp_path: Path) -> None:
    x, dout = normal(*SHAPE), normal(*SHAPE)
    words = {True: "true", False: "false"}
    param = (
        f"norm_param {{ channel_shared: {words[shared]} across_spatial: {words[spatial]} "
        "eps: 0.1 }"
    )
    net = emitted(layer("op", "Normalize", "x", "out", param), {"x": x}, tmp_path, form)
    (scale,) = blobs(net)
    top, dx, dscale = normalize(x, dout, scale, spatial, 0.1)
    check(run(net, {"x": x}, {"out": dout}), top, {"x": dx, "0": dscale})


def test_normalize_of_a_flat_image(form: str, tmp_path: Path) -> None:
    """The scales follow the order in which Keras flattens, as the kernel behind does."""
    x = normal(2, 3, 2, 2)
    op = (
        layer("flat", "Flatten", "x")
        + layer("op", "Normalize", "flat", "n", "norm_param { channel_shared: false }")
        + layer(
            "ip", "InnerProduct", "n", "out", "inner_product_param { num_output: 4 }"
        )
    )
    net = emitted(op, {"x": x}, tmp_path, form)
    (scale,), (kernel, bias) = blobs(net), blobs(net, "ip")
    dout = normal(2, 4)
    flat = x.reshape(2, 12, 1, 1)
    unit = dout @ kernel
    top, dx, dscale = normalize(
        flat, unit.reshape(flat.shape), scale, across_spatial=True, eps=1e-10
    )
    top = top.reshape(2, 12) @ kernel.T + bias
    found = run(net, {"x": x}, {"out": dout})
    check(found, top, {"x": dx.reshape(x.shape), "0": dscale})


@pytest.mark.parametrize(
    ("shape", "param", "geometry"),
    [
        (
            (2, 3, 7),
            "kernel_size: 3 stride: 2 pad: 1 dilation: 2",
            ([3], [2], [1], [2]),
        ),
        (
            (2, 3, 5, 6),
            "kernel_h: 3 kernel_w: 2 stride: 2 pad_h: 1 pad_w: 0",
            ([3, 2], [2, 2], [1, 0], [1, 1]),
        ),
        ((2, 2, 3, 4, 5), "kernel_size: 2", ([2] * 3, [1] * 3, [0] * 3, [1] * 3)),
        (
            (2, 2, 3, 4, 5),
            "kernel_size: 2 axis: 2",
            ([2] * 2, [1] * 2, [0] * 2, [1] * 2),
        ),
    ],
)
def test_im2col(
    shape: tuple[int, ...],
    param: str,
    geometry: tuple[list[int], ...],
    form: str,
    tmp_path: Path,
) -> None:
    x = normal(*shape)
    axis = len(shape) - len(geometry[0]) - 1
    images = x.reshape(-1, *shape[axis:])
    columns = [im2col(image, *geometry)[0] for image in images]
    top = np.reshape(columns, (*shape[:axis], *columns[0].shape))
    op = layer("op", "Im2col", "x", "out", f"convolution_param {{ {param} }}")
    check(passes(op, {"x": x}, None, tmp_path, form), top, {})


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_spp(levels: int, pool: str, form: str, tmp_path: Path) -> None:
    x = normal(2, 3, 7, 12)
    top = np.stack([spp(image, levels, pool) for image in x])
    if levels == 1:
        top = top[..., None, None]
    op = layer(
        "op",
        "SPP",
        "x",
        "out",
        f"spp_param {{ pyramid_height: {levels} pool: {pool} }}",
    )
    found = passes(op, {"x": x}, None, tmp_path, form)
    assert found.out["out"].shape == top.shape
    check(found, top, {})


@pytest.mark.parametrize("reverse", [False, True])
def test_reorg(reverse: bool, form: str, tmp_path: Path) -> None:
    x = normal(2, 8, 4, 6)
    top = reorg(x, 2, reverse)
    word = "true" if reverse else "false"
    op = layer(
        "op", "Reorg", "x", "out", f"reorg_param {{ stride: 2 reverse: {word} }}"
    )
    found = passes(op, {"x": x}, normal(*top.shape), tmp_path, form)
    check(found, top, {"x": np.zeros_like(x)})


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 3, 4)])
def test_shuffle_channel(shape: tuple[int, ...], form: str, tmp_path: Path) -> None:
    x, dout = normal(*shape), normal(*shape)
    op = layer("op", "ShuffleChannel", "x", "out", "shuffle_channel_param { group: 2 }")
    found = passes(op, {"x": x}, dout, tmp_path, form)
    check(found, shuffle(x, 2), {"x": shuffle(dout, 3)})


@pytest.mark.parametrize(
    ("param", "axes"),
    [
        ("", [3]),
        ("flip_height: true", [2, 3]),
        ("flip_width: false flip_height: true", [2]),
        ("flip_width: false", []),
    ],
)
def test_flip(param: str, axes: list[int], form: str, tmp_path: Path) -> None:
    x, dout = normal(*SHAPE), normal(*SHAPE)
    op = layer("op", "Flip", "x", "out", f"flip_param {{ {param} }}")
    found = passes(op, {"x": x}, dout, tmp_path, form)
    check(found, np.flip(x, axes), {"x": np.flip(dout, axes)})


@pytest.mark.parametrize("scale", [(2, 3), (2, 3, 1, 1)])
def test_axpy(scale: tuple[int, ...], form: str, tmp_path: Path) -> None:
    """Backward_cpu of hujie-frank/SENet, axpy_layer.cpp."""
    a, x, y, dout = normal(*scale), normal(*SHAPE), normal(*SHAPE), normal(*SHAPE)
    spread = a.reshape(2, 3, 1, 1)
    found = passes(
        layer("op", "Axpy", "a x y", "out"),
        {"a": a, "x": x, "y": y},
        dout,
        tmp_path,
        form,
    )
    da = (dout * x).sum((2, 3)).reshape(scale)
    check(found, spread * x + y, {"a": da, "x": spread * dout, "y": dout})


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_crelu(axis: int, form: str, tmp_path: Path) -> None:
    x = normal(*SHAPE)
    top = np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis)
    op = layer("op", "CReLU", "x", "out", f"crelu_param {{ concat_axis: {axis} }}")
    check(passes(op, {"x": x}, None, tmp_path, form), top, {})


def test_parameter(form: str, tmp_path: Path) -> None:
    x, dout = normal(*SHAPE), normal(*SHAPE)
    dims = " ".join(f"dim: {d}" for d in SHAPE)
    param = f"parameter_param {{ shape {{ {dims} }} }}"
    text = layer("op", "Parameter", "", "w", param) + layer(
        "e", "Eltwise", "x w", "out"
    )
    net = emitted(text, {"x": x}, tmp_path, form)
    (w,) = blobs(net)
    check(run(net, {"x": x}, {"out": dout}), x + w, {"x": dout, "0": dout})


def test_batch_reindex(form: str, tmp_path: Path) -> None:
    x, dout = normal(*SHAPE), normal(3, *SHAPE[1:])
    i = np.array([1, 0, 1], "float32")
    op = layer("op", "BatchReindex", "x i", "out")
    found = passes(op, {"x": x, "i": i}, dout, tmp_path, form)
    check(found, x[[1, 0, 1]], {"x": np.stack([dout[1], dout[0] + dout[2]])})


def test_filter(form: str, tmp_path: Path) -> None:
    x, y = normal(4, 3, 2, 5), normal(4, 3)
    s = np.array([0, 1, 2, 0], "float32").reshape(4, 1, 1, 1)
    op = layer("op", "Filter", "x y s", "out other")
    found = passes(op, {"x": x, "y": y, "s": s}, None, tmp_path, form)
    check(found, x[1:3], {})
    assert error(found.out["other"], y[1:3]) == 0


def test_hdf5_output(form: str, tmp_path: Path) -> None:
    x, label = normal(*SHAPE), normal(2)
    op = (
        layer("op", "AbsVal", "x", "out")
        + layer("p", "Power", "out", "p", "power_param { power: 2 }")
        + layer(
            "h", "HDF5Output", "out label", " ", 'hdf5_output_param { file_name: "f" }'
        )
    ).replace('top: " "', "")
    found = passes(op, {"x": x, "label": label}, None, tmp_path, form)
    check(found, np.abs(x), {})
    assert error(found.out["label"], label) == 0
    assert error(found.out["p"], x**2) <= 1e-6


def test_a_loss_weight_on_what_a_loss_has_become(form: str, tmp_path: Path) -> None:
    """A loss is one number for the batch, however Keras repeats it."""
    x, y = normal(4, 3), normal(4, 3)
    op = (
        layer("l", "EuclideanLoss", "x y", "l", "loss_weight: 0")
        + layer("op", "Power", "l", "out", "power_param { scale: 3 } loss_weight: 0.5")
        + layer("s", "Scale", "x l", "scaled", "scale_param { axis: 0 }")
    )
    found = passes(op, {"x": x, "y": y}, None, tmp_path, form)
    loss = ((x - y) ** 2).sum() / 8
    assert error(found.out["out"], np.array(3 * loss)) <= 1e-5
    assert error(found.out["scaled"], x * loss) <= 1e-5
    assert error(found.din["x"], 1.5 * (x - y) / 4) <= 1e-4
