"""Shards give the batches of their database; damage is an error that names its place."""

from contextlib import suppress
from itertools import islice

import cv2
import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2k.datasets.conversion import Conversion
from caffe2k.datasets.example import example_of
from caffe2k.datasets.opening import open_source
from caffe2k.runtime import tfrecord_data
from caffe2k.runtime.databases import DataReader
from caffe2k.runtime.datum import DatumError
from caffe2k.runtime.labelled_images import RecordError
from caffe2k.runtime.reading import Reading
from caffe2k.runtime.tfrecord_data import Records, TFRecordReader, parse_example
from caffe2k.runtime.transform import Transformer
from caffe2k.schema.caffe_pb2 import Datum

COUNT = 11


def datum(number):
    values = np.random.default_rng(number).integers(0, 256, (3, 6, 7), np.uint8)
    return Datum(channels=3, height=6, width=7, data=values.tobytes(), label=number - 3)


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "train_lmdb"
    with (
        lmdb.open(str(path), map_size=1 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for number in range(COUNT):
            key, value = f"{number:08}".encode(), datum(number).SerializeToString()
            transaction.put(key, value)
    return path


@pytest.fixture(params=[1, 4, 16])
def shards(request, database, tmp_path):
    output = tmp_path / "shards"
    Conversion(open_source(database), output, "tfrecord", shards=request.param).run()
    return output


def assert_same(first, second, count=6):
    for a, b in islice(zip(first, second, strict=True), count):
        assert a.keys() == b.keys()
        for top in a:
            np.testing.assert_array_equal(a[top], b[top])


def test_batches_wrap_around_as_those_of_the_database(database, shards):
    args = (4, ["data", "label"])
    assert_same(DataReader(database, *args, "LMDB"), TFRecordReader(shards, *args))


def test_the_same_is_drawn(database, shards):
    def reader(cls, path, *args):
        transform = Transformer("TRAIN", scale=0.5, crop_size=4, mirror=True)
        return cls(path, 4, ["data", "label"], *args, transform)

    def batches(reader):
        reading = Reading(seed=7, shuffle=True, rank=1, world=2)
        reader.check(reading)
        return (reader.batch(number, reading) for number in range(8))

    first = batches(reader(DataReader, database, "LMDB"))
    assert_same(first, batches(reader(TFRecordReader, shards)))


def test_floats_and_encoded_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    png = cv2.imencode(".png", pixels)[1].tobytes()
    numbers = [0.5, -1.25, 3e38]
    records = [
        Datum(channels=3, height=1, width=1, float_data=numbers, label=-(2**31)),
        Datum(encoded=True, data=png, label=2**31 - 1),
        Datum(channels=3, height=1, width=1, data=b"abc"),
    ]
    found = [parse_example(example_of(b"key", record)) for record in records]
    assert found[0].image().ravel().tolist() == np.float32(numbers).tolist()
    np.testing.assert_array_equal(found[1].image(), pixels.transpose(2, 0, 1))
    assert [record.label for record in found] == [-(2**31), 2**31 - 1, 0]
    assert found[2].image().tobytes() == b"abc"


def test_lists_that_are_not_packed():
    number = bytes([0x1A, 2, 0x08, 9])
    entry = b"\x0a\x05label\x12" + bytes([len(number)]) + number
    features = b"\x0a" + bytes([len(entry)]) + entry
    example = b"\x0a" + bytes([len(features)]) + features
    assert parse_example(example).label == 9


@given(st.binary(max_size=60))
def test_any_bytes_are_an_example_or_refused(data):
    with suppress(DatumError):
        parse_example(data)


@pytest.mark.parametrize("cut", [1, 9, 200])
def test_a_shard_that_is_cut_off(database, shards, cut):
    path = min(shards.iterdir())
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match=f"{path.name} is damaged or cut off at byte"):
        len(Records(shards))


def test_a_shard_that_is_missing(database, shards):
    max(shards.iterdir()).unlink()
    with pytest.raises(ValueError, match=r"holds \d+ of \d+ shards|no \*.tfrecord"):
        TFRecordReader(shards, 4, ["data"])


def test_a_byte_that_has_changed(database, shards):
    path = min(shards.iterdir())
    data = bytearray(path.read_bytes())
    data[70] ^= 1
    path.write_bytes(data)
    reader = TFRecordReader(shards, 4, ["data", "label"])
    with pytest.raises(RecordError, match=r"record 0 \(data-00000-of.*checksum"):
        next(iter(reader))


def test_without_google_crc32c_lengths_are_still_checked(database, shards, monkeypatch):
    monkeypatch.setattr(tfrecord_data, "_fast_checksum", lambda: None)
    args = (4, ["data", "label"])
    assert_same(DataReader(database, *args, "LMDB"), TFRecordReader(shards, *args))
    path = min(shards.iterdir())
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="damaged or cut off at byte 0"):
        TFRecordReader(shards, *args).items[0]


def test_no_records(tmp_path):
    (tmp_path / "data-00000-of-00001.tfrecord").touch()
    with pytest.raises(ValueError, match="holds no records"):
        len(Records(tmp_path))
    with pytest.raises(ValueError, match="holds no"):
        Records(tmp_path / "nothing")
