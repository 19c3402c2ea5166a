"""TFRecord shards: framing, damage, order, and that TensorFlow reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from caffe2k.datasets.conversion import Conversion
from caffe2k.datasets.errors import BadRecord, DatasetError
from caffe2k.datasets.opening import open_source
from caffe2k.schema.caffe_pb2 import Datum
from tests.datasets.making import (
    encoded,
    floats,
    numbered,
    parsed,
    picture,
    raw,
    read_lmdb,
    write_lmdb,
)


def datums(count: int = 10):
    made = [raw(picture(n, 3, 4, 4), n - 2) for n in range(count - 2)]
    made.append(floats(picture(0, 1, 2, 2) / 7, 5))
    made.append(encoded(picture(0, 5, 5, 3), "jpg", 6))
    return made


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    source = write_lmdb(tmp_path / "source", numbered(datums()))
    output = tmp_path / "shards"
    Conversion(open_source(source), output, "tfrecord", shards=4).run()
    return output


def read(folder: Path):
    return {r.key: r.datum for r in open_source(folder).records()}


def test_the_order_is_that_of_the_database(shards: Path) -> None:
    assert [path.name for path in sorted(shards.iterdir())] == [
        f"data-{n:05}-of-00004.tfrecord" for n in range(4)
    ]
    assert list(read(shards)) == [b"%08d" % n for n in range(10)]


def test_one_shard_is_a_data_set_too(shards: Path) -> None:
    found = read(shards / "data-00001-of-00004.tfrecord")
    assert list(found) == [b"00000001", b"00000005", b"00000009"]


def test_fewer_records_than_shards(tmp_path: Path) -> None:
    source = write_lmdb(tmp_path / "source", numbered(datums(3)))
    Conversion(open_source(source), tmp_path / "out", "tfrecord", shards=8).run()
    assert list(read(tmp_path / "out").values()) == datums(3)


@pytest.mark.parametrize("shard", [0, 2])
@pytest.mark.parametrize("cut", [1, 5, 13])
def test_a_shard_that_is_cut_off(shards: Path, shard: int, cut: int) -> None:
    path = shards / f"data-{shard:05}-of-00004.tfrecord"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DatasetError, match="damaged or cut off in record"):
        read(shards)


def test_a_shard_that_ends_early_between_records(shards: Path) -> None:
    path = shards / "data-00001-of-00004.tfrecord"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    path.write_bytes(data[: 12 + length + 4])
    with pytest.raises(DatasetError, match=r"data-00001\S+ has too few records"):
        read(shards)


def test_a_byte_that_has_changed(shards: Path) -> None:
    path = shards / "data-00000-of-00004.tfrecord"
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match="damaged or cut off in record 0"):
        read(shards)


def test_a_shard_that_is_missing(shards: Path) -> None:
    (shards / "data-00003-of-00004.tfrecord").unlink()
    with pytest.raises(DatasetError, match=r"data-00003-of-00004\.tfrecord is missing"):
        read(shards)


def test_a_length_that_is_not_there_takes_no_memory(shards: Path) -> None:
    from caffe2k.datasets.tfrecords import _masked_crc

    head = (1 << 62).to_bytes(8, "little")
    path = shards / "data-00000-of-00004.tfrecord"
    path.write_bytes(head + _masked_crc(head).to_bytes(4, "little") + b"x" * 20)
    with pytest.raises(DatasetError, match="damaged or cut off in record 0"):
        read(path)


@pytest.mark.slow
def test_tensorflow_reads_them_and_we_read_its(shards: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    paths = [str(path) for path in sorted(shards.iterdir())]
    records = tf.data.Dataset.from_tensor_slices(paths).interleave(
        tf.data.TFRecordDataset, cycle_length=len(paths), block_length=1
    )
    features = {
        "key": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "channels": tf.io.FixedLenFeature([], tf.int64, 0),
        "data": tf.io.FixedLenFeature([], tf.string, ""),
        "float_data": tf.io.VarLenFeature(tf.float32),
        "encoded": tf.io.FixedLenFeature([], tf.int64, 0),
    }
    examples = [tf.io.parse_single_example(r, features) for r in records]
    for number, (example, datum) in enumerate(zip(examples, datums(), strict=True)):
        assert example["key"].numpy() == b"%08d" % number
        assert example["label"].numpy() == datum.label
        assert example["channels"].numpy() == datum.channels
        assert example["data"].numpy() == datum.data
        assert example["encoded"].numpy() == datum.encoded
        assert example["float_data"].values.numpy().tolist() == list(datum.float_data)

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    values = {"channels": 1, "height": 1, "width": 2, "label": -3, "data": b"ab"}
    with tf.io.TFRecordWriter(str(tmp_path / "theirs.tfrecord")) as writer:
        for fields in (values, values | {"label": 1 << 40}, {"image": b"x"}):
            made = {name: feature(value) for name, value in fields.items()}
            example = tf.train.Example(features=tf.train.Features(feature=made))
            writer.write(example.SerializeToString())
        writer.write(b"\xff")
    theirs = list(open_source(tmp_path / "theirs.tfrecord").records())
    assert theirs[0].datum == Datum(**values)
    for record, reason in zip(
        theirs[1:],
        ["the feature label is 1099511627776", "neither the feature data", "is not a"],
        strict=True,
    ):
        with pytest.raises(BadRecord, match=reason):
            _ = record.datum


def test_what_comes_back_is_what_was(shards: Path, tmp_path: Path) -> None:
    Conversion(open_source(shards), tmp_path / "back", "lmdb").run()
    assert parsed(read_lmdb(tmp_path / "back")) == numbered(datums())
