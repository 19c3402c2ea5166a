"""How far a layer case is from Caffe, forward and backward, through emitted code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from caffe2k.ops import find_op
from caffe2k.pipeline import TranslatedNet
from tests.conformance.emitted import EmittedNet, translated
from tests.conformance.gradients import run
from tests.conformance.suite import error, load

LIMITS = {"out": 1e-5, "din": 1e-4, "dparam": 1e-4, "after": 1e-5}


@dataclass(frozen=True)
class Measured:
    """The error of one array: of a kind (out, din, dparam, after), by its name."""

    kind: str
    name: str
    error: float

    @property
    def ok(self) -> bool:
        return self.error <= LIMITS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} is {self.error:.2e} off"


def measure(folder: Path, scratch: Path) -> list[Measured]:
    """Translates the case into `scratch`, runs it, and compares every recorded array."""
    case = load(folder)
    translation = translated(case.net, case.weights, case.phase, scratch)
    passes = run(
        EmittedNet(translation, scratch, case.phase), case.of("in"), case.of("dout")
    )
    found = [
        Measured("out", name, error(passes.out[name], expected))
        for name, expected in case.of("out").items()
    ]
    found += [
        Measured("din", name, error(passes.din[name], expected))
        for name, expected in case.of("din").items()
    ]
    for kind, arrays in (("dparam", passes.dparam), ("after", passes.after)):
        if kind == "dparam" and not _runs_backward(translation.net):
            continue
        for key, expected in case.of(kind).items():
            layer, _, index = key.rpartition("/")
            found.append(
                Measured(kind, key, error(arrays[layer, int(index)], expected))
            )
    return found


def _runs_backward(net: TranslatedNet) -> bool:
    """Whether Caffe ran any layer backward (Net::Init in net.cpp); else it recorded 0."""
    layers = (layer for phase in net.phases.values() for layer in phase.layers)
    ops = ((find_op(layer.type), layer) for layer in layers)
    return bool(net.message.force_backward) or any(
        any(op(layer).loss_weights) for op, layer in ops if op is not None
    )
