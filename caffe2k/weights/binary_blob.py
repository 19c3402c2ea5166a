"""Reads one BlobProto message."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from caffe2k.weights import wire
from caffe2k.weights.blob import MAX_AXES, AnyArray, Blob, Shape

# Field numbers of BlobProto and BlobShape.
_NUM, _WIDTH = 1, 4
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
_RAW_DATA_TYPE, _RAW_DATA = 10, 12
_DIM = 1


class _Source(NamedTuple):
    """A field that holds values, and their type."""

    number: int
    dtype: np.dtype[np.generic]


_REPEATED = {
    _DATA: _Source(_DATA, np.dtype("<f4")),
    _DOUBLE_DATA: _Source(_DOUBLE_DATA, np.dtype("<f8")),
}
_RAW_TYPES = ("<f8", "<f4", "<f2", "<i4", "<u4", "?")
"""By the numbers of NVIDIA's enum Type."""

_MAX_COUNT = (1 << 31) - 1


def read_blob(buffer: memoryview, start: int, stop: int) -> Blob:
    """The blob in `buffer[start:stop]`; its values stay where they are until loaded.

    num, channels, height and width, if any is set, outrank `shape`; double_data outranks
    data (blob.cpp, Blob::FromProto), and NVIDIA's raw_data both. Gradients are passed
    over.

    Raises wire.WireError, also for a shape that Caffe refuses (blob.cpp, Blob::Reshape).
    """
    legacy: dict[int, int] = {}
    dims: list[int] = []
    stored = dict.fromkeys(_REPEATED, 0)
    raw_type, raw_bytes = 0, -1
    for field in wire.fields(buffer, start, stop):
        if _NUM <= field.number <= _WIDTH and field.wire_type == wire.VARINT:
            legacy[field.number] = wire.signed(field.value, 32)
        elif field.number == _SHAPE and field.wire_type == wire.LENGTH:
            for dim in _dims(buffer, field):
                dims.append(dim)
                if len(dims) > MAX_AXES:
                    raise wire.WireError(f"a shape of over {MAX_AXES} axes", start)
        elif field.number in _REPEATED:
            width = _REPEATED[field.number].dtype.itemsize
            stored[field.number] += wire.fixed_count(field, width)
        elif field.number == _RAW_DATA_TYPE and field.wire_type == wire.VARINT:
            raw_type = field.value
        elif field.number == _RAW_DATA and field.wire_type == wire.LENGTH:
            raw_bytes = field.stop - field.start
    if legacy:
        dims = [legacy.get(number, 0) for number in range(_NUM, _WIDTH + 1)]
    shape = tuple(dims)
    _check_shape(shape, start)
    if raw_bytes >= 0:
        source = _raw_source(raw_type, start)
        count = wire.whole_count(raw_bytes, source.dtype.itemsize, stop)
    else:
        source = _REPEATED[_DOUBLE_DATA if stored[_DOUBLE_DATA] else _DATA]
        count = stored[source.number]
    load = partial(_load, buffer, start, stop, source, count)
    return Blob(shape, count, bool(legacy), load=load)


def _raw_source(raw_type: int, offset: int) -> _Source:
    if raw_type >= len(_RAW_TYPES):
        raise wire.WireError(f"values of the unknown type {raw_type}", offset)
    return _Source(_RAW_DATA, np.dtype(_RAW_TYPES[raw_type]))


def _dims(buffer: memoryview, message: wire.Field) -> Iterator[int]:
    for field in wire.fields(buffer, message.start, message.stop):
        if field.number == _DIM:
            for value in wire.varints(buffer, field):
                yield wire.signed(value, 64)


def _check_shape(shape: Shape, offset: int) -> None:
    count = 1
    for dim in shape:
        count *= dim
        if dim < 0 or count > _MAX_COUNT:
            raise wire.WireError(f"the impossible shape {shape}", offset)


def _load(
    buffer: memoryview, start: int, stop: int, source: _Source, count: int
) -> AnyArray:
    """The values, as one view of the buffer where they stand in one piece."""
    runs = list(_runs(buffer, start, stop, source))
    if len(runs) == 1:
        return runs[0]
    values = np.empty(count, source.dtype)
    filled = 0
    for run in runs:
        values[filled : filled + len(run)] = run
        filled += len(run)
    return values


def _runs(
    buffer: memoryview, start: int, stop: int, source: _Source
) -> Iterator[AnyArray]:
    last: wire.Field | None = None
    for field in wire.fields(buffer, start, stop):
        if field.number != source.number:
            continue
        if source.number != _RAW_DATA:
            if wire.fixed_count(field, source.dtype.itemsize):
                yield wire.fixed_values(buffer, field, source.dtype)
        elif field.wire_type == wire.LENGTH:
            last = field
    if last is not None:
        yield wire.fixed_values(buffer, last, source.dtype)
