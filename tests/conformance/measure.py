"""How far a layer case is from Caffe, forward and backward, through emitted code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from caffe2k.ops import find_op
from caffe2k.pipeline import TranslatedNet
from tests.conformance.emitted import EmittedNet, translated
from tests.conformance.gradients import Passes, run
from tests.conformance.suite import Case, Measured, error, load


@dataclass(frozen=True)
class Ran:
    """A case that ran: its model, and how far what it gave is from Caffe's."""

    case: Case
    net: EmittedNet
    measured: list[Measured]


def run_case(folder: Path, scratch: Path, *, data_format: str = "channels_last") -> Ran:
    """Translates the case into `scratch`, runs it, and compares every recorded array."""
    case = load(folder)
    translation = translated(
        case.net, case.weights, case.phase, scratch, data_format=data_format
    )
    net = EmittedNet(translation, scratch, case.phase)
    compiled = data_format == "channels_first" and net.supports_jit
    passes = run(net, case.of("in"), case.of("dout"), compiled=compiled)
    return Ran(case, net, compared(case, translation.net, passes))


def compared(case: Case, net: TranslatedNet, passes: Passes) -> list[Measured]:
    """The error of every array that Caffe recorded."""
    found = [
        Measured("out", name, error(passes.out[name], expected))
        for name, expected in case.of("out").items()
    ]
    found += [
        Measured("din", name, error(passes.din[name], expected))
        for name, expected in case.of("din").items()
    ]
    for kind, arrays in (("dparam", passes.dparam), ("after", passes.after)):
        if kind == "dparam" and not _runs_backward(net):
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
