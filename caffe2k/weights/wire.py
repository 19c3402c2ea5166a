"""Reads and writes protobuf's wire format; believes nothing that a buffer says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5

_FIXED_WIDTHS = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT_BYTES = 10
_MAX_FIELD_NUMBER = (1 << 29) - 1
_MAX_RUN = 4096
_MAX_FIELDS = 1 << 18


class WireError(ValueError):
    """Bytes that are not protobuf's wire format; `offset` tells where."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} at byte {offset}")
        self.offset = offset


class TruncatedError(WireError):
    """A field that goes on past the end of the message around it."""


class Field(NamedTuple):
    """One field of a message, as a range of the buffer.

    `start` and `stop` enclose the payload. A run of fixed-width fields with the same
    tag, `records` of them, is one Field: `start` is then the first payload, `stop` the end of the last,
    and `stride` bytes lie between one payload and the next.
    """

    number: int
    wire_type: int
    start: int
    stop: int
    value: int = 0
    records: int = 1
    stride: int = 0


def fields(buffer: memoryview, start: int, stop: int) -> Iterator[Field]:
    """The fields of the message in `buffer[start:stop]`, in file order.

    Every length is checked against `stop` before it is used. Groups, which no version
    of Caffe's schema has, are refused, and more fields than any net has layers: millions
    of two bytes each would take a hundred times their size to list.

    Raises WireError.
    """
    position = start
    number_of_fields = 0
    while position < stop:
        number_of_fields += 1
        if number_of_fields > _MAX_FIELDS:
            raise WireError(f"over {_MAX_FIELDS} fields", position)
        tag_start = position
        tag, position = read_varint(buffer, position, stop)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_FIELD_NUMBER:
            raise WireError(f"field number {number}", tag_start)
        if wire_type == VARINT:
            value, end = read_varint(buffer, position, stop)
            field = Field(number, wire_type, position, end, value)
        elif wire_type == LENGTH:
            length, position = read_varint(buffer, position, stop)
            if length > stop - position:
                raise TruncatedError(f"a field of {length} bytes", tag_start)
            field = Field(number, wire_type, position, position + length)
        elif wire_type in _FIXED_WIDTHS:
            width = _FIXED_WIDTHS[wire_type]
            if width > stop - position:
                raise TruncatedError(f"a field of {width} bytes", tag_start)
            stride = position - tag_start + width
            records = _run_length(buffer[tag_start:stop], position - tag_start, stride)
            end = tag_start + records * stride
            field = Field(number, wire_type, position, end, 0, records, stride)
        else:
            raise WireError(f"wire type {wire_type}", tag_start)
        yield field
        position = field.stop


def _run_length(buffer: memoryview, tag_size: int, stride: int) -> int:
    """How many records of `stride` bytes begin with the first one's tag, up to a limit."""
    tag = buffer[:tag_size]
    if buffer[stride : stride + tag_size] != tag:
        return 1
    count = min(len(buffer) // stride, _MAX_RUN)
    records = np.frombuffer(buffer, np.uint8, count * stride).reshape(count, stride)
    same = (records[:, :tag_size] == records[0, :tag_size]).all(axis=1)
    return count if same.all() else int(same.argmin())


def read_varint(buffer: memoryview, position: int, stop: int) -> tuple[int, int]:
    """The varint at `position` (its low 64 bits) and the position after it.

    Raises WireError if it has more than ten bytes or goes on past `stop`.
    """
    start, value = position, 0
    for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
        if position >= stop:
            raise TruncatedError("a varint", start)
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise WireError(f"a varint of more than {_MAX_VARINT_BYTES} bytes", start)


def varint(value: int) -> bytes:
    """A number of at least 0 as protobuf writes it."""
    low = bytearray()
    while value > 0x7F:
        low.append(value & 0x7F | 0x80)
        value >>= 7
    low.append(value)
    return bytes(low)


def tag(number: int, wire_type: int) -> bytes:
    """What stands in front of a field."""
    return varint(number << 3 | wire_type)


def signed(value: int, bits: int) -> int:
    """The low `bits` of a varint as a two's complement number (int32, int64)."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def varints(buffer: memoryview, field: Field) -> Iterator[int]:
    """The values of a repeated integer field, written singly or packed.

    Raises WireError.
    """
    if field.wire_type == VARINT:
        yield field.value
    elif field.wire_type == LENGTH:
        position = field.start
        while position < field.stop:
            value, position = read_varint(buffer, position, field.stop)
            yield value


def fixed_count(field: Field, width: int) -> int:
    """How many values a repeated field of `width` bytes each holds; 0 if it is no such.

    Raises WireError if a packed field ends within a value.
    """
    if field.wire_type == LENGTH:
        return whole_count(field.stop - field.start, width, field.stop)
    return field.records if _FIXED_WIDTHS.get(field.wire_type) == width else 0


def whole_count(size: int, width: int, offset: int) -> int:
    """How many values of `width` bytes are `size` bytes; they end at `offset`.

    Raises WireError if the last one is cut short.
    """
    count, rest = divmod(size, width)
    if rest:
        raise WireError(f"packed values that end {rest} bytes early", offset)
    return count


def fixed_values(
    buffer: memoryview, field: Field, dtype: npt.DTypeLike
) -> npt.NDArray[np.generic]:
    """A view of the values that `fixed_count` counted, without copying any."""
    kind = np.dtype(dtype)
    count = fixed_count(field, kind.itemsize)
    stride = kind.itemsize if field.wire_type == LENGTH else field.stride
    return np.ndarray((count,), kind, buffer, field.start, (stride,))
