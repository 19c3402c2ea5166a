"""Every layer case of the suite, forward and backward, through emitted code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.emitted import EmittedNet, translated
from tests.conformance.gradients import run
from tests.conformance.suite import cases, error, load

FORWARD, GRADIENT, AFTER = 1e-5, 1e-4, 1e-5

NOT_YET: dict[str, str] = {}


@pytest.mark.parametrize("folder", cases("layers", NOT_YET))
def test_layer(folder: Path, tmp_path: Path) -> None:
    case = load(folder)
    translation = translated(case.net, case.weights, case.phase, tmp_path / "out")
    net = EmittedNet(translation, tmp_path / "out", case.phase)
    passes = run(net, case.of("in"), case.of("dout"))
    worst = {}
    for name, expected in case.of("out").items():
        worst[f"out/{name}"] = (error(passes.out[name], expected), FORWARD)
    for name, expected in case.of("din").items():
        worst[f"din/{name}"] = (error(passes.din[name], expected), GRADIENT)
    for kind, found, limit in (
        ("dparam", passes.dparam, GRADIENT),
        ("after", passes.after, AFTER),
    ):
        for key, expected in case.of(kind).items():
            layer, _, index = key.rpartition("/")
            worst[f"{kind}/{key}"] = (error(found[layer, int(index)], expected), limit)
    assert worst
    bad = {k: f"{e:.2e}" for k, (e, limit) in worst.items() if not e <= limit}
    assert not bad


def test_errors_are_seen() -> None:
    assert error(np.ones(3), np.zeros(3)) == 1
    with pytest.raises(AssertionError):
        error(np.ones(3), np.zeros(4))
