"""MNIST's and CIFAR-10's files become the records of Caffe's own converters."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from caffe2k.datasets.errors import DatasetError
from caffe2k.datasets.opening import open_source
from caffe2k.datasets.source import Place
from caffe2k.schema.caffe_pb2 import Datum
from tests.datasets.making import picture


def write_mnist(folder: Path, count: int = 5) -> Path:
    pixels = picture(0, count, 4, 3).tobytes()
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(struct.pack(">IIII", 2051, count, 4, 3) + pixels)
    labels = struct.pack(">II", 2049, count) + bytes(range(count))
    (folder / "train-labels-idx1-ubyte").write_bytes(labels)
    return images


def write_batch(path: Path, count: int, seed: int) -> bytes:
    data = picture(seed, count, 3073)
    data[:, 0] = range(count)
    path.write_bytes(data.tobytes())
    return data.tobytes()


def test_mnist(tmp_path: Path) -> None:
    source = open_source(write_mnist(tmp_path))
    found = {record.key: record.datum for record in source.records()}
    assert source.count == 5
    assert list(found) == [b"%08d" % n for n in range(5)]
    data = picture(0, 5, 4, 3)[3].tobytes()
    assert found[b"00000003"] == Datum(
        channels=1, height=4, width=3, data=data, label=3
    )
    rest = [record.key for record in source.records(Place(3, b"00000002"))]
    assert rest == [b"00000003", b"00000004"]


def test_mnist_is_cut_off(tmp_path: Path) -> None:
    images = write_mnist(tmp_path)
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="train-images-idx3-ubyte has 75 of 76"):
        open_source(images)
    images.write_bytes(images.read_bytes()[:10])
    with pytest.raises(DatasetError, match="cannot read"):
        open_source(images)


def test_mnist_without_labels(tmp_path: Path) -> None:
    images = write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DatasetError, match="train-labels-idx1-ubyte` is not there"):
        open_source(images)


def test_cifar(tmp_path: Path) -> None:
    stored = b"".join(
        write_batch(tmp_path / f"data_batch_{n}.bin", 3, n) for n in range(1, 6)
    )
    write_batch(tmp_path / "test_batch.bin", 2, 9)
    source = open_source(tmp_path)
    found = {record.key: record.datum for record in source.records()}
    assert source.count == 15
    assert list(found) == [b"%05d" % n for n in range(15)]
    data = stored[7 * 3073 + 1 : 8 * 3073]
    assert found[b"00007"] == Datum(channels=3, height=32, width=32, data=data, label=1)
    rest = [record.key for record in source.records(Place(13, b"00012"))]
    assert rest == [b"00013", b"00014"]
    assert open_source(tmp_path / "test_batch.bin").count == 2


def test_a_batch_of_cifar_is_missing(tmp_path: Path) -> None:
    write_batch(tmp_path / "data_batch_1.bin", 3, 0)
    with pytest.raises(DatasetError, match=r"data_batch_2\.bin` is not there"):
        open_source(tmp_path)
