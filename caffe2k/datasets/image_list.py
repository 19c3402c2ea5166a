"""A list of image files with labels, read as Caffe's convert_imageset does."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from caffe2k.datasets import images
from caffe2k.datasets.errors import Fault, missing, unreadable
from caffe2k.datasets.records import Record, fill
from caffe2k.datasets.source import Place, Source
from caffe2k.schema.caffe_pb2 import Datum
from caffe2k.sources.lookup import find_beside

_TRIED = 100
"""The names of a list that are looked for to find out where they are."""


@dataclass(frozen=True)
class ImageSettings:
    """The flags of convert_imageset, and the seed that its shuffle lacks.

    `root` is put before each name; None: names are looked up beside the list, and in the
    folders above it. `encode_type` sets `encoded`.
    """

    root: str | None = None
    resize_height: int = 0
    resize_width: int = 0
    gray: bool = False
    shuffle: bool = False
    seed: int = 0
    encoded: bool = False
    encode_type: str = ""


class ImageList(Source):
    """The images of a list; each becomes a Datum when its turn comes.

    The keys are line numbers and names, `00000000_cat.jpg` (tools/convert_imageset.cpp).
    """

    backend = "image list"

    def __init__(
        self,
        path: Path,
        settings: ImageSettings = ImageSettings(),
    ) -> None:
        super().__init__(path)
        self.settings = settings
        self._lines = list_lines(path)
        if settings.shuffle:
            random.Random(settings.seed).shuffle(self._lines)

    @property
    def count(self) -> int | None:
        return len(self._lines)

    @property
    def description(self) -> str:
        return repr(self.settings)

    def with_settings(self, settings: ImageSettings) -> ImageList:
        return ImageList(self.path, settings)

    def files(self) -> list[Path]:
        return [self.path]

    def records(self, after: Place | None = None) -> Iterator[Record]:
        first = after.read if after is not None else 0
        for number, line in enumerate(self._lines[first:], first):
            name, label = name_and_label(line)
            key = b"%08d_" % number + os.fsencode(name)
            yield Record(self.name, key, partial(self._datum, name, label))

    @cached_property
    def _root(self) -> str:
        """What is put before each name; it ends in a slash, or is empty."""
        root = self.settings.root
        if root is not None:
            return f"{root}/" if root else ""
        names = [name_and_label(line)[0] for line in self._lines[:_TRIED]]
        for name in names:
            found = find_beside(name, self.path.parent)
            if found is not None:
                return str(found).removesuffix(str(Path(name)))
        raise missing(
            names[0], self.name, help="say with --root what the names are relative to"
        )

    def _datum(self, name: str, label: int) -> Datum:
        """util/io.cpp, ReadImageToDatum."""
        settings = self.settings
        data = read_file(self._root + name)
        pixels = images.decode(data, not settings.gray)
        resized = settings.resize_height > 0 and settings.resize_width > 0
        if resized:
            size = (settings.resize_height, settings.resize_width)
            pixels = images.resize(pixels, *size)
        datum = Datum()
        if settings.encoded or settings.encode_type:
            datum.data = self._encoded(name, data, pixels, resized)
            datum.encoded = True
        else:
            fill(datum, pixels)
        datum.label = label
        return datum

    def _encoded(
        self, name: str, data: bytes, pixels: images.Pixels, resized: bool
    ) -> bytes:
        """The image as a file: as it is where its name tells the type that is wanted.

        Caffe ends where it has to guess the type of a file whose name has no suffix; here
        its first bytes tell.
        """
        _, dot, suffix = name.rpartition(".")
        own = suffix.lower() if dot else ""
        wanted = self.settings.encode_type
        if not resized and (not wanted or _is_of_type(own, wanted)):
            return data
        suffix = wanted or own or images.image_type(data) or ""
        return images.encode(pixels, suffix)


def _is_of_type(own: str, wanted: str) -> bool:
    """Whether a suffix is that of a type (util/io.cpp, matchExt)."""
    wanted = wanted.lower()
    return own == wanted or (own, wanted) == ("jpeg", "jpg")


def list_lines(path: Path) -> list[bytes]:
    """The lines of a list, without their ends; raises DatasetError."""
    try:
        text = path.read_bytes()
    except OSError as e:
        raise unreadable(str(path), e.strerror or str(e)) from None
    return text.removesuffix(b"\n").split(b"\n") if text else []


def name_and_label(line: bytes) -> tuple[str, int]:
    """What stands before and after the last blank of a line.

    As atoi does, a label that is no number counts as 0 (tools/convert_imageset.cpp).
    """
    name, blank, label = line.rpartition(b" ")
    number = re.match(rb"\s*([+-]?\d{1,10})", label)
    value = int(number[1]) if number else 0
    return os.fsdecode(name if blank else label), min(max(value, -(2**31)), 2**31 - 1)


def read_file(path: str) -> bytes:
    """The bytes of a file of images; raises Fault."""
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or e
        raise Fault(f"cannot read `{path}`: {reason}") from None
