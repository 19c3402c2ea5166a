"""Shards of TFRecords that hold Datums as tf.train.Example, without TensorFlow.

Record number i lies in shard i modulo the number of shards, so that taking one record
from each shard in turn gives the order of the database back.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from caffe2k.datasets.errors import Fault, library_missing, unreadable
from caffe2k.datasets.example import example_of, read_example
from caffe2k.datasets.records import Record, require_known
from caffe2k.datasets.source import Place, Source
from caffe2k.datasets.writer import State, Writer, open_behind

SUFFIX = ".tfrecord"

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEAD = _LENGTH.size + _CRC.size
_NAME = re.compile(r"data-\d+-of-(\d+)\.tfrecord")


def shard_name(number: int, shards: int) -> str:
    return f"data-{number:05}-of-{shards:05}{SUFFIX}"


def shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}*"))


def starts_as_tfrecord(head: bytes) -> bool:
    """Whether the first bytes of a file are the head of a TFRecord."""
    if len(head) < _HEAD:
        return False
    crc = _CRC.pack(_slow_masked_crc(head[: _LENGTH.size]))
    return head[_LENGTH.size : _HEAD] == crc


class TFRecordSource(Source):
    """The records of a folder of shards, or of one file, in the order of their numbers."""

    backend = "TFRecord"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._shards = shards_in(path) if path.is_dir() else [path]
        if path.is_dir():
            self._check_complete()

    def files(self) -> list[Path]:
        return list(self._shards)

    def _check_complete(self) -> None:
        """A shard says in its name how many there are."""
        numbered = _NAME.fullmatch(self._shards[0].name)
        if numbered is None:
            return
        names = {shard.name for shard in self._shards}
        shards = int(numbered[1])
        wanted = (shard_name(number, shards) for number in range(shards))
        absent = next((name for name in wanted if name not in names), None)
        if absent is not None:
            raise unreadable(self.name, f"the shard {absent} is missing")

    def records(self, after: Place | None = None) -> Iterator[Record]:
        first = after.read if after is not None else 0
        for number, example in enumerate(self._examples(first), first):
            key, load = read_example(example)
            yield Record(self.name, b"%08d" % number if key is None else key, load)

    def _examples(self, first: int) -> Iterator[bytes]:
        """One record of each shard in turn."""
        shards = len(self._shards)
        open_shards = [
            _read_shard(path, self.name, first // shards + (number < first % shards))
            for number, path in enumerate(self._shards)
        ]
        turn, ended = first % shards, None
        while True:
            example = next(open_shards[turn], None)
            if example is None:
                ended = turn if ended is None else ended
            elif ended is not None:
                raise unreadable(
                    self.name, f"{self._shards[ended].name} has too few records"
                )
            else:
                yield example
            turn = (turn + 1) % shards
            if turn == ended:
                return


def _read_shard(path: Path, source: str, skip: int) -> Iterator[bytes]:
    """The records of a shard behind the first `skip`, checked by their checksums."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        number = 0
        while head := file.read(_HEAD):
            data = _read_body(file, head, size - file.tell(), number >= skip)
            if data is None:
                raise unreadable(
                    source, f"{path.name} is damaged or cut off in record {number}"
                )
            if number >= skip:
                yield data
            number += 1


def _read_body(file: IO[bytes], head: bytes, left: int, wanted: bool) -> bytes | None:
    """The bytes of a record, b"" where they are not wanted; None where they are bad."""
    if len(head) < _HEAD:
        return None
    (length,) = _LENGTH.unpack_from(head)
    (crc,) = _CRC.unpack_from(head, _LENGTH.size)
    if crc != _masked_crc(head[: _LENGTH.size]) or length + _CRC.size > left:
        return None
    if not wanted:
        file.seek(length + _CRC.size, os.SEEK_CUR)
        return b""
    data = file.read(length)
    (crc,) = _CRC.unpack(file.read(_CRC.size))
    return data if crc == _masked_crc(data) else None


class TFRecordWriter(Writer):
    """A folder of shards that TensorFlow and caffe_runtime.tfrecord_data read."""

    def __init__(self, folder: Path, state: State | None, shards: int) -> None:
        super().__init__()
        _crc32c()
        self._number = state["records"] if state else 0
        names = [shard_name(number, shards) for number in range(shards)]
        sizes = state["sizes"] if state else [0] * shards
        self._files = [
            open_behind(folder / name, size)
            for name, size in zip(names, sizes, strict=True)
        ]

    def write(self, record: Record) -> None:
        datum = record.datum
        try:
            require_known(datum)
        except Fault as fault:
            raise record.bad(fault) from None
        data = example_of(record.key, datum)
        length = _LENGTH.pack(len(data))
        file = self._files[self._number % len(self._files)]
        file.write(length + _CRC.pack(_masked_crc(length)))
        file.write(data)
        file.write(_CRC.pack(_masked_crc(data)))
        self._number += 1
        self._note(len(data))

    def checkpoint(self) -> State:
        for file in self._files:
            file.flush()
        self._forget()
        return {"records": self._number, "sizes": [file.tell() for file in self._files]}

    def close(self) -> None:
        for file in self._files:
            file.close()


def _masked_crc(data: bytes) -> int:
    crc: int = _crc32c().value(data)
    return _mask(crc)


def _mask(crc: int) -> int:
    """TFRecords hold checksums so, because a checksum of checksums would be weak."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _slow_masked_crc(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return _mask(crc ^ 0xFFFFFFFF)


def _crc32c() -> Any:
    try:
        import google_crc32c
    except ImportError:
        raise library_missing("google_crc32c", "the checksum of TFRecords") from None
    return google_crc32c
