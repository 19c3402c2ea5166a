"""Reads one BlobProto message."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from caffe2k.weights import wire
from caffe2k.weights.blob import MAX_AXES, Blob, FloatArray, Shape

# Field numbers of BlobProto and BlobShape.
_NUM, _WIDTH = 1, 4
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
_DIM = 1

_VALUE_TYPES: dict[int, np.dtype[np.generic]] = {
    _DATA: np.dtype("<f4"),
    _DOUBLE_DATA: np.dtype("<f8"),
}
_MAX_COUNT = (1 << 31) - 1


def read_blob(buffer: memoryview, start: int, stop: int) -> Blob:
    """The blob in `buffer[start:stop]`; its values stay where they are until loaded.

    num, channels, height and width, if any is set, outrank `shape`; double_data outranks
    data (blob.cpp, Blob::FromProto). Gradients are passed over.

    Raises wire.WireError, also for a shape that Caffe refuses (blob.cpp, Blob::Reshape).
    """
    legacy: dict[int, int] = {}
    dims: list[int] = []
    stored = dict.fromkeys(_VALUE_TYPES, 0)
    for field in wire.fields(buffer, start, stop):
        if _NUM <= field.number <= _WIDTH and field.wire_type == wire.VARINT:
            legacy[field.number] = wire.signed(field.value, 32)
        elif field.number == _SHAPE and field.wire_type == wire.LENGTH:
            for dim in _dims(buffer, field):
                dims.append(dim)
                if len(dims) > MAX_AXES:
                    raise wire.WireError(f"a shape of over {MAX_AXES} axes", start)
        elif field.number in _VALUE_TYPES:
            width = _VALUE_TYPES[field.number].itemsize
            stored[field.number] += wire.fixed_count(field, width)
    if legacy:
        dims = [legacy.get(number, 0) for number in range(_NUM, _WIDTH + 1)]
    shape = tuple(dims)
    _check_shape(shape, start)
    source = _DOUBLE_DATA if stored[_DOUBLE_DATA] else _DATA
    load = partial(_load, buffer, start, stop, source, stored[source])
    return Blob(shape, stored[source], bool(legacy), load=load)


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
    buffer: memoryview, start: int, stop: int, number: int, count: int
) -> FloatArray:
    dtype = _VALUE_TYPES[number]
    runs = (
        wire.fixed_values(buffer, field, dtype)
        for field in wire.fields(buffer, start, stop)
        if field.number == number and wire.fixed_count(field, dtype.itemsize)
    )
    with np.errstate(all="ignore"):  # a double may be too large for a float
        values = np.empty(0, np.float32)
        filled = 0
        for run in runs:
            if len(run) == count:
                return np.ascontiguousarray(run, np.float32)
            if not filled:
                values = np.empty(count, np.float32)
            values[filled : filled + len(run)] = run
            filled += len(run)
    return values
