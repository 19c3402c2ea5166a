"""Reads .caffemodel and .binaryproto files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from caffe2k.schema.layer_types import v0_layer_type, v1_layer_type
from caffe2k.weights import wire
from caffe2k.weights.binary_blob import read_blob
from caffe2k.weights.blob import Blob, CaffeModel, FloatArray, LayerBlobs
from caffe2k.weights.errors import WeightsError, solverstate_given
from caffe2k.weights.mapping import HDF5_MAGIC, map_file

Span = tuple[int, int]


class _LayerFields(NamedTuple):
    """The numbers of a layer message's fields."""

    name: int
    type: int
    blobs: int


# Field numbers of NetParameter, its three kinds of layers, and what else may be given.
_NET_NAME, _V1_LAYERS, _LAYER = 1, 2, 100
_CURRENT = _LayerFields(name=1, type=2, blobs=7)
_V1 = _LayerFields(name=4, type=5, blobs=6)
_V0 = _LayerFields(name=1, type=2, blobs=50)
_V0_IN_V1 = 1
_SOLVER_ITER, _SOLVER_NET, _SOLVER_HISTORY = 1, 2, 3
_BLOB_DATA, _BLOB_DOUBLE_DATA, _BLOB_RAW_DATA = 5, 8, 12


def read_caffemodel(path: Path) -> CaffeModel:
    """The layers and blobs of a .caffemodel, in any format that Caffe reads.

    Binary files with current, V1 or V0 layers, and HDF5 files. Values are loaded when a
    blob's `array()` is called, as views of the mapped file where that is possible.

    Raises WeightsError (net.cpp, Net::CopyTrainedLayersFrom; util/upgrade_proto.cpp).
    """
    buffer = map_file(path)
    if buffer[: len(HDF5_MAGIC)] == HDF5_MAGIC:
        from caffe2k.weights.caffemodel_h5 import read_caffemodel_h5

        return read_caffemodel_h5(path)
    top = net_fields(path, buffer)
    try:
        return _read_net(path, buffer, top)
    except wire.WireError as error:
        raise _corrupt(path, error, "caffemodel") from None


def read_binaryproto(path: Path) -> FloatArray:
    """The array of a .binaryproto (one BlobProto), such as a mean image (1, C, H, W).

    Raises WeightsError (util/io.cpp, ReadProtoFromBinaryFile).
    """
    return read_blobproto(path).array()


def read_blobproto(path: Path) -> Blob:
    """The blob of a .binaryproto, not loaded yet; raises WeightsError."""
    buffer = map_file(path)
    top = _top_level(path, buffer, "binaryproto")
    if not _holds_values(top):
        raise WeightsError(
            "file-not-binaryproto",
            f"`{path}` holds no blob",
            help="a mean file is what Caffe's compute_image_mean writes",
        )
    try:
        return read_blob(buffer, 0, len(buffer))
    except wire.WireError as error:
        raise _corrupt(path, error, "binaryproto") from None


def net_fields(path: Path, buffer: memoryview) -> list[wire.Field]:
    """The fields of a binary caffemodel's NetParameter, in file order.

    Raises WeightsError where the file is damaged, or one of Caffe's other messages.
    """
    top = _top_level(path, buffer, "caffemodel")
    _refuse_other_messages(path, top)
    return top


def _top_level(path: Path, buffer: memoryview, kind: str) -> list[wire.Field]:
    try:
        return list(wire.fields(buffer, 0, len(buffer)))
    except wire.TruncatedError as error:
        raise WeightsError(
            "file-truncated",
            f"`{path}` ends too early: {error} does not fit into {len(buffer)} bytes",
            help="the download or copy was cut short; fetch it again",
        ) from None
    except wire.WireError as error:
        raise _corrupt(path, error, kind) from None


def _corrupt(path: Path, error: wire.WireError, kind: str) -> WeightsError:
    return WeightsError(
        "file-corrupt",
        f"`{path}` is damaged, or not a {kind}: {error}",
        help="fetch it again",
    )


