"""Record: a key and a Datum, and what the Datum holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray

from caffe2k.datasets import images
from caffe2k.datasets.errors import BadRecord, Fault, bad_record
from caffe2k.diagnostics import printable
from caffe2k.schema.caffe_pb2 import Datum

Values = NDArray[Any]
"""The uint8 or float32 values of a record, of shape (C, H, W); colours are BGR."""


@dataclass(frozen=True, eq=False)
class Record:
    """A record of a data set. It is read when it is asked for, and may then be bad.

    `stored` is the Datum as it lies in a database, byte for byte.
    """

    source: str
    key: bytes
    load: Callable[[], Datum]
    stored: bytes | None = None

    @property
    def name(self) -> str:
        """The key as it can be shown."""
        return printable(self.key.decode("utf-8", "replace"))

    def bad(self, fault: Fault | str) -> BadRecord:
        return bad_record(self.source, self.name, str(fault))

    @cached_property
    def datum(self) -> Datum:
        """Raises BadRecord where there is none."""
        try:
            return self.load()
        except Fault as fault:
            raise self.bad(fault) from None

    @property
    def serialized(self) -> bytes:
        """The Datum in bytes; raises BadRecord where there is none."""
        datum = self.datum
        return datum.SerializeToString() if self.stored is None else self.stored

    def values(self) -> Values:
        """The values, decoded where they are encoded; raises BadRecord."""
        try:
            return values(self.datum)
        except Fault as fault:
            raise self.bad(fault) from None

    def decoded(self) -> Record:
        """The record with an encoded image decoded (util/io.cpp, DecodeDatumNative)."""
        return Record(self.source, self.key, self._decode)

    def _decode(self) -> Datum:
        datum = self.datum
        if not datum.encoded:
            return datum
        made = Datum()
        made.CopyFrom(datum)
        fill(made, values(datum))
        return made


def parse(stored: bytes) -> Datum:
    """The Datum in the bytes of a database record; raises Fault."""
    datum = Datum()
    try:
        datum.ParseFromString(stored)
    except DecodeError:
        raise Fault("it is not a Datum") from None
    return datum


def require_known(datum: Datum) -> None:
    """Raises Fault for fields that only the bytes of a database can keep."""
    if len(UnknownFieldSet(datum)):
        raise Fault("it has fields that Caffe's Datum lacks: is it an AnnotatedDatum?")


def require_exact(datum: Datum) -> Values:
    """The values of a Datum that holds nothing but them; raises Fault.

    Of what data_transformer.cpp passes over, an array could keep nothing.
    """
    require_known(datum)
    if datum.data and datum.float_data:
        raise Fault("it has both data and float_data")
    found = values(datum)
    stored = len(datum.data) or len(datum.float_data)
    if not datum.encoded and stored != found.size:
        raise Fault(f"{stored} values for a shape of {shape_text(found.shape)}")
    return found


def values(datum: Datum) -> Values:
    """The values of a Datum in its shape; raises Fault where they don't fit.

    `data` goes before `float_data`, and what lies behind the last value of the shape is
    not looked at (data_transformer.cpp, DataTransformer::Transform).
    """
    if datum.encoded:
        if not datum.data:
            raise Fault("it is marked as encoded and holds no data")
        return images.decode(datum.data)
    stored = len(datum.data) or len(datum.float_data)
    if not stored:
        require_known(datum)
        raise Fault("it holds no values")
    shape = (datum.channels, datum.height, datum.width)
    if min(shape) < 1:
        raise Fault(f"its shape {shape_text(shape)} is not positive")
    count = datum.channels * datum.height * datum.width
    if stored < count:
        raise Fault(f"{stored} values for a shape of {shape_text(shape)}")
    if datum.data:
        return np.frombuffer(datum.data, np.uint8, count).reshape(shape)
    return np.array(datum.float_data[:count], np.float32).reshape(shape)


def fill(datum: Datum, pixels: images.Pixels) -> None:
    """Makes a Datum hold an image (util/io.cpp, CVMatToDatum)."""
    datum.channels, datum.height, datum.width = pixels.shape
    datum.data = pixels.tobytes()
    datum.ClearField("float_data")
    datum.encoded = False


def encoding(datum: Datum) -> str:
    """In which form a Datum has its values, in words."""
    if datum.encoded:
        return (images.image_type(datum.data) or "unknown image").upper()
    return "raw uint8" if datum.data else "float_data"


def shape_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
