"""Which settings of a layer type are translated: each is set in a net, and that tried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from caffe2k.diagnostics import Diagnostics, TranslationError
from caffe2k.ir.net import Phase
from caffe2k.passes.unread import report_unread
from caffe2k.pipeline import Options, translate_net
from caffe2k.prototxt import read_net, upgrade
from caffe2k.schema.message import Entry, FieldType, Message, message_type


@dataclass
class Settings:
    """The fields of one parameter message of a layer type, by what becomes of them."""

    message: str
    translated: list[str] = field(default_factory=list)
    unsupported: list[str] = field(default_factory=list)


def settings_of(net: Path, layer_type: str, own: set[str]) -> Iterator[Settings]:
    """What becomes of the fields of its `own` messages in a net with such a layer."""
    for name in sorted(own):
        found = Settings(name)
        message = message_type("LayerParameter").fields[name].message
        assert message is not None
        for f in message.fields.values():
            codes = set(_tried(net, layer_type, name, f))
            refused = not codes.isdisjoint({"unsupported-option", "ignored-field"})
            (found.unsupported if refused else found.translated).append(f.name)
        if found.translated:
            yield found


def _tried(net: Path, layer_type: str, message: str, f: FieldType) -> Iterator[str]:
    """The codes of what a net is told with other values of one setting."""
    for value in _values(f):
        diagnostics = Diagnostics()
        read = read_net(net, diagnostics)
        layer = next(layer for layer in read.layer if layer.type == layer_type)
        layer.child(message, layer.span).set(f.name, Entry(value, layer.span))
        read = upgrade(read, diagnostics)
        try:
            translated = translate_net(
                read, net.parent, Options(Phase.TRAIN), diagnostics
            )
            layers = [layer.message for layer in translated.net.layers]
            report_unread(read, layers, diagnostics)
        except TranslationError as e:
            yield from (d.code for d in e.diagnostics)
        yield from (d.code for d in diagnostics)


def _values(f: FieldType) -> list[object]:
    """Values of a setting that are not its default."""
    if f.kind == "enum":
        return [name for name in f.enum if name != f.default][:1]
    if f.kind == "message":
        assert f.message is not None
        return [Message(f.message)]
    plain = {"bool": not f.default, "int": 1, "float": 0.5, "string": "x", "bytes": b""}
    return [plain[f.kind]]
