"""Layers that mix, choose or repeat samples, through emitted code in both data formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.against_rules import FORMATS, blobs, check, emitted, normal
from tests.conformance.gradients import run
from tests.conformance.suite import error
from tests.unit.nets import dense, layer

pytestmark = pytest.mark.parametrize("form", FORMATS)


@pytest.mark.parametrize("axis", [0, 1])
def test_tile_of_a_flattened_image(axis: int, form: str, tmp_path: Path) -> None:
    x, dout = normal(2, 3, 2, 4), normal(4 if axis == 0 else 2, 5)
    text = (
        layer("flat", "Flatten", "x")
        + layer("tile", "Tile", "flat", "", f"tile_param {{ axis: {axis} tiles: 2 }}")
        + dense("op", "tile").replace('top: "op"', 'top: "out"')
    )
    net = emitted(text, {"x": x}, tmp_path, form)
    kernel, bias = blobs(net)
    tiled = np.concatenate([x.reshape(2, -1)] * 2, axis)
    dx = sum(np.split(dout @ kernel, 2, axis)).reshape(x.shape)
    gradients = {"x": dx, "0": dout.T @ tiled, "1": dout.sum(0)}
    passes = run(net, {"x": x}, {"out": dout})
    check(passes, tiled @ kernel.T + bias, gradients)


@pytest.mark.parametrize("weight", [1, 0.3])
def test_a_weighted_reduction_joins_the_loss(
    weight: float, form: str, tmp_path: Path
) -> None:
    x = normal(2, 3, 4, 5)
    param = f"reduction_param {{ operation: SUMSQ axis: 1 }} loss_weight: {weight}"
    net = emitted(layer("op", "Reduction", "x", "out", param), {"x": x}, tmp_path, form)
    passes = run(net, {"x": x}, {})
    check(passes, np.square(x).sum((1, 2, 3)), {"x": weight * 2 * x})


@pytest.mark.parametrize("values", [False, True])
def test_argmax_over_the_batch(values: bool, form: str, tmp_path: Path) -> None:
    """Of equal values the later sample is first, as argmax_layer.cpp sorts pairs."""
    x = np.array([[1, 5], [3, 5], [3, 2]], "float32").reshape(3, 2, 1, 1)
    param = f"argmax_param {{ axis: 0 top_k: 2 out_max_val: {str(values).lower()} }}"
    op = layer("op", "ArgMax", "x", "out", param)
    passes = run(emitted(op, {"x": x}, tmp_path, form), {"x": x}, {})
    top = [[3, 5], [3, 5]] if values else [[2, 1], [1, 0]]
    check(passes, np.reshape(top, (2, 2, 1, 1)), {"x": np.zeros_like(x)})


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 2, 3, 4, 3)])
def test_batch_reindex(shape: tuple[int, ...], form: str, tmp_path: Path) -> None:
    x, order = normal(*shape), [1, 0, 1, 1]
    dout, dx = normal(4, *shape[1:]), np.zeros_like(x)
    np.add.at(dx, order, dout)
    op = layer("op", "BatchReindex", "x i", "out")
    inputs = {"x": x, "i": np.array(order, "float32")}
    net = emitted(op, inputs, tmp_path, form)
    passes = run(net, inputs, {"out": dout})
    check(passes, x[order], {"x": dx, "i": np.zeros(4)})


@pytest.mark.parametrize("selector", [(4,), (4, 1), (4, 1, 1, 1)])
def test_filter(selector: tuple[int, ...], form: str, tmp_path: Path) -> None:
    x, y = normal(4, 3, 2, 5), normal(4, 2)
    inputs = {"x": x, "y": y, "s": np.float32([0, 3, 0, -1]).reshape(selector)}
    net = emitted(layer("op", "Filter", "x y s", "out more"), inputs, tmp_path, form)
    douts = {"out": normal(2, 3, 2, 5), "more": normal(2, 2)}
    passes = run(net, inputs, douts)
    dx, dy = np.zeros_like(x), np.zeros_like(y)
    dx[[1, 3]], dy[[1, 3]] = douts["out"], douts["more"]
    check(passes, x[[1, 3]], {"x": dx, "y": dy, "s": np.zeros(selector)})
    assert error(passes.out["more"], y[[1, 3]]) == 0
