"""Writes the table of what was measured against Caffe: `make docs`."""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.prototxt import read_net, upgrade
from tests.conformance.measure import Measured, measure
from tests.conformance.suite import ROOT

_HEAD = """# Measured against Caffe

Each case is a small net that BVLC Caffe 1.0 ran; here it ran as emitted Keras code on
TensorFlow, with ported weights. The error is max|a - b| / max(1, max|b|). A case counts
for every layer type in it.

| type | cases | agree | worst forward | worst gradient |
| --- | --- | --- | --- | --- |
"""


def main(target: Path) -> None:
    by_type: dict[str, list[list[Measured] | None]] = defaultdict(list)
    for folder in sorted(p for p in (ROOT / "layers").iterdir() if p.is_dir()):
        measured = _measured(folder)
        for layer_type in _types(folder):
            by_type[layer_type].append(measured)
    rows = [_row(name, by_type[name]) for name in sorted(by_type)]
    target.parent.mkdir(exist_ok=True)
    target.write_text(_HEAD + "\n".join(rows) + "\n", encoding="utf-8")


def _measured(folder: Path) -> list[Measured] | None:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return measure(folder, Path(scratch) / "out")
        except TranslationError:
            return None


def _types(folder: Path) -> set[str]:
    diagnostics = Diagnostics()
    net = upgrade(read_net(folder / "net.prototxt", diagnostics), diagnostics)
    return {layer.type for layer in net.layer} - {"Input"}


def _row(name: str, cases: list[list[Measured] | None]) -> str:
    ran = [case for case in cases if case is not None]
    agree = sum(all(m.ok for m in case) for case in ran)
    forward = _worst(ran, "out", "after")
    gradient = _worst(ran, "din", "dparam")
    return f"| {name} | {len(cases)} | {agree} | {forward} | {gradient} |"


def _worst(cases: list[list[Measured]], *kinds: str) -> str:
    errors = [m.error for case in cases for m in case if m.kind in kinds]
    return f"{max(errors):.1e}" if errors else "-"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
