"""Databases of records: order, wrapping, several readers of one, damage."""

import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import plyvel
import pytest

from caffe2k.runtime.databases import DataReader, Keys, open_database
from caffe2k.runtime.labelled_images import RecordError
from caffe2k.runtime.transform import Transformer
from caffe2k.schema import caffe_pb2

PROJECT = Path(__file__).resolve().parents[2]


def datum(label, shape=(1, 2, 3), **fields):
    channels, height, width = shape
    values = np.full(shape, label, np.uint8)
    return caffe_pb2.Datum(
        **{
            "channels": channels,
            "height": height,
            "width": width,
            "data": values.tobytes(),
            "label": label,
            **fields,
        }
    ).SerializeToString()


def write_lmdb(path, records):
    with (
        lmdb.open(str(path), map_size=1 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in records.items():
            transaction.put(key, value)


def write_leveldb(path, records):
    database = plyvel.DB(str(path), create_if_missing=True)
    for key, value in records.items():
        database.put(key, value)
    database.close()


WRITERS = {"LMDB": write_lmdb, "LEVELDB": write_leveldb}


@pytest.fixture(params=WRITERS)
def backend(request):
    return request.param


@pytest.fixture
def database(tmp_path, backend):
    """Five records; their keys put them in the order of their labels."""
    path = tmp_path / "db"
    records = {b"%08d" % i: datum(i) for i in (3, 0, 4, 1, 2)}
    WRITERS[backend](path, records)
    return path


def labels(batches, count):
    return [next(batches)["label"].tolist() for _ in range(count)]


def test_batches_wrap_in_the_order_of_the_keys(database, backend):
    reader = DataReader(database, 3, ["data", "label"], backend)
    batches = iter(reader)
    first = next(batches)
    assert first["data"].shape == (3, 1, 2, 3)
    assert first["data"].dtype == first["label"].dtype == np.float32
    np.testing.assert_array_equal(first["data"][2], np.full((1, 2, 3), 2))
    assert labels(batches, 4) == [[3, 4, 0], [1, 2, 3], [4, 0, 1], [2, 3, 4]]


def test_a_batch_may_be_larger_than_the_database(database, backend):
    batches = iter(DataReader(database, 12, ["data", "label"], backend))
    assert labels(batches, 1) == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]]


def test_without_labels(database, backend):
    assert set(next(iter(DataReader(database, 2, ["data"], backend)))) == {"data"}


def test_readers_of_one_database_do_not_disturb_each_other(database, backend):
    one, other = (
        iter(DataReader(database, size, ["data", "label"], backend)) for size in (2, 3)
    )
    assert labels(one, 2) == [[0, 1], [2, 3]]
    assert labels(other, 1) == [[0, 1, 2]]
    assert labels(one, 1) == [[4, 0]]


def test_the_folder_is_left_as_it_is(database, backend):
    before = {f.name: f.read_bytes() for f in database.iterdir()}
    next(iter(DataReader(database, 9, ["data"], backend)))
    assert {f.name: f.read_bytes() for f in database.iterdir()} == before


def test_an_empty_database(tmp_path, backend):
    WRITERS[backend](tmp_path / "db", {})
    with pytest.raises(ValueError, match="holds no records"):
        next(iter(DataReader(tmp_path / "db", 1, ["data"], backend)))


def test_records_that_are_no_images(tmp_path, backend):
    records = {b"0": datum(0), b"1": datum(1, data=b"abc")}
    WRITERS[backend](tmp_path / "db", records)
    batches = iter(DataReader(tmp_path / "db", 2, ["data"], backend))
    with pytest.raises(RecordError, match=r"db, record '1': 3 values for a shape"):
        next(batches)


def test_images_of_several_sizes(tmp_path, backend):
    records = {b"0": datum(0, (1, 4, 4)), b"1": datum(1, (1, 5, 4))}
    WRITERS[backend](tmp_path / "db", records)
    batches = iter(DataReader(tmp_path / "db", 2, ["data"], backend))
    with pytest.raises(ValueError, match="an image of shape"):
        next(batches)
    one_each = iter(DataReader(tmp_path / "db", 1, ["data"], backend))
    assert [next(one_each)["data"].shape[2] for _ in range(3)] == [4, 5, 4]
    crop = Transformer("TEST", crop_size=3)
    cropped = next(iter(DataReader(tmp_path / "db", 2, ["data"], backend, crop)))
    assert cropped["data"].shape == (2, 1, 3, 3)


def test_settings_that_do_not_fit_fail_before_the_first_batch(database, backend):
    with pytest.raises(ValueError, match="crop_size 3 is larger"):
        iter(
            DataReader(database, 1, ["data"], backend, Transformer("TEST", crop_size=3))
        )


def test_leveldb_with_records_in_its_log_alone(tmp_path):
    write_leveldb(tmp_path / "db", {b"0": b"value"})
    assert not list((tmp_path / "db").glob("*.ldb"))
    database = open_database(tmp_path / "db", "LEVELDB")
    keys = Keys(database)
    assert [keys[0], database.get(keys[0])] == [b"0", b"value"]


LEFT_OPEN = """
import sys
from caffe2k.runtime.databases import DataReader
from caffe2k.runtime.readers import Batches
stream = Batches([DataReader(sys.argv[1], 2, ["data"], sys.argv[2])], "data")
next(stream)
"""


def test_python_exits_in_silence_while_a_reader_is_open(database, backend):
    command = [sys.executable, "-W", "error", "-c", LEFT_OPEN, database, backend]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, check=True, timeout=60
    )
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("module", "backend"), [("lmdb", "LMDB"), ("plyvel", "LEVELDB")]
)
def test_missing_library(tmp_path, monkeypatch, module, backend):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"pip install {module}"):
        DataReader(tmp_path, 1, ["data"], backend)
