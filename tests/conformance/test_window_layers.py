"""Im2col and SPP through emitted code, forward and backward, in both data formats."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from tests.conformance.against_rules import FORMATS, check, emitted, normal
from tests.conformance.gradients import run
from tests.unit.nets import layer

pytestmark = pytest.mark.parametrize("form", FORMATS)


def holds(
    op: str,
    x: np.ndarray,
    top: np.ndarray,
    gradients: tuple[np.ndarray, np.ndarray],
    folder: Path,
    form: str,
) -> None:
    """Whether `op` makes `top` of `x`; `gradients` are those of both, top first."""
    dout, dx = gradients
    net = emitted(op, {"x": x}, folder, form)
    check(run(net, {"x": x}, {"out": dout}), top, {"x": dx})


Span = tuple[int, int]


def pyramid(x: np.ndarray, levels: int) -> list[tuple[int, Span, Span]]:
    """The channel, rows and columns of each value of a sample; they reach into the pad."""
    windows: list[tuple[int, Span, Span]] = []
    for bins in (2**level for level in range(levels)):
        kernel = [math.ceil(size / bins) for size in x.shape[2:]]
        pad = [
            (k * bins - n + 1) // 2 for k, n in zip(kernel, x.shape[2:], strict=True)
        ]
        spans = []
        for size, k, p in zip(x.shape[2:], kernel, pad, strict=True):
            count = math.ceil((size + 2 * p - k) / k) + 1
            count -= any(pad) and (count - 1) * k >= size + p
            starts = [i * k - p for i in range(count)]
            ends = [min(s + k, size + p) for s in starts]
            spans.append(list(zip(starts, ends, strict=True)))
        for channel in range(x.shape[1]):
            windows += [
                (channel, rows, cols) for rows, cols in itertools.product(*spans)
            ]
    return windows


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("plane", [(9, 9), (7, 12), (13, 8)])
def test_spp(
    plane: tuple[int, int], pool: str, levels: int, form: str, tmp_path: Path
) -> None:
    x, dx = normal(2, 3, *plane), np.zeros((2, 3, *plane), "float32")
    windows = pyramid(x, levels)
    top, dout = np.zeros((2, len(windows)), "float32"), normal(2, len(windows))
    for n, (i, (channel, rows, cols)) in itertools.product(
        range(2), enumerate(windows)
    ):
        inside = (n, channel, *(slice(max(a, 0), b) for a, b in (rows, cols)))
        if pool == "MAX":
            top[n, i] = x[inside].max()
            dx[inside] += dout[n, i] * (x[inside] == top[n, i])
        else:
            area = (rows[1] - rows[0]) * (cols[1] - cols[0])
            top[n, i] = x[inside].sum() / area
            dx[inside] += dout[n, i] / area
    shape = (2, 3, 1, 1) if levels == 1 else top.shape
    param = f"spp_param {{ pyramid_height: {levels} pool: {pool} }}"
    op = layer("op", "SPP", "x", "out", param)
    gradients = (dout.reshape(shape), dx)
    holds(op, x, top.reshape(shape), gradients, tmp_path, form)


@pytest.mark.parametrize(
    ("shape", "axis", "kernel", "stride", "pad", "dilation"),
    [
        ((2, 3, 7), 1, [3], [2], [1], [2]),
        ((2, 3, 5, 6), 1, [3, 2], [2, 1], [1, 0], [1, 2]),
        ((2, 3, 5, 6), 2, [3], [2], [1], [1]),
        ((2, 3, 5, 6), -3, [2, 2], [1, 1], [0, 0], [1, 1]),
        ((4, 5, 6), 0, [2, 3], [1, 2], [1, 1], [2, 1]),
        ((2, 2, 3, 4, 3), 1, [2, 2, 2], [1, 2, 1], [0, 1, 1], [1, 1, 1]),
        ((2, 2, 3, 5, 4), 2, [3, 2], [1, 1], [1, 0], [1, 1]),
    ],
)
def test_im2col(
    shape: tuple[int, ...],
    axis: int,
    kernel: list[int],
    stride: list[int],
    pad: list[int],
    dilation: list[int],
    form: str,
    tmp_path: Path,
) -> None:
    x, first = normal(*shape), axis % len(shape) + 1
    lead = [(0, 0)] * first
    # Positions in x, 0 in the padding, put through the same windows as the values.
    numbers = np.pad(
        np.arange(1, x.size + 1).reshape(shape), [*lead, *((p, p) for p in pad)]
    )
    parts = []
    for offset in itertools.product(*map(range, kernel)):
        index = [slice(None)] * first
        for size, o, k, s, d in zip(
            numbers.shape[first:], offset, kernel, stride, dilation, strict=True
        ):
            count = (size - d * (k - 1) - 1) // s + 1
            index.append(slice(o * d, o * d + (count - 1) * s + 1, s))
        parts.append(numbers[tuple(index)])
    at = np.stack(parts, first)
    at = at.reshape(*shape[: first - 1], -1, *at.shape[first + 1 :])
    top = np.append(0, x).astype("float32")[at]
    dout = normal(*top.shape)
    dx = np.bincount(at.ravel(), dout.ravel(), x.size + 1)[1:].reshape(shape)
    sizes = (("kernel_size", kernel), ("stride", stride), ("pad", pad))
    fields = [f"{n}: {v}" for n, values in sizes for v in values]
    fields += [f"dilation: {d}" for d in dilation]
    param = f"convolution_param {{ axis: {axis} {' '.join(fields)} }}"
    op = layer("op", "Im2col", "x", "out", param)
    holds(op, x, top, (dout, dx), tmp_path, form)