def _refuse_other_messages(path: Path, top: Sequence[wire.Field]) -> None:
    present = {(field.number, field.wire_type) for field in top}
    if (_SOLVER_ITER, wire.VARINT) in present and (
        (_SOLVER_NET, wire.LENGTH) in present
        or (_SOLVER_HISTORY, wire.LENGTH) in present
    ):
        raise solverstate_given(path)
    if _holds_values(top):
        raise WeightsError(
            "file-is-binaryproto",
            f"`{path}` holds a single blob, such as a mean file, and no layers",
            help="give the .caffemodel",
        )


def _holds_values(top: Sequence[wire.Field]) -> bool:
    """Whether a message is a BlobProto: a net has no such fields, or as numbers."""
    values = (_BLOB_DATA, _BLOB_DOUBLE_DATA, _BLOB_RAW_DATA)
    widths = (wire.LENGTH, wire.FIXED32, wire.FIXED64)
    layers = (_LAYER, _V1_LAYERS)
    return any(f.number in values and f.wire_type in widths for f in top) and not any(
        f.number in layers and f.wire_type == wire.LENGTH for f in top
    )


def _read_net(path: Path, buffer: memoryview, top: Sequence[wire.Field]) -> CaffeModel:
    messages = [field for field in top if field.wire_type == wire.LENGTH]
    current = [(f.start, f.stop) for f in messages if f.number == _LAYER]
    old = [(f.start, f.stop) for f in messages if f.number == _V1_LAYERS]
    if current and old:
        raise WeightsError(
            "caffemodel-mixed-layers",
            f"`{path}` has both `layer` and `layers` fields, which Caffe refuses",
            help="save it anew with one version of Caffe",
        )
    if not current and not old:
        raise WeightsError(
            "caffemodel-no-layers",
            f"`{path}` holds no layers",
            help="is it a .caffemodel that Caffe wrote?",
        )
    names = [_text(buffer, f) for f in messages if f.number == _NET_NAME]
    layers = [_read_layer(buffer, [span], _CURRENT) for span in current]
    layers += _read_old_layers(buffer, old)
    return CaffeModel(names[-1] if names else "", tuple(layers))


def _read_old_layers(buffer: memoryview, old: Sequence[Span]) -> list[LayerBlobs]:
    """V1 layers; if any of them wraps a V0 layer, only what is wrapped counts."""
    wrapped = [
        [
            (field.start, field.stop)
            for field in wire.fields(buffer, *span)
            if field.number == _V0_IN_V1 and field.wire_type == wire.LENGTH
        ]
        for span in old
    ]
    if any(wrapped):
        return [_read_layer(buffer, spans, _V0) for spans in wrapped]
    return [_read_layer(buffer, [span], _V1) for span in old]


def _read_layer(
    buffer: memoryview, spans: Sequence[Span], numbers: _LayerFields
) -> LayerBlobs:
    """A layer, from the ranges of its message, which a writer may have split."""
    name = layer_type = ""
    blobs: list[Blob] = []
    for start, stop in spans:
        for field in wire.fields(buffer, start, stop):
            if field.number == numbers.type and field.wire_type == wire.VARINT:
                layer_type = v1_layer_type(field.value)
            elif field.wire_type != wire.LENGTH:
                continue
            elif field.number == numbers.name:
                name = _text(buffer, field)
            elif field.number == numbers.type:
                layer_type = _text(buffer, field)
            elif field.number == numbers.blobs:
                blobs.append(read_blob(buffer, field.start, field.stop))
    if numbers is _V0:
        layer_type = v0_layer_type(layer_type)
    return LayerBlobs(name, layer_type, tuple(blobs))


def _text(buffer: memoryview, field: wire.Field) -> str:
    """A name; bytes that are no UTF-8 are kept as the reader of prototxts keeps them."""
    return bytes(buffer[field.start : field.stop]).decode("utf-8", "surrogateescape")
