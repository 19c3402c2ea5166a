"""Datum records: what protobuf writes, what it may write, and damage."""

import struct

import cv2
import numpy as np
import pytest

from caffe2k.runtime import images
from caffe2k.runtime.datum import DatumError, parse_datum
from caffe2k.runtime.images import decode_image, resize_image
from caffe2k.schema import caffe_pb2

PIXELS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
BGR = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)


def record(**fields):
    return caffe_pb2.Datum(**fields).SerializeToString()


def raw(**fields):
    pixels = {"channels": 2, "height": 3, "width": 4, "data": PIXELS.tobytes()}
    return record(**{**pixels, **fields})


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_raw_bytes():
    datum = parse_datum(raw(label=7))
    assert datum.label == 7
    np.testing.assert_array_equal(datum.image(), PIXELS)
    assert datum.image().dtype == np.uint8


@pytest.mark.parametrize("label", [-1, 0, 127, 128, 2**31 - 1, -(2**31)])
def test_labels_are_signed(label):
    assert parse_datum(raw(label=label)).label == label


def test_floats_one_by_one():
    values = np.linspace(-1, 1, 24, dtype=np.float32)
    datum = parse_datum(
        record(channels=2, height=3, width=4, float_data=values, label=3)
    )
    np.testing.assert_array_equal(datum.image().ravel(), values)
    assert datum.label == 3


def test_floats_packed_and_in_parts():
    packed = b"\x32\x08" + struct.pack("<2f", 1, 2)
    single = b"\x35" + struct.pack("<f", 3)
    shape = record(channels=1, height=1, width=3)
    image = parse_datum(packed + shape + single).image()
    np.testing.assert_array_equal(image, [[[1, 2, 3]]])


def test_bytes_go_before_floats():
    floats = np.ones(24, np.float32)
    np.testing.assert_array_equal(parse_datum(raw(float_data=floats)).image(), PIXELS)
    assert parse_datum(raw(data=b"", float_data=floats)).image().sum() == 24


def test_last_value_counts_and_unknown_fields_are_passed_over():
    unknown = b"\x78\x05" + b"\x7a\x02ab" + b"\x7d1234" + b"\x7912345678"
    datum = parse_datum(record(label=1) + unknown + raw(label=2))
    assert datum.label == 2
    np.testing.assert_array_equal(datum.image(), PIXELS)


def test_values_behind_the_last_are_not_looked_at():
    np.testing.assert_array_equal(
        parse_datum(raw(data=PIXELS.tobytes() + b"more")).image(), PIXELS
    )


def test_every_cut_of_a_record_is_noticed():
    whole = raw(label=300) + record(float_data=[1, 2])
    for length in range(len(whole)):
        try:
            datum = parse_datum(whole[:length])
            datum.image()
        except DatumError:
            continue
        # What was cut off lies behind the values.
        assert length >= len(raw())


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (raw(data=b"short"), "5 values for a shape of"),
        (record(channels=2, height=3, width=4), "holds no values"),
        (record(data=b"abc"), "not positive"),
        (record(encoded=True), "holds no data"),
        (record(encoded=True, data=b"no image"), "not an image"),
        (b"\x22\x7fabc", "ends 124 bytes too early"),
        (b"\x08" + b"\xff" * 11, "no number ends"),
        (b"\x35\x00\x00", "ends within float_data"),
        (b"\x32\x03abc", "whole number of floats"),
        (b"\x03", "field number 0"),
        (b"\x0b", "unknown wire type 3"),
    ],
)
def test_damage(bad, words):
    with pytest.raises(DatumError, match=words):
        parse_datum(bad).image()


def test_encoded_as_it_is_or_as_asked():
    colour = parse_datum(record(encoded=True, data=png(BGR)))
    np.testing.assert_array_equal(colour.image(), BGR.transpose(2, 0, 1))
    assert colour.image(color=False).shape == (1, 5, 6)
    grey = parse_datum(record(encoded=True, data=png(BGR[:, :, 0])))
    np.testing.assert_array_equal(grey.image(), BGR[None, :, :, 0])
    np.testing.assert_array_equal(grey.image(color=True), np.stack([BGR[:, :, 0]] * 3))


def test_sixteen_bits_are_refused():
    with pytest.raises(ValueError, match="8 bits a channel, not uint16"):
        decode_image(png(BGR.astype(np.uint16)))


def test_resizing_keeps_the_axes():
    image = BGR.transpose(2, 0, 1)
    expected = cv2.resize(BGR, (9, 4)).transpose(2, 0, 1)
    np.testing.assert_array_equal(resize_image(image, 4, 9), expected)
    assert resize_image(image[:1], 4, 9).shape == (1, 4, 9)


@pytest.fixture
def without_opencv(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    images._opencv.cache_clear()
    yield
    images._opencv.cache_clear()


def test_pillow_stands_in_and_says_so(without_opencv):
    with pytest.warns(UserWarning, match="OpenCV is not installed"):
        image = decode_image(png(BGR))
    np.testing.assert_array_equal(image, BGR.transpose(2, 0, 1))
    grey = BGR[:, :, 0]
    np.testing.assert_array_equal(decode_image(png(grey))[0], grey)
    np.testing.assert_array_equal(decode_image(png(grey), True), np.stack([grey] * 3))
    alpha = np.dstack([BGR, grey])
    np.testing.assert_array_equal(decode_image(png(alpha)), alpha.transpose(2, 0, 1))
    expected = cv2.cvtColor(BGR, cv2.COLOR_BGR2GRAY).astype(int)
    assert abs(decode_image(png(BGR), False)[0] - expected).max() <= 1
    with pytest.raises(ValueError, match="8 bits a channel"):
        decode_image(png(grey.astype(np.uint16)))
    with pytest.raises(ValueError, match="not an image"):
        decode_image(b"no image")
    with pytest.raises(ImportError, match="opencv-python-headless"):
        resize_image(image, 4, 4)
