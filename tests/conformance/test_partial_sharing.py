"""Two branches that share a kernel, or a bias, and have the other for themselves.

Expected are the NumPy readings of the C++ in tests/runtime/convolution_rules.py; what
is shared gets the sum of both gradients (Net::AppendParam, net.cpp).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.against_rules import FORMATS, blobs, emitted, normal
from tests.conformance.gradients import run
from tests.conformance.restored import differences
from tests.conformance.suite import error
from tests.runtime import convolution_rules
from tests.unit.nets import layer

KERNEL = 'param { name: "w" }'
BIAS = 'param { } param { name: "b" }'
NO_BIAS = "bias_term: false"


def branch(name: str, bottom: str, kind: str, shared: str, more: str) -> str:
    path = "inner_product" if kind == "InnerProduct" else "convolution"
    size = "" if kind == "InnerProduct" else "kernel_size: 2"
    param = f"{path}_param {{ num_output: 4 {size} {more} }} {shared}"
    return layer(name, kind, bottom, name, param)


def expected(
    kind: str, x: np.ndarray, weights: list[np.ndarray], dout: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The top, and the gradients of the input, the kernel and the bias."""
    kernel, bias = weights[0], weights[1] if len(weights) > 1 else None
    if kind == "InnerProduct":
        flat = x.reshape(len(x), -1)
        top = flat @ kernel.T + (0 if bias is None else bias)
        return top, (dout @ kernel).reshape(x.shape), dout.T @ flat, dout.sum(0)
    rule = getattr(convolution_rules, kind.lower())
    return rule(x, kernel, bias, (1, 1), (0, 0), (1, 1), 1, lambda top: dout)


def shape(kind: str) -> tuple[int, ...]:
    size = {"InnerProduct": (), "Convolution": (4, 4), "Deconvolution": (6, 6)}
    return (2, 4, *size[kind])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("shared", "more"), [(KERNEL, ("", "")), (KERNEL, ("", NO_BIAS)), (BIAS, ("", ""))]
)
@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution", "InnerProduct"])
def test_branches(
    kind: str, shared: str, more: tuple[str, str], form: str, tmp_path: Path
) -> None:
    inputs = {"x": normal(2, 3, 5, 5), "y": normal(2, 3, 5, 5)}
    names = dict(zip(inputs, ("one", "two"), strict=True))
    text = "".join(
        branch(names[x], x, kind, shared, setting)
        for x, setting in zip(inputs, more, strict=True)
    )
    net = emitted(text, inputs, tmp_path, form)
    douts = {name: normal(*shape(kind)) for name in names.values()}
    passes = run(net, inputs, douts, compiled=form != FORMATS[0])
    sums: dict[int, list[np.ndarray]] = {0: [], 1: []}
    for x, name in names.items():
        weights = blobs(net, name)
        top, dx, *dweights = expected(kind, inputs[x], weights, douts[name])
        assert error(passes.out[name], top) <= 1e-5
        assert error(passes.din[x], dx) <= 1e-4
        for i, gradient in enumerate(dweights[: len(weights)]):
            sums[i].append(gradient)
    common = 0 if shared == KERNEL else 1
    for i, gradients in sums.items():
        for name, gradient in zip(names.values(), gradients, strict=False):
            wanted = sum(gradients) if i == common else gradient
            found = passes.dparam[name, i]
            assert error(found, wanted.reshape(found.shape)) <= 1e-4
    if form == FORMATS[0]:
        assert differences(net, inputs, tmp_path / "out") == []
