"""The net that a caffemodel carries beside its weights: all of its layers' settings."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from caffe2k.schema.binary import parse
from caffe2k.schema.message import Entry, Message
from caffe2k.weights import wire
from caffe2k.weights.caffemodel import net_fields
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.mapping import HDF5_MAGIC, map_file

# Fields of a net that hold layers, and those of layers that hold blobs or, V0, a layer.
_LAYER, _V1_LAYERS = 100, 2
_BLOBS = {_LAYER: 7, _V1_LAYERS: 6}
_V0_IN_V1, _V0_BLOBS = 1, 50

_OF_A_PHASE = ("include", "exclude", "phase")
_LARGEST = 64 << 20


def read_definition(path: Path) -> Message:
    """The NetParameter in a binary caffemodel, as it was written, without the blobs.

    Raises WeightsError if the file can't be read, or holds no net, as HDF5 files don't.
    """
    buffer = map_file(path)
    if buffer[: len(HDF5_MAGIC)] == HDF5_MAGIC:
        raise WeightsError(
            "caffemodel-no-net",
            f"`{path}` holds weights alone, not the net's layers",
            help="give the prototxt, and the weights beside it",
        )
    top = net_fields(path, buffer)
    try:
        return parse("NetParameter", _without_blobs(buffer, top))
    except (wire.WireError, ValueError) as error:
        raise WeightsError(
            "file-corrupt",
            f"`{path}` is damaged, or not a caffemodel: {error}",
            help="fetch it again",
        ) from None


def _without_blobs(buffer: memoryview, top: Iterable[wire.Field]) -> bytes:
    """The message of a net, its layers' blobs left out."""
    kept = bytearray()
    for field in top:
        blobs = _BLOBS.get(field.number)
        if blobs is not None and field.wire_type == wire.LENGTH:
            layer = _layer_without_blobs(buffer, field, blobs)
            kept += wire.tag(field.number, wire.LENGTH) + wire.varint(len(layer))
            kept += layer
        else:
            kept += _copied(buffer, field)
        if len(kept) > _LARGEST:
            raise wire.WireError("a net without end", field.start)
    return bytes(kept)


def _layer_without_blobs(
    buffer: memoryview, layer: wire.Field, blobs: int
) -> bytearray:
    kept = bytearray()
    for field in wire.fields(buffer, layer.start, layer.stop):
        is_message = field.wire_type == wire.LENGTH
        if is_message and field.number == blobs:
            continue
        is_v0 = layer.number == _V1_LAYERS and field.number == _V0_IN_V1
        if is_message and is_v0 and blobs != _V0_BLOBS:
            inner = _layer_without_blobs(buffer, field, _V0_BLOBS)
            kept += wire.tag(_V0_IN_V1, wire.LENGTH) + wire.varint(len(inner)) + inner
        elif field.stop - field.start <= _LARGEST:
            kept += _copied(buffer, field)
    return kept


def _copied(buffer: memoryview, field: wire.Field) -> bytes:
    """A field with its tag, as it stands in the buffer."""
    tag = wire.tag(field.number, field.wire_type)
    payload = buffer[field.start : field.stop]
    if field.wire_type == wire.LENGTH:
        tag += wire.varint(len(payload))
    return tag + bytes(payload)


def restore(net: Message) -> None:
    """Turns a net of today's layers, as Caffe ran it, into the one that Caffe was given.

    Caffe has chosen the layers of a phase, so that their rules are met, and has put a
    Split behind each blob that several layers read (net.cpp, Net::FilterNet;
    util/insert_splits.cpp, InsertSplits).
    """
    split: dict[str, str] = {}
    kept: list[Entry] = []
    for entry in net.entries_of("layer"):
        layer: Message = entry.value
        bottoms = layer.entries_of("bottom")
        renamed = (e.with_value(split.get(e.value, e.value)) for e in bottoms)
        if bottoms:
            layer.set("bottom", *renamed)
        if _is_inserted(layer):
            for top in layer.top:
                split[top] = layer.bottom[0]
            continue
        for name in _OF_A_PHASE:
            layer.clear(name)
        kept.append(entry)
    net.set("layer", *kept)


def _is_inserted(layer: Message) -> bool:
    """Whether a layer is a Split of Caffe's own making (SplitBlobName)."""
    name = layer.name
    names = [f"{name}_{index}" for index in range(len(layer.top))]
    return bool(
        layer.type == "Split"
        and name.endswith("_split")
        and len(layer.bottom) == 1
        and layer.top == names
    )
