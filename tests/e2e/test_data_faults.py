"""Damaged and missing data: what the emitted data.py says, word for word."""

import importlib.util
import os
import shutil
import sys

import cv2
import h5py
import lmdb
import numpy as np
import plyvel
import pytest

from caffe2k.schema.caffe_pb2 import BlobProto, Datum
from caffe2k.translation import translate

LAYER = """
layer {
  name: "data"
  type: "%s"
  top: "data"
  top: "label"
  transform_param { %s }
  %s {
    source: "%s"
    batch_size: 3
    %s
  }
}
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" }
"""
IMAGE = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(8, 8, 3)


def jpeg():
    return cv2.imencode(".jpg", IMAGE)[1].tobytes()


def raw(height=8, **fields):
    values = {"channels": 3, "height": height, "width": 8, "data": bytes(24 * height)}
    return Datum(**{**values, **fields}).SerializeToString()


def encoded(data):
    return Datum(encoded=True, data=data).SerializeToString()


def write_lmdb(path, records):
    with (
        lmdb.open(str(path), map_size=1 << 24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for i, record in enumerate(records):
            transaction.put(b"%08d" % i, record)


def write_leveldb(path, records):
    database = plyvel.DB(str(path), create_if_missing=True)
    for i, record in enumerate(records):
        database.put(b"%08d" % i, record)
    database.close()


@pytest.fixture
def emitted(tmp_path, monkeypatch):
    """Translates a net over data, then lets something happen to it; gives train_data.

    All happens in a folder of its own, from which the messages name files.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAFFE_DATA_ROOT", raising=False)

    def make(layer_type, param, source, transform="", more=""):
        text = LAYER % (layer_type, transform, param, source, more)
        with open("net.prototxt", "w") as file:
            file.write(text)
        made = translate(tmp_path / "net.prototxt")
        made.write(tmp_path / "out")
        monkeypatch.syspath_prepend(str(tmp_path / "out"))
        spec = importlib.util.spec_from_file_location("emitted", "out/data.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.train_data

    yield make
    for name in [n for n in sys.modules if n.startswith("caffe_runtime")]:
        del sys.modules[name]


def emitted_lmdb(emitted, records, transform=""):
    write_lmdb("train_lmdb", records)
    return emitted("Data", "data_param", "train_lmdb", transform, "backend: LMDB")


def read(train_data, batches):
    stream = train_data()
    for _ in range(batches):
        next(stream)


def fault(train_data, batches=2):
    """The message that ends the reading of some batches."""
    with pytest.raises((ValueError, OSError)) as caught:
        read(train_data, batches)
    return str(caught.value).replace(os.getcwd(), "HERE")


def test_a_missing_database(emitted):
    train_data = emitted_lmdb(emitted, [raw()])
    shutil.rmtree("train_lmdb")
    assert fault(train_data, 0) == (
        "'train_lmdb', named in net.prototxt:9, is not at HERE/train_lmdb: put it there, "
        "or set CAFFE_DATA_ROOT to the folder that it is relative to"
    )


def test_a_truncated_lmdb(emitted):
    train_data = emitted_lmdb(emitted, [raw()] * 300)
    size = os.path.getsize("train_lmdb/data.mdb")
    os.truncate("train_lmdb/data.mdb", size // 2)
    assert fault(train_data, 0) == (
        f"train_lmdb is truncated: data.mdb has {size // 2} bytes of {size}"
    )


def test_an_lmdb_of_garbage(emitted):
    train_data = emitted_lmdb(emitted, [raw()])
    with open("train_lmdb/data.mdb", "wb") as file:
        file.write(b"garbage" * 9999)
    assert fault(train_data, 0) == (
        "train_lmdb is not an LMDB database: HERE/train_lmdb: MDB_INVALID: File is not "
        "an LMDB file"
    )


def test_a_truncated_leveldb(emitted):
    write_leveldb(
        "train_leveldb", [raw(label=i, data=os.urandom(192)) for i in range(9)]
    )
    database = plyvel.DB("train_leveldb")
    database.compact_range()
    database.close()
    train_data = emitted("Data", "data_param", "train_leveldb")
    (table,) = (n for n in os.listdir("train_leveldb") if n.endswith(".ldb"))
    os.truncate(f"train_leveldb/{table}", os.path.getsize(f"train_leveldb/{table}") - 9)
    message = fault(train_data, 0)
    assert message.startswith("train_leveldb is damaged: "), message


def test_an_empty_database(emitted):
    train_data = emitted_lmdb(emitted, [raw()])
    shutil.rmtree("train_lmdb")
    write_lmdb("train_lmdb", [])
    assert fault(train_data, 0) == "train_lmdb holds no records"


def test_another_size_in_the_middle(emitted):
    train_data = emitted_lmdb(emitted, [raw()] * 4 + [raw(height=9)] + [raw()] * 4)
    assert fault(train_data) == (
        "train_lmdb, record '00000004': an image of shape (3, 9, 8) in a batch of (3, 8, 8)"
    )


def test_another_size_at_the_beginning_of_a_batch(emitted):
    train_data = emitted_lmdb(emitted, [raw()] * 3 + [raw(height=9)] + [raw()] * 4)
    assert fault(train_data) == (
        "train_lmdb, record '00000004': an image of shape (3, 8, 8) in a batch of "
        "(3, 9, 8), which train_lmdb, record '00000003' begins"
    )


def test_a_record_that_is_shorter_than_its_shape(emitted):
    train_data = emitted_lmdb(emitted, [raw()] * 4 + [raw(data=b"abc")])
    assert fault(train_data) == (
        "train_lmdb, record '00000004': 3 values for a shape of (3, 8, 8)"
    )


def test_a_record_that_is_no_datum(emitted):
    train_data = emitted_lmdb(emitted, [raw()] * 3 + [raw()[:-9]])
    assert fault(train_data) == (
        "train_lmdb, record '00000003': the record ends 9 bytes too early"
    )


def test_an_undecodable_jpeg(emitted):
    records = [encoded(jpeg())] * 4 + [encoded(b"no image")] + [encoded(jpeg())]
    train_data = emitted_lmdb(emitted, records)
    assert fault(train_data) == (
        "train_lmdb, record '00000004': encoded image: 8 bytes are not an image that can "
        "be decoded"
    )


def test_bad_records_are_skipped_and_counted(emitted, capfd):
    records = [raw(label=i) for i in range(6)]
    records[1], records[4] = raw(height=9, label=1), b"\xff"
    stream = emitted_lmdb(emitted, records)(skip_bad=True)
    labels = [next(stream)[1].tolist() for _ in range(3)]
    assert labels == [[0, 2, 2], [3, 5, 5], [0, 2, 2]]
    stream.close()
    assert capfd.readouterr().err == (
        "2 bad records were skipped: train_lmdb, record '00000001', "
        "train_lmdb, record '00000004'\n"
    )


def test_a_list_with_a_missing_image(emitted):
    cv2.imwrite("a.png", IMAGE)
    with open("list.txt", "w") as file:
        file.write("a.png 0\na.png 1\na.png 0\nb.png 1\n")
    train_data = emitted("ImageData", "image_data_param", "list.txt")
    assert fault(train_data) == "list.txt:4, image 'b.png': no file HERE/b.png"


def test_a_list_with_an_image_that_is_none(emitted):
    cv2.imwrite("a.png", IMAGE)
    with open("list.txt", "w") as file:
        file.write("a.png 0\nlist.txt 1\n")
    train_data = emitted("ImageData", "image_data_param", "list.txt")
    assert fault(train_data) == (
        "list.txt:2, image 'list.txt': 19 bytes are not an image that can be decoded"
    )


def test_hdf5_without_the_data_set(emitted):
    for name in ("a.h5", "b.h5"):
        with h5py.File(name, "w") as file:
            file["data"], file["label"] = np.ones((5, 4)), np.ones(5)
    with open("list.txt", "w") as file:
        file.write("a.h5\nb.h5\n")
    text = LAYER.replace("  transform_param { %s }\n", "%s")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "LAYER", text)
        train_data = emitted("HDF5Data", "hdf5_data_param", "list.txt")
    with h5py.File("b.h5", "a") as file:
        del file["label"]
    assert (
        fault(train_data, 0) == "b.h5 has no array of numbers 'label': it has ['data']"
    )
    os.remove("b.h5")
    assert fault(train_data, 0) == (
        "'b.h5', named in list.txt:2, is not at HERE/b.h5: put it there, or set "
        "CAFFE_DATA_ROOT to the folder that it is relative to"
    )


def test_a_mean_of_another_size(emitted):
    mean = BlobProto(num=1, channels=3, height=9, width=9, data=[0.5] * 243)
    with open("mean.binaryproto", "wb") as file:
        file.write(mean.SerializeToString())
    train_data = emitted_lmdb(emitted, [raw()], 'mean_file: "mean.binaryproto"')
    assert fault(train_data, 0) == (
        "train_lmdb, record '00000000': the mean has shape (3, 9, 9), the image (3, 8, 8)"
    )


def test_a_missing_mean(emitted):
    train_data = emitted_lmdb(emitted, [raw()], 'mean_file: "mean.binaryproto"')
    assert fault(train_data, 0) == (
        "no HERE/out/mean.npy: the mean_file that net.prototxt:7 names"
    )


def test_a_crop_that_is_too_large(emitted):
    train_data = emitted_lmdb(emitted, [raw()] * 3, "crop_size: 8")
    shutil.rmtree("train_lmdb")
    write_lmdb("train_lmdb", [raw(height=7, data=bytes(999))] * 3)
    assert fault(train_data, 0) == (
        "train_lmdb, record '00000000': crop_size 8 is larger than an image of 7 x 8"
    )
