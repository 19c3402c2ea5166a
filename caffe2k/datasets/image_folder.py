"""A folder of image files with a list, which gives back the records that it came from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from google.protobuf.message import DecodeError

from caffe2k.datasets import images
from caffe2k.datasets.errors import DatasetError, Fault
from caffe2k.datasets.image_list import list_lines, name_and_label, read_file
from caffe2k.datasets.records import Record, require_exact
from caffe2k.datasets.source import LIST_NAME, Place, Source
from caffe2k.datasets.writer import State, Writer, open_behind
from caffe2k.schema.caffe_pb2 import Datum

RECORDS_NAME = "records.txt"
"""A line for each image: its record's key and its Datum without the values, in hex."""

_NUMBERED = re.compile(rb"(\d{8,})_(.+)", re.DOTALL)
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\:*?\"<>|]")


class ImageFolder(Source):
    """What ImageFolderWriter has written: the same keys and Datums come back."""

    backend = "image folder"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._list = list_lines(path / LIST_NAME)
        self._records = list_lines(path / RECORDS_NAME)
        if len(self._list) != len(self._records):
            raise self._changed(min(len(self._list), len(self._records)) + 1)

    @property
    def count(self) -> int | None:
        return len(self._list)

    def files(self) -> list[Path]:
        return [self.path / LIST_NAME, self.path / RECORDS_NAME]

    def records(self, after: Place | None = None) -> Iterator[Record]:
        first = after.read if after is not None else 0
        lines = zip(self._list, self._records, strict=True)
        for number, (listed, kept) in enumerate(islice(lines, first, None), first + 1):
            name, label = name_and_label(listed)
            try:
                key, _, fields = kept.decode().partition(" ")
                datum = Datum.FromString(bytes.fromhex(fields))
                record_key = bytes.fromhex(key)
            except (ValueError, DecodeError):
                raise self._changed(number) from None
            if datum.label != label:
                raise self._changed(number)
            yield Record(self.name, record_key, partial(self._whole, datum, name))

    def _whole(self, datum: Datum, name: str) -> Datum:
        data = read_file(os.fspath(self.path / name))
        if datum.encoded:
            datum.data = data
            return datum
        pixels = images.decode(data)
        if pixels.shape != (datum.channels, datum.height, datum.width):
            raise Fault(f"{name} is of another size than its record")
        datum.data = pixels.tobytes()
        return datum

    def _changed(self, line: int) -> DatasetError:
        return DatasetError(
            "dataset-changed",
            f"{LIST_NAME} and {RECORDS_NAME} of `{self.name}` differ in line {line}",
            help=f"to read what the list says, name {self.path / LIST_NAME}",
        )


class ImageFolderWriter(Writer):
    """Encoded images as they are, raw ones as PNG; a list as ImageData reads it."""

    def __init__(self, folder: Path, state: State | None) -> None:
        super().__init__()
        self._folder = folder
        self._number = state["images"] if state else 0
        sizes = state["sizes"] if state else (0, 0)
        self._files = [
            open_behind(folder / name, size)
            for name, size in zip((LIST_NAME, RECORDS_NAME), sizes, strict=True)
        ]

    def write(self, record: Record) -> None:
        try:
            data, suffix = _image_file(record.datum)
        except Fault as fault:
            raise record.bad(fault) from None
        name = self._place(_file_name(record.key, self._number, suffix), data, suffix)
        kept = Datum()
        kept.CopyFrom(record.datum)
        kept.ClearField("data")
        lines = (
            os.fsencode(name) + b" %d\n" % kept.label,
            f"{record.key.hex()} {kept.SerializeToString().hex()}\n".encode(),
        )
        for file, line in zip(self._files, lines, strict=True):
            file.write(line)
        self._number += 1
        self._note(len(data))

    def _place(self, name: str, data: bytes, suffix: str) -> str:
        """Writes an image; under its number where another one has its name."""
        try:
            _write_once(self._folder / name, data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            name = f"{self._number:08}.{suffix}"
            _write_once(self._folder / name, data)
        return name

    def checkpoint(self) -> State:
        for file in self._files:
            file.flush()
        self._forget()
        return {"images": self._number, "sizes": [file.tell() for file in self._files]}

    def close(self) -> None:
        for file in self._files:
            file.close()


def _image_file(datum: Datum) -> tuple[bytes, str]:
    """The bytes of a record's image file, and the suffix of its type; raises Fault."""
    pixels = require_exact(datum)
    if datum.encoded:
        suffix = images.image_type(datum.data)
        if suffix is None:
            raise Fault("its image is of an unknown type")
        return datum.data, suffix
    if datum.float_data:
        raise Fault("float_data is no image: convert it to hdf5 or tfrecord")
    return images.encode(pixels, "png"), "png"


def _file_name(key: bytes, number: int, suffix: str) -> str:
    """The name in a key of convert_imageset, else the number; never outside the folder."""
    numbered = _NUMBERED.fullmatch(key)
    name = os.fsdecode(numbered[2]) if numbered else ""
    parts = name.split("/")
    unsafe = _UNSAFE.search(name) or any(p.strip() in ("", ".", "..") for p in parts)
    if unsafe or len(name) > 200:
        return f"{number:08}.{suffix}"
    own = name.rpartition(".")[2].lower()
    return name if own.replace("jpeg", "jpg") == suffix else f"{name}.{suffix}"


def _write_once(path: Path, data: bytes) -> None:
    """Writes a file, or leaves it that holds these bytes; raises FileExistsError."""
    if path.exists():
        if path.is_file() and path.read_bytes() == data:
            return
        raise FileExistsError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)
