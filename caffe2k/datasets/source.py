"""Source: a data set as an ordered run of records; which kind of one lies at a path."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from caffe2k.datasets.errors import DatasetError, missing, unreadable
from caffe2k.datasets.records import Record

LIST_NAME = "list.txt"
"""The list in a folder of images or HDF5 files that convert has written."""

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


OnProgress = Callable[[int, int | None], None]
"""Called with the records that are done, and with all where their number is known."""


class Place(NamedTuple):
    """How many records of a source have been read, and the key of the last one."""

    read: int
    key: bytes


class Source(ABC):
    """A data set at a path; `name` is the path as its user knows it."""

    backend: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.path = path

    @property
    def count(self) -> int | None:
        """The number of records, where the data set knows it."""
        return None

    @property
    def description(self) -> str:
        """What decides, beside the files, which records are read."""
        return self.backend

    @abstractmethod
    def files(self) -> list[Path]:
        """The files that hold the records, or their list."""

    @abstractmethod
    def records(self, after: Place | None = None) -> Iterator[Record]:
        """The records in order, from the first one or from that behind a place.

        Raises DatasetError where the data set itself ends in the middle.
        """


def open_source(path: Path) -> Source:
    """The data set at a path; of which kind it is stands in its files.

    Raises DatasetError where there is none, or none that can be read.
    """
    from caffe2k.datasets.databases import LevelDBSource, LMDBSource
    from caffe2k.datasets.image_folder import RECORDS_NAME, ImageFolder
    from caffe2k.datasets.published import CifarSource, is_cifar
    from caffe2k.datasets.tfrecords import TFRecordSource, shards_in

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
    from caffe2k.datasets.hdf5 import HDF5Source
    from caffe2k.datasets.image_list import ImageList
    from caffe2k.datasets.published import (
        MNIST_MAGIC,
        CifarSource,
        MnistSource,
        is_cifar,
    )
    from caffe2k.datasets.tfrecords import TFRecordSource, starts_as_tfrecord

    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
    except OSError as e:
        raise unreadable(str(path), e.strerror or str(e)) from None
    if path.name == "data.mdb" and path.parent.is_dir():
        from caffe2k.datasets.databases import LMDBSource

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
