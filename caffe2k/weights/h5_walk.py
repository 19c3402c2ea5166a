"""Where an HDF5 file has its heaps: reads just what leads to them.

The format: HDF5 File Format Specification, version 1.1, as Caffe and Keras write it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

_SUPERBLOCK = struct.Struct("<8xB4xBB")
_ROOT = 64
"""Where a superblock of version 0 has the address of the root group's header."""
_ADDRESS = struct.Struct("<Q")
_PAIR = struct.Struct("<QQ")
_HEADER = struct.Struct("<BxH4xI4x")
_MESSAGE = struct.Struct("<HHB3x")
_SHARED = 2
_NODE = struct.Struct("<4sBBH16x")
_LEAF = struct.Struct("<4s2xH")
_ENTRY = struct.Struct("<8xQ24x")
_NOWHERE = 2**64 - 1
_DEEPEST = 256

_SYMBOL_TABLE, _CONTINUATION = 0x11, 0x10
_WITHOUT_ADDRESSES = {0x00, 0x01, 0x03, 0x0B, 0x12}
"""Nothing, dimensions, data types, filters and times."""
_WITH_ADDRESSES = {0x04, 0x05, 0x08, 0x0C}
"""Fill values, layouts and attributes: values in them may lie in a heap."""

_ANY_STRINGS = re.compile(rb"GCOL\x01")
_ANY_NAMES = re.compile(rb"HEAP\0")


class Heaps(NamedTuple):
    """Where heaps begin: those of strings and other values, and those of names."""

    strings: set[int]
    names: set[int]


class _UnusualError(Exception):
    """The file is damaged, or of a newer format."""


def find_heaps(buffer: memoryview) -> Heaps:
    """All heaps that lead anywhere from the root of an HDF5 file.

    In a file that is damaged, or of a newer format, all that look like heaps.
    """
    try:
        return _Walk(buffer).heaps()
    except (_UnusualError, struct.error):
        return Heaps(
            {found.start() for found in _ANY_STRINGS.finditer(buffer)},
            {found.start() for found in _ANY_NAMES.finditer(buffer)},
        )


class _Walk:
    """Goes from group to group, to each place once."""

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._seen: set[int] = set()
        self._heaps = Heaps(set(), set())

    def heaps(self) -> Heaps:
        if _SUPERBLOCK.unpack_from(self._buffer) != (0, 8, 8):
            raise _UnusualError
        pending = [*_ADDRESS.unpack_from(self._buffer, _ROOT)]
        while pending:
            address = pending.pop()
            if address not in self._seen:
                self._seen.add(address)
                pending += self._header(address)
        return self._heaps

    def _header(self, address: int) -> Iterator[int]:
        """Takes note of the heaps of an object; the headers of what it holds."""
        for kind, body in self._messages(address):
            if kind == _SYMBOL_TABLE:
                tree, heap = _PAIR.unpack_from(body)
                self._heaps.names.add(heap)
                yield from self._node(tree, _DEEPEST)
            elif kind in _WITH_ADDRESSES:
                self._heaps.strings.update(self._heaps_named_in(body))
            elif kind not in _WITHOUT_ADDRESSES:
                raise _UnusualError

    def _messages(self, address: int) -> Iterator[tuple[int, memoryview]]:
        version, _, size = self._read(_HEADER, address)
        if version != 1:
            raise _UnusualError
        blocks = [(address + _HEADER.size, size)]
        for start, size in blocks:
            block = self._part(start, size)
            position = 0
            while position < size:
                kind, length, flags = _MESSAGE.unpack_from(block, position)
                position += _MESSAGE.size + length
                if position > size or flags & _SHARED:
                    raise _UnusualError
                body = block[position - length : position]
                if kind == _CONTINUATION:
                    address, length = _PAIR.unpack_from(body)
                    self._once(address)
                    blocks.append((address, length))
                else:
                    yield kind, body

    def _node(self, address: int, levels: int) -> Iterator[int]:
        """The headers of what a node of a group's list leads to.

        It is of one of so many levels; the lowest has leaves as children.
        """
        kind, of_values, level, count = self._read(_NODE, self._once(address))
        if (kind, of_values) != (b"TREE", 0) or level >= levels:
            raise _UnusualError
        for i in range(count):
            _, child = self._read(_PAIR, address + _NODE.size + i * _PAIR.size)
            yield from self._node(child, level) if level else self._leaf(child)

    def _leaf(self, address: int) -> Iterator[int]:
        kind, count = self._read(_LEAF, self._once(address))
        if kind != b"SNOD":
            raise _UnusualError
        for i in range(count):
            at = address + _LEAF.size + i * _ENTRY.size
            (header,) = self._read(_ENTRY, at)
            if header != _NOWHERE:  # as that of a soft link
                yield header

    def _heaps_named_in(self, body: memoryview) -> Iterator[int]:
        for at in range(len(body) - _ADDRESS.size + 1):
            (address,) = _ADDRESS.unpack_from(body, at)
            if bytes(self._buffer[address : address + 4]) == b"GCOL":
                yield address

    def _once(self, address: int) -> int:
        if address in self._seen:
            raise _UnusualError
        self._seen.add(address)
        return address

    def _part(self, address: int, size: int) -> memoryview:
        if address + size > len(self._buffer):
            raise _UnusualError
        return self._buffer[address : address + size]

    def _read(self, form: struct.Struct, address: int) -> tuple[Any, ...]:
        return form.unpack(self._part(address, form.size))
