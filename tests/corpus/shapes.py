"""Caffe's own blob and parameter shapes of public nets, beside ours."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Net, Phase
from caffe2k.pipeline import Options, analyse
from caffe2k.prototxt import read_net, upgrade

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


@dataclass(frozen=True)
class Recorded:
    """One phase of a net as Caffe built it, its data layers filled with dummies if need be."""

    file: str
    phase: Phase
    dummies: bool
    blobs: dict[str, tuple[int, ...]]
    params: dict[str, list[tuple[int, ...]]]

    @property
    def id(self) -> str:
        return f"{self.file.removeprefix('files/')}:{self.phase.value}"

    @property
    def path(self) -> Path:
        return CORPUS / self.file

    def options(self) -> Options:
        """Without the data, its shapes are the recorded ones."""
        return Options(self.phase, input_shapes=dict(self.blobs))


def recorded() -> Iterator[Recorded]:
    """Every net and phase that Caffe built."""
    listing = CORPUS / "shapes.jsonl"
    if not listing.exists():
        return
    for line in listing.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        phase, _, dummies = entry["phase"].partition("+")
        net = entry["net"]
        yield Recorded(
            entry["file"],
            Phase[phase.upper()],
            bool(dummies),
            {k: tuple(v) for k, v in net["blobs"].items()},
            {k: [tuple(s) for s in v] for k, v in net["params"].items()},
        )


def our_net(record: Recorded) -> tuple[Net, Diagnostics]:
    diagnostics = Diagnostics()
    message = upgrade(read_net(record.path, diagnostics), diagnostics)
    nets = analyse(message, record.path.parent, record.options(), diagnostics)
    return nets[record.phase], diagnostics


def differences(net: Net, record: Recorded) -> list[str]:
    """Blobs and parameters whose shape is not Caffe's; splits are Caffe's own affair."""
    found = []
    ours = {blob.name: shape for blob, shape in net.shapes.items()}
    for name, shape in record.blobs.items():
        if "_split_" in name or name.startswith("(automatic)"):
            continue
        if ours.get(name) != shape:
            found.append(f"blob {name}: {ours.get(name)}, Caffe has {shape}")
    # A shared blob is listed under each layer that shares it, as here.
    counts = Counter(layer.name for layer in net.layers)
    by_name = {
        layer.name: list(net.param_shapes.get(layer.index, ())) for layer in net.layers
    }
    for name, shapes in record.params.items():
        if counts[name] == 1 and by_name[name] != shapes:
            found.append(f"params of {name}: {by_name[name]}, Caffe has {shapes}")
    return found
