"""A record is sound or bad, whatever its bytes are."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe2k.datasets import images
from caffe2k.datasets.errors import BadRecord, Fault
from caffe2k.datasets.example import read_example
from caffe2k.datasets.records import Record, parse
from caffe2k.schema.caffe_pb2 import AnnotatedDatum, Datum
from tests.datasets.making import image_file, picture

MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"RIFF", b"")


def record(stored: bytes) -> Record:
    return Record("db", b"key", partial(parse, stored), stored)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes(stored: bytes) -> None:
    with suppress(BadRecord):
        assert record(stored).values().ndim == 3


@settings(deadline=None)
@given(st.sampled_from(MAGICS), st.binary(max_size=200))
def test_any_image(magic: bytes, rest: bytes) -> None:
    with suppress(Fault):
        assert images.decode(magic + rest).ndim == 3


@given(st.binary(max_size=60))
def test_any_example(data: bytes) -> None:
    _, load = read_example(data)
    with suppress(Fault):
        assert isinstance(load(), Datum)


@given(st.sampled_from(["png", "jpg"]), st.integers(1, 400))
def test_an_image_that_is_cut_off(suffix: str, left: int) -> None:
    whole = image_file(picture(0, 40, 40, 3), suffix)
    with pytest.raises(Fault):
        images.decode(whole[:left])


def test_a_jpeg_of_more_pixels_than_its_bytes_hold() -> None:
    whole = bytearray(image_file(picture(0, 8, 8, 3), "jpg"))
    start = whole.index(b"\xff\xc0")
    whole[start + 5 : start + 9] = struct.pack(">HH", 65000, 65000)
    with pytest.raises(Fault, match="65000 x 65000 pixels"):
        images.decode(bytes(whole))


def test_sixteen_bits_a_channel() -> None:
    deep = image_file(picture(0, 4, 4).astype("uint16"), "png")
    with pytest.raises(Fault, match="8 bits a channel"):
        images.decode(deep)


def test_records_of_ssd_are_named() -> None:
    inner = Datum(channels=1, height=1, width=1, data=b"a")
    stored = AnnotatedDatum(datum=inner, type=0).SerializeToString()
    with pytest.raises(BadRecord, match="is it an AnnotatedDatum"):
        record(stored).values()
