"""Source: a data set as an ordered run of records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from caffe2k.datasets.records import Record

LIST_NAME = "list.txt"
"""The list in a folder of images or HDF5 files that convert has written."""

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
