"""MNIST and CIFAR-10 in the files that they are published as."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from caffe2k.datasets.errors import missing, unreadable
from caffe2k.datasets.records import Record
from caffe2k.datasets.source import Place, Source
from caffe2k.schema.caffe_pb2 import Datum

MNIST_MAGIC = b"\0\0\x08\x03"

_CIFAR_SIDE = 32
_CIFAR_RECORD = 1 + 3 * _CIFAR_SIDE * _CIFAR_SIDE
_CIFAR_BATCHES = [f"data_batch_{number}.bin" for number in range(1, 6)]


class MnistSource(Source):
    """A file of images, and beside it that of their labels.

    examples/mnist/convert_mnist_data.cpp
    """

    backend = "MNIST"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        name = path.name.replace("images", "labels").replace("idx3", "idx1")
        self._labels = path.with_name(name)
        if not self._labels.is_file():
            raise missing(str(self._labels), help="put it beside the images")
        with path.open("rb") as file:
            head = file.read(16).ljust(16, b"\0")
        sizes: tuple[int, int, int] = struct.unpack(">4xIII", head)
        self._count, self._rows, self._columns = sizes
        self._pixels = self._rows * self._columns
        self._require(path, 16 + self._count * self._pixels)
        self._require(self._labels, 8 + self._count)

    def _require(self, path: Path, size: int) -> None:
        if path.stat().st_size != size:
            raise unreadable(
                self.name, f"{path.name} has {path.stat().st_size} of {size} bytes"
            )

    @property
    def count(self) -> int | None:
        return self._count

    def files(self) -> list[Path]:
        return [self.path, self._labels]

    def records(self, after: Place | None = None) -> Iterator[Record]:
        first = after.read if after is not None else 0
        with self.path.open("rb") as images, self._labels.open("rb") as labels:
            images.seek(16 + first * self._pixels)
            labels.seek(8 + first)
            for number in range(first, self._count):
                pixels, label = images.read(self._pixels), labels.read(1)
                shape = (1, self._rows, self._columns)
                yield Record(
                    self.name, b"%08d" % number, partial(_datum, shape, pixels, label)
                )


class CifarSource(Source):
    """The five training batches in a folder, or one batch alone.

    examples/cifar10/convert_cifar_data.cpp
    """

    backend = "CIFAR-10"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        is_folder = path.is_dir()
        self._batches = [path / n for n in _CIFAR_BATCHES] if is_folder else [path]
        for batch in self._batches:
            if not batch.is_file():
                raise missing(str(batch), help="put all five batches there")
            if batch.stat().st_size % _CIFAR_RECORD:
                raise unreadable(self.name, f"{batch.name} is cut off")

    @property
    def count(self) -> int | None:
        return sum(batch.stat().st_size // _CIFAR_RECORD for batch in self._batches)

    def files(self) -> list[Path]:
        return self._batches

    def records(self, after: Place | None = None) -> Iterator[Record]:
        skip = after.read if after is not None else 0
        number = 0
        for batch in self._batches:
            with batch.open("rb") as file:
                while stored := file.read(_CIFAR_RECORD):
                    if number >= skip:
                        shape = (3, _CIFAR_SIDE, _CIFAR_SIDE)
                        load = partial(_datum, shape, stored[1:], stored[:1])
                        yield Record(self.name, b"%05d" % number, load)
                    number += 1


def is_cifar(path: Path) -> bool:
    """Whether a folder or a file is of CIFAR-10's binary version."""
    if path.is_dir():
        return (path / _CIFAR_BATCHES[0]).exists()
    size = path.stat().st_size
    return path.suffix == ".bin" and size > 0 and size % _CIFAR_RECORD == 0


def _datum(shape: tuple[int, int, int], pixels: bytes, label: bytes) -> Datum:
    channels, height, width = shape
    (number,) = struct.unpack("b", label)
    return Datum(
        channels=channels, height=height, width=width, data=pixels, label=number
    )
