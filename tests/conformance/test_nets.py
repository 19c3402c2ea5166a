"""Whole public nets: every blob that Caffe recorded, through emitted code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.emitted import EmittedNet, translated
from tests.conformance.gradients import run
from tests.conformance.suite import GIVEN, ROOT, SHARED, error, load

FOLDER = (ROOT if GIVEN else SHARED) / "nets"
NETS = sorted(p for p in FOLDER.iterdir() if p.is_dir()) if FOLDER.is_dir() else []


@pytest.mark.skipif(
    not NETS, reason="the public nets are not here; they aren't ours to ship"
)
@pytest.mark.parametrize("folder", NETS or [None], ids=lambda p: f"nets/{p and p.name}")
def test_net(folder: Path, tmp_path: Path) -> None:
    case = load(folder)
    translation = translated(case.net, case.weights, case.phase, tmp_path / "out")
    net = EmittedNet(translation, tmp_path / "out", case.phase)
    passes = run(net, case.of("in"), {})
    worst = {
        f"out/{name}": error(passes.out[name], expected)
        for name, expected in case.of("out").items()
    }
    for name, expected in case.of("blob").items():
        worst[f"blob/{name}"] = error(net.blob(name, case.of("in")), expected)
    assert worst
    assert {k: f"{e:.2e}" for k, e in worst.items() if not e <= 1e-5} == {}
