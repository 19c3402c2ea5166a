"""Caffe's Datum record: one image, or one array of floats, with its label."""

from dataclasses import dataclass

import numpy as np

from .images import decode_image

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FLOAT_RECORD = np.dtype([("tag", "u1"), ("value", "<f4")])

_CHANNELS = 1 << 3 | _VARINT
_HEIGHT = 2 << 3 | _VARINT
_WIDTH = 3 << 3 | _VARINT
_DATA = 4 << 3 | _BYTES
_LABEL = 5 << 3 | _VARINT
_FLOAT = 6 << 3 | _FIXED32
_FLOATS_PACKED = 6 << 3 | _BYTES
_ENCODED = 7 << 3 | _VARINT


class DatumError(ValueError):
    """A record that is not a Datum, or one whose parts do not fit together."""


@dataclass(slots=True)
class Datum:
    """One record as it was written; `image` gives its values in Caffe's order."""

    channels: int = 0
    height: int = 0
    width: int = 0
    label: int = 0
    data: np.ndarray | None = None
    float_data: np.ndarray | None = None
    encoded: bool = False

    def image(self, color=None):
        """The values as an array of shape (C, H, W), uint8 or float32; colours are BGR.

        `color` decides the channels of an encoded image: True three, False one, None as
        the file has them; raw values are given as they are. Raises DatumError where the
        record holds fewer values than its shape asks for, or no readable image.
        As in data_transformer.cpp, `data` goes before `float_data`, and what lies
        behind the last value of the shape is not looked at.
        """
        if self.encoded:
            return self._decoded(color)
        values = self.float_data if self.data is None else self.data
        if values is None:
            raise DatumError("the record holds no values")
        shape = (self.channels, self.height, self.width)
        if min(shape) < 1:
            raise DatumError(f"shape {shape} (channels, height, width) is not positive")
        count = self.channels * self.height * self.width
        if values.size < count:
            raise DatumError(f"{values.size} values for a shape of {shape}")
        return values[:count].reshape(shape)

    def _decoded(self, color):
        if self.data is None:
            raise DatumError("the record is marked as encoded and holds no data")
        try:
            return decode_image(self.data, color)
        except ValueError as error:
            raise DatumError(f"encoded image: {error}") from error


def parse_datum(record):
    """The Datum in the bytes of a database record.

    Reads protobuf's wire format as its own reader does: the last value of a field
    counts, floats may be packed or not, fields of other numbers are passed over.
    Raises DatumError where a length or a number runs past the end of the record.
    """
    datum = Datum()
    floats = []
    position, end = 0, len(record)
    while position < end:
        tag, position = read_varint(record, position)
        if tag == _DATA:
            start, position = _extent(record, position)
            datum.data = _bytes(record, start, position)
        elif tag == _FLOAT:
            run, position = _float_run(record, position - 1)
            floats.append(run)
        elif tag == _FLOATS_PACKED:
            start, position = _extent(record, position)
            if (position - start) % 4:
                raise DatumError("float_data is not a whole number of floats")
            floats.append(np.frombuffer(record, "<f4", (position - start) // 4, start))
        elif tag == _CHANNELS:
            datum.channels, position = _int32(record, position)
        elif tag == _HEIGHT:
            datum.height, position = _int32(record, position)
        elif tag == _WIDTH:
            datum.width, position = _int32(record, position)
        elif tag == _LABEL:
            datum.label, position = _int32(record, position)
        elif tag == _ENCODED:
            encoded, position = read_varint(record, position)
            datum.encoded = encoded != 0
        else:
            position = _skip(record, position, tag)
    if floats:
        datum.float_data = np.concatenate(floats)
    return datum


def read_varint(record, position):
    """A whole number of the wire format, and the position behind it, or DatumError."""
    value = shift = 0
    for byte in record[position : position + 10]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise DatumError(f"no number ends at byte {position}")


def _int32(record, position):
    value, position = read_varint(record, position)
    value &= 0xFFFFFFFF
    return value - (value >> 31 << 32), position


def _extent(record, position):
    """Where the bytes behind a length prefix begin and end."""
    length, start = read_varint(record, position)
    return start, _checked(record, start + length)


def _bytes(record, start, end):
    """The bytes, or None where there are none: Caffe then looks at the floats."""
    return np.frombuffer(record, np.uint8, end - start, start) if end > start else None


def _float_run(record, position):
    """The unpacked floats from `position` on: five bytes each, the tag and the value."""
    count = (len(record) - position) // _FLOAT_RECORD.itemsize
    entries = np.frombuffer(record, _FLOAT_RECORD, count, position)
    others = np.flatnonzero(entries["tag"] != _FLOAT)
    if others.size:
        entries = entries[: others[0]]
    if not entries.size:
        raise DatumError("the record ends within float_data")
    return entries["value"], position + entries.nbytes


def _skip(record, position, tag):
    wire_type = tag & 7
    if tag >> 3 == 0:
        raise DatumError(f"field number 0 before byte {position}")
    if wire_type == _VARINT:
        return read_varint(record, position)[1]
    if wire_type == _BYTES:
        return _extent(record, position)[1]
    if wire_type == _FIXED64:
        return _checked(record, position + 8)
    if wire_type == _FIXED32:
        return _checked(record, position + 4)
    raise DatumError(f"unknown wire type {wire_type} before byte {position}")


def _checked(record, end):
    if end > len(record):
        raise DatumError(f"the record ends {end - len(record)} bytes too early")
    return end


def fields(record):
    """The (number, value) of each field of any message, in their order.

    Whole numbers are as an int32 has them; all other values are slices of the record.
    Raises DatumError as parse_datum does.
    """
    position, end = 0, len(record)
    while position < end:
        tag, start = read_varint(record, position)
        if tag & 7 == _VARINT:
            value, position = _int32(record, start)
        else:
            position = _skip(record, start, tag)
            if tag & 7 == _BYTES:
                start = _extent(record, start)[0]
            value = record[start:position]
        yield tag >> 3, value
