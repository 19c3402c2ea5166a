"""Which kind of data set lies at a path."""

from __future__ import annotations

import os
from pathlib import Path

from caffe2k.datasets.databases import LevelDBSource, LMDBSource
from caffe2k.datasets.errors import DatasetError, missing, unreadable
from caffe2k.datasets.hdf5 import HDF5Source
from caffe2k.datasets.image_folder import RECORDS_NAME, ImageFolder
from caffe2k.datasets.image_list import ImageList
from caffe2k.datasets.published import (
    MNIST_MAGIC,
    CifarSource,
    MnistSource,
    is_cifar,
)
from caffe2k.datasets.source import LIST_NAME, Source
from caffe2k.datasets.tfrecords import TFRecordSource, shards_in, starts_as_tfrecord

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def open_source(path: Path) -> Source:
    """The data set at a path; of which kind it is stands in its files.

    Raises DatasetError where there is none, or none that can be read.
    """
    if not os.path.exists(path):
        raise missing(str(path))
    if not path.is_dir():
        return _open_file(path)
    if (path / "data.mdb").exists():
        return LMDBSource(path)
    if (path / "CURRENT").exists():
        return LevelDBSource(path)
    if is_cifar(path):
        return CifarSource(path)
    if shards_in(path):
        return TFRecordSource(path)
    if (path / LIST_NAME).exists() and (path / RECORDS_NAME).exists():
        return ImageFolder(path)
    if (path / LIST_NAME).exists():
        return _open_file(path / LIST_NAME)
    raise _unknown(path)


def _open_file(path: Path) -> Source:
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as e:
        raise unreadable(str(path), e.strerror or str(e)) from None
    if path.name == "data.mdb" and path.parent.is_dir():
        return LMDBSource(path.parent)
    if head.startswith(_HDF5_MAGIC):
        return HDF5Source(path, [path])
    if head.startswith(MNIST_MAGIC):
        return MnistSource(path)
    if is_cifar(path):
        return CifarSource(path)
    if starts_as_tfrecord(head):
        return TFRecordSource(path)
    if b"\0" in head:
        raise _unknown(path)
    if _lists_hdf5(head):
        return HDF5Source.from_list(path)
    return ImageList(path)


def _lists_hdf5(head: bytes) -> bool:
    first = head.split(b"\n", 1)[0].strip().lower()
    return first.endswith((b".h5", b".hdf5"))


def _unknown(path: Path) -> DatasetError:
    return DatasetError(
        "dataset-kind",
        f"`{path}` is no data set that Caffe or caffe2k reads",
        help="a database's folder holds data.mdb (LMDB) or CURRENT (LevelDB), one of "
        "shards *.tfrecord; a list of images has a name and a label in each line",
    )
