"""Reads data sets of HDF5 files that are not trusted, as views of the mapped file."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from caffe2k.weights.blob import MAX_AXES, AnyArray, Blob
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.mapping import map_file

HDF5_ERRORS = (
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What h5py raises for damage: a name may stand for another kind of thing, too."""

_NUMBERS = "fiu"
_DEFLATE_RATIO = 1032
"""How much longer than what is stored a data set can be that was compressed."""


def corrupt_hdf5(path: Path, error: Exception) -> WeightsError:
    """The error for what libhdf5 can't read."""
    if "truncated file" in str(error):
        return WeightsError(
            "file-truncated",
            f"`{path}` ends too early",
            help="the download or copy was cut short; fetch it again",
        )
    return WeightsError(
        "file-corrupt",
        f"`{path}` is damaged, or not HDF5: {error}",
        help="fetch it again",
    )


class BufferFile(io.RawIOBase):
    """A buffer as a file that can be read, without a copy of it."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_CUR: self._position, os.SEEK_END: len(self._buffer)}
        self._position = max(0, start.get(whence, 0) + offset)
        return self._position

    def readinto(self, target: Any) -> int:
        into = memoryview(target).cast("B")
        piece = self._buffer[self._position : self._position + len(into)]
        into[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)


def members(
    path: Path, group: h5py.Group
) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """What a group holds, by name in the order of names; raises as `member` does."""
    for name in names(group):
        yield name, member(path, group, name)


def names(group: h5py.Group) -> list[str]:
    """The names in a group, in their order.

    Raises ValueError for a name that comes twice: a damaged list may lead back to its
    beginning, and libhdf5 follows it for ever.
    """
    found: dict[bytes, None] = {}

    def stops_at(name: bytes) -> bool | None:
        if name in found:
            return True
        found[name] = None
        return None

    is_twice, _ = group.id.links.iterate(stops_at)
    if is_twice:
        raise ValueError(f"`{group.name}` holds a name twice")
    return [name.decode() for name in found]


def member(path: Path, group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """What a group holds under a name, or below one of its groups.

    Raises WeightsError where a link leads to another file, and KeyError where there is
    nothing.
    """
    if not isinstance(group.get(name, getlink=True), h5py.ExternalLink):
        found = group[name]
        if found.file == group.file:
            return found
    raise WeightsError(
        "file-corrupt",
        f"`{path}`: `{group.name.rstrip('/')}/{name}` stands in another file",
        help="give a file that holds all of its weights",
    )


def read_hdf5_blob(
    path: Path, dataset: h5py.Dataset, inside: memoryview | None = None
) -> Blob:
    """The blob in a data set of numbers; its values stay in the file until loaded.

    `inside` is the HDF5 file where it is a part of the file at `path`.

    Raises WeightsError for anything else, and for a data set that is larger than what
    the file stores of it.
    """
    shape = tuple(dataset.shape or ())
    if dataset.dtype.kind not in _NUMBERS or len(shape) > MAX_AXES:
        raise WeightsError(
            "file-corrupt",
            f"`{path}`: `{dataset.name}` is not an array of numbers",
            help="is it a file of weights?",
        )
    count = math.prod(shape)
    size = path.stat().st_size if inside is None else len(inside)
    stored = min(dataset.id.get_storage_size(), size)
    layout = dataset.id.get_create_plist()
    longest = stored * _DEFLATE_RATIO if layout.get_nfilters() else stored
    is_elsewhere = dataset.is_virtual or layout.get_external_count()
    if count * dataset.dtype.itemsize > longest or is_elsewhere:
        raise WeightsError(
            "file-corrupt",
            f"`{path}`: `{dataset.name}` of shape {shape} is not stored in the file",
            help="fetch it again",
        )
    offset = dataset.id.get_offset()
    if dataset.chunks is None and offset is not None:
        load = partial(_view, path, inside, offset, count, dataset.dtype)
    else:
        load = partial(_read, path, inside, dataset.name)
    return Blob(shape, count, load=load)


def _view(
    path: Path,
    inside: memoryview | None,
    offset: int,
    count: int,
    dtype: np.dtype[np.generic],
) -> AnyArray:
    buffer = map_file(path) if inside is None else inside
    if count * dtype.itemsize > len(buffer) - offset:
        raise corrupt_hdf5(path, OSError("values behind the end of the file"))
    return np.ndarray((count,), dtype, buffer, offset)


def _read(path: Path, inside: memoryview | None, name: str) -> AnyArray:
    try:
        source = path if inside is None else BufferFile(inside)
        with h5py.File(source, "r") as file:
            values: AnyArray = file[name][...]
            return values
    except HDF5_ERRORS as error:
        raise corrupt_hdf5(path, error) from None
