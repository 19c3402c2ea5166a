"""Writer: puts records into a new data set, and can go on after it was stopped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any

from caffe2k.datasets.records import Record

CHECKPOINT_RECORDS = 1000
CHECKPOINT_BYTES = 64 << 20

State = dict[str, Any]
"""What a writer needs to go on, as JSON has it."""


class Writer(ABC):
    """Writes into a folder of its own, which no reader sees before it is whole."""

    def __init__(self) -> None:
        self._records = 0
        self._bytes = 0

    @abstractmethod
    def write(self, record: Record) -> None:
        """Adds a record. Raises BadRecord, and adds nothing, where it can't be kept."""

    @abstractmethod
    def checkpoint(self) -> State:
        """Hands all to the system; a writer that is given this state goes on behind it."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the files, without what was written since the last checkpoint."""

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return self._records >= CHECKPOINT_RECORDS or self._bytes >= CHECKPOINT_BYTES

    def _note(self, size: int) -> None:
        self._records += 1
        self._bytes += size

    def _forget(self) -> None:
        self._records = self._bytes = 0


def open_behind(path: Path, size: int) -> IO[bytes]:
    """A file to write to behind its first `size` bytes; what lies there is cut off.

    Raises OSError where it has fewer, as after a failure of the power.
    """
    file = path.open("ab")
    if file.tell() < size:
        file.close()
        raise OSError(f"{path.name} is shorter than it was: begin anew with --restart")
    file.truncate(size)
    return file
