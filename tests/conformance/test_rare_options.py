"""Options that few nets have, through emitted code in both data formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.against_rules import FORMATS, blobs, check, emitted, normal
from tests.conformance.gradients import run
from tests.conformance.suite import error
from tests.unit.nets import layer

pytestmark = pytest.mark.parametrize("form", FORMATS)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_an_operand_for_each_sample(
    kind: str, axis: int, form: str, tmp_path: Path
) -> None:
    """ScaleLayer::LayerSetUp and BiasLayer::LayerSetUp: the batch is an axis too."""
    x, dout = normal(2, 3, 4, 5), normal(2, 3, 4, 5)
    param = f"{kind.lower()}_param {{ axis: {axis} num_axes: {2 - axis} }}"
    net = emitted(layer("op", kind, "x", "out", param), {"x": x}, tmp_path, form)
    (operand,) = blobs(net)
    assert operand.shape == x.shape[axis:2]
    spread = operand[..., None, None]
    passes = run(net, {"x": x}, {"out": dout})
    over = (2, 3) if axis == 0 else (0, 2, 3)
    if kind == "Scale":
        gradients = {"x": dout * spread, "0": (dout * x).sum(over)}
        check(passes, x * spread, gradients)
    else:
        check(passes, x + spread, {"x": dout, "0": dout.sum(over)})


@pytest.mark.parametrize("shape", [(6,), (6, 4)])
def test_batchnorm_of_a_list(shape: tuple[int, ...], form: str, tmp_path: Path) -> None:
    """A blob of one axis is one channel (BatchNormLayer::LayerSetUp)."""
    x = normal(*shape)
    net = emitted(layer("op", "BatchNorm", "x", "out"), {"x": x}, tmp_path, form)
    before = blobs(net)
    passes = run(net, {"x": x}, {})
    mean, variance = x.mean(0), x.var(0)
    expected = (x - mean) / np.sqrt(variance + 1e-5)
    assert error(passes.out["out"], expected) <= 1e-5
    for i, new in enumerate((mean, variance * 6 / 5, 1)):
        assert error(passes.after["op", i], before[i] * 0.999 + new) <= 1e-5
