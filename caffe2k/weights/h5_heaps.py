"""Checks, in HDF5 files that are not trusted, what libhdf5 follows without end."""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path

from caffe2k.weights.h5_arrays import corrupt_hdf5
from caffe2k.weights.h5_walk import find_heaps
from caffe2k.weights.mapping import map_file

_STRINGS_HEAD = struct.Struct("<8xQ")
_OBJECT = struct.Struct("<H6xQ")
_ALIGNMENT = 8
_MOST_OBJECTS = 1 << 16
_FREE = 0
"""The index of what is left of a heap of strings."""

_NAMES_HEAD = struct.Struct("<8xQQQ")
_FREE_BLOCK = struct.Struct("<QQ")
_LAST = 1
"""What stands for the offset of a next free block where there is none."""


def check_heaps(path: Path, inside: memoryview | None = None) -> None:
    """Refuses an HDF5 file in which libhdf5 would go round in circles.

    It believes what its heaps say of their parts (H5HGcache.c, H5HLcache.c): where the
    next one begins at the same place, or at an earlier one, it never comes back, and no
    signal ends that. Heaps hold the names in groups, strings of any length, and where
    virtual data sets have their values.

    `inside` is the HDF5 file where it is a part of the file at `path`.

    Raises WeightsError.
    """
    if inside is None:
        status = path.stat()
        is_sound = _is_file_sound(path, status.st_size, status.st_mtime_ns)
    else:
        is_sound = _is_sound(inside)
    if not is_sound:
        raise corrupt_hdf5(path, OSError("a heap without end"))


@lru_cache
def _is_file_sound(path: Path, size: int, changed: int) -> bool:
    """`_is_sound` of a file as it is now: its size, and when it was changed."""
    return _is_sound(map_file(path))


def _is_sound(buffer: memoryview) -> bool:
    heaps = find_heaps(buffer)
    strings = (_has_end(buffer[start:]) for start in heaps.strings)
    names = (_has_last(buffer, start) for start in heaps.names)
    return all(strings) and all(names)


def _has_end(heap: memoryview) -> bool:
    """Whether the objects of a heap of strings, which begins there, lead to its end."""
    if len(heap) < _STRINGS_HEAD.size:
        return True
    (size,) = _STRINGS_HEAD.unpack_from(heap)
    position = _STRINGS_HEAD.size
    for _ in range(_MOST_OBJECTS):
        if position + _OBJECT.size > min(size, len(heap)):
            return True
        index, length = _OBJECT.unpack_from(heap, position)
        if index == _FREE:
            step = length
        else:
            step = _OBJECT.size + length + -length % _ALIGNMENT
        if not _OBJECT.size <= step <= size - position:
            return False
        position += step
    return False


def _has_last(buffer: memoryview, start: int) -> bool:
    """Whether the free blocks of a heap of names, which begins at `start`, have a last."""
    if start + _NAMES_HEAD.size > len(buffer):
        return True
    _, block, address = _NAMES_HEAD.unpack_from(buffer, start)
    seen: set[int] = set()
    while block != _LAST and address + block + _FREE_BLOCK.size <= len(buffer):
        if block in seen:
            return False
        seen.add(block)
        block, _ = _FREE_BLOCK.unpack_from(buffer, address + block)
    return True
