"""Writes docs/layers.md: what each layer type becomes, and how near it is to Caffe."""

from __future__ import annotations

import inspect
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Phase
from caffe2k.ops import registered_ops
from caffe2k.ops.base import LayerOp
from caffe2k.pipeline import Options, TranslatedNet, translate_net
from caffe2k.prototxt import read_net, upgrade
from caffe2k.schema.message import message_type
from tests.conformance.coverage import TypeCoverage, by_type, shown, types_in
from tests.conformance.examples import EXAMPLES
from tests.conformance.exceptions import BACKENDS, CHANNELS_FIRST
from tests.conformance.measure import run_case
from tests.conformance.options import settings_of
from tests.conformance.suite import OWN

_HEAD = """# Layers

What each Caffe layer type becomes in Keras, which of its settings are translated, where its blobs go,
and how near the result is to Caffe. `make docs` writes this page.

The errors were measured on the cases of `tests/conformance/layers`, small nets that Caffe ran. Here
they ran as emitted code on TensorFlow, with ported weights: `max|a - b| / max(1, max|b|)` over all
outputs and changed parameters (forward), and over all gradients of inputs and parameters (gradient). A
case counts for every layer type in it. Types without a case are held against a NumPy reading of their
C++ in `tests/runtime` and `tests/conformance`. The same cases run with `--data-format channels_first`,
and on the JAX and torch backends where those are installed.

Every layer takes `name`, `bottom`, `top`, `param` (`name`, `lr_mult`, `decay_mult`, `share_mode`),
`loss_weight`, `propagate_down`, `include`, `exclude` and `phase`. Fillers are constant, uniform, gaussian
with `sparse`, xavier, msra, positive_unitball and bilinear, with `variance_norm`. A setting that is not
translated is a diagnostic, never dropped in silence: an error, or a warning where Caffe's layer does not
look at it either.

Layers that share all their parameters (`param { name }`) are one Keras layer. Convolution, Deconvolution
and InnerProduct may also share the kernel and have biases of their own, or the reverse: the kernel is
then a layer without bias, and each bias a `Bias` layer behind it.

| type | in Keras | cases | worst forward | worst gradient |
| --- | --- | --- | --- | --- |
"""

_EXCEPTIONS = """
## Exceptions

Cases that can't agree in some way of running, and why:

"""


@dataclass
class Found:
    """What the nets with a layer type have shown of it."""

    nets: list[Path] = field(default_factory=list)
    blobs: dict[int, str] = field(default_factory=dict)
    """Where each blob of the layer goes, in the net that has most of them."""
    modules: set[str] = field(default_factory=set)


def main(target: Path) -> None:
    cases = sorted(p for p in (OWN / "layers").iterdir() if p.is_dir())
    ops = registered_ops()
    found: dict[str, Found] = defaultdict(Found)
    measured = []
    with tempfile.TemporaryDirectory() as scratch:
        for folder in cases:
            types = types_in(folder / "net.prototxt")
            ran = run_case(folder, Path(scratch) / folder.name)
            measured.append((types, [(m.kind, m.error) for m in ran.measured]))
            _learn(found, folder / "net.prototxt", ran.net.net)
        for kind, text in EXAMPLES.items():
            net = Path(scratch) / f"{kind}.prototxt"
            net.write_text(text, encoding="utf-8")
            _learn(found, net, _translated(net))
        coverage = {row.type: row for row in by_type(measured)}
        sections = [
            _section(name, ops[name], found[name])
            for name in sorted(ops)
            if name in found
        ]
    rows = [_row(name, ops[name], coverage.get(name)) for name in sorted(ops)]
    text = _HEAD + "\n".join(rows) + "\n\n" + "\n".join(sections) + _exceptions()
    target.write_text(text, encoding="utf-8")


def _translated(net: Path) -> TranslatedNet:
    diagnostics = Diagnostics()
    message = upgrade(read_net(net, diagnostics), diagnostics)
    translated = translate_net(message, net.parent, Options(Phase.TRAIN), diagnostics)
    diagnostics.raise_if_errors()
    return translated


def _learn(found: dict[str, Found], path: Path, net: TranslatedNet) -> None:
    """Notes the weights and the runtime modules of each layer of a translated net."""
    types = {layer.name: layer.type for layer in net.net.layers}
    for kind in set(types.values()) - {"Input"}:
        found[kind].nets.append(path)
    blobs: dict[str, dict[int, str]] = defaultdict(dict)
    for _, weight in net.plan.weights():
        line = f"{weight.caffe_shape} is `{weight.name}` {weight.keras_shape}"
        blobs[weight.caffe_layer][weight.blob_index] = line
    for name, lines in blobs.items():
        kind = found[types[name]]
        kind.blobs = max(kind.blobs, lines, key=len)
    for layer in net.whole.program.layers():
        if layer.caffe_name in types:
            modules = layer.call.runtime_modules()
            found[types[layer.caffe_name]].modules.update(modules)
    for term in net.whole.program.terms:
        found[types[term.caffe_name]].modules.update(term.call.runtime_modules())


def _row(name: str, op: type[LayerOp], coverage: TypeCoverage | None) -> str:
    if coverage is None:
        return f"| {name} | {op.keras} | - | - | - |"
    errors = f"{shown(coverage.forward)} | {shown(coverage.gradient)}"
    return f"| {name} | {op.keras} | {coverage.cases} | {errors} |"


def _section(name: str, op: type[LayerOp], found: Found) -> str:
    lines = [f"## {name}", ""]
    summary = inspect.getdoc(op)
    if summary:
        lines += [summary.split("\n\n")[0].replace("\n", " "), ""]
    lines += list(_settings(name, op, found))
    if found.modules:
        modules = ", ".join(f"`{m}.py`" for m in sorted(found.modules))
        lines.append(f"- in `caffe_runtime/`: {modules}")
    if found.blobs:
        lines.append("- blobs, in one of the nets:")
    for index, line in sorted(found.blobs.items()):
        lines.append(f"  - {index}: {line}")
    return "\n".join(lines).rstrip() + "\n"


def _settings(name: str, op: type[LayerOp], found: Found) -> Iterator[str]:
    net = min(found.nets, key=lambda path: len(path.read_text(encoding="utf-8")))
    for settings in settings_of(net, name, _own_messages(op)):
        names = ", ".join(f"`{s}`" for s in settings.translated)
        yield f"- `{settings.message}`: {names}"
        if settings.unsupported:
            names = ", ".join(f"`{s}`" for s in settings.unsupported)
            yield f"  - not translated: {names}"


def _own_messages(op: type[LayerOp]) -> set[str]:
    """The parameter messages that the modules of an op and of its bases speak of."""
    modules = {c.__module__ for c in op.__mro__ if c not in (LayerOp, object)}
    text = "".join(inspect.getsource(sys.modules[m]) for m in modules)
    known = message_type("LayerParameter").fields
    return {m for m in re.findall(r"\b\w+_param\b", text) if m in known} - {
        "transform_param"
    }


def _exceptions() -> str:
    lines = [
        f"- `{case}`, {way}: {reason}"
        for way, cases in {"channels_first": CHANNELS_FIRST, **BACKENDS}.items()
        for case, reason in cases.items()
    ]
    return _EXCEPTIONS + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
