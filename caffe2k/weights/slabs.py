"""Writes arrays of any size in slabs, transposed ones on several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, NamedTuple

import numpy as np

from caffe2k.weights.blob import AnyArray, FloatArray
from caffe2k.weights.plan import LazyArray
from caffe2k.weights.whole_file import OnProgress

DTYPE = np.dtype("<f4")

_SLAB_BYTES = 8 << 20
_THREADS = 2
_TILE = 256
_CACHE_LINE = 64


class Progress:
    """Counts the bytes that were written, for who wants to see them."""

    def __init__(
        self, arrays: Iterable[LazyArray], on_progress: OnProgress | None
    ) -> None:
        self._on_progress = on_progress
        self._done = 0
        self._total = sum(array.nbytes for array in arrays)

    def add(self, size: int) -> None:
        self._done += size
        if self._on_progress is not None:
            self._on_progress(self._done, self._total)


def write_values(file: IO[bytes], array: LazyArray, progress: Progress) -> None:
    """Writes an array's float32 values in C order, and stands behind them then.

    At most a few slabs of it are in memory at a time.
    Raises ValueError if it doesn't hold as many values as its shape asks for.
    """
    values = _loaded(array)
    start = file.tell()
    for block, slab in _copied(values, _blocks(values)):
        for place, run in block.runs(slab):
            file.seek(start + place * DTYPE.itemsize)
            file.write(run.data)
        progress.add(slab.nbytes)
    file.seek(start + array.nbytes)


def write_in_order(file: IO[bytes], array: LazyArray, progress: Progress) -> None:
    """The same for a file in which nothing can be written but at its end."""
    for slab in in_order(_loaded(array)):
        file.write(slab.data)
        progress.add(slab.nbytes)


def in_order(values: AnyArray) -> Iterator[FloatArray]:
    """`values` in C order as contiguous float32 slabs."""
    for _, slab in _copied(values, _rows(_merged(values))):
        yield slab


def _loaded(array: LazyArray) -> AnyArray:
    values = array.load()
    if values.size * DTYPE.itemsize != array.nbytes:
        raise ValueError(f"{array} has {values.size} values")
    return values


class _Block(NamedTuple):
    """A part of an array, as runs of values that lie `step` apart in the whole."""

    view: AnyArray
    start: int
    step: int = 0

    def runs(self, slab: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """The places in the whole of what was copied from this block."""
        if not self.step:
            yield self.start, slab
            return
        for i, run in enumerate(slab):
            yield self.start + i * self.step, run


def _copied(
    values: AnyArray, blocks: Iterator[_Block]
) -> Iterator[tuple[_Block, FloatArray]]:
    """Each block with a contiguous copy of it, made ahead on other threads."""
    if values.dtype == DTYPE and values.flags.c_contiguous:
        for block in blocks:
            yield block, _contiguous(block.view)
        return
    waiting: deque[tuple[_Block, Future[FloatArray]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for block in blocks:
            waiting.append((block, pool.submit(_contiguous, block.view)))
            if len(waiting) > _THREADS:
                first, copy = waiting.popleft()
                yield first, copy.result()
        while waiting:
            first, copy = waiting.popleft()
            yield first, copy.result()


def _contiguous(values: AnyArray) -> FloatArray:
    """`values` as float32 in C order, transposed tile by tile.

    numpy goes through the result in order, and so, for each of its values, through
    another cache line of what was transposed.
    """
    dense = _densest_axis(values)
    with np.errstate(all="ignore"):  # a double may be too large for a float
        if dense >= values.ndim - 1:
            return np.ascontiguousarray(values, DTYPE)
        copy = np.empty(values.shape, DTYPE)
        outer = [*values.shape[:dense], 1, *values.shape[dense + 1 : -1]]
        for place in np.ndindex(*outer):
            row = (*place[:dense], slice(None), *place[dense + 1 :])
            for start in range(0, values.shape[-1], _TILE):
                tile = (*row, slice(start, start + _TILE))
                copy[tile] = values[tile]
        return copy


def _densest_axis(values: AnyArray) -> int:
    """The axis along which values stand the nearest to each other."""
    axes = [axis for axis in range(values.ndim) if values.shape[axis] > 1]
    return min(axes, key=lambda axis: values.strides[axis], default=values.ndim)


def _merged(values: AnyArray) -> AnyArray:
    """The same values with as few axes as a view of them can have."""
    shape: list[int] = []
    stride = 0
    for size, next_stride in zip(values.shape, values.strides, strict=True):
        if size == 1:
            continue
        if shape and stride == next_stride * size:
            shape[-1] *= size
        else:
            shape.append(size)
        stride = next_stride
    return values.reshape(shape)


def _blocks(values: AnyArray) -> Iterator[_Block]:
    """`values` in pieces of bounded size that use whole cache lines of their source."""
    values = _merged(values)
    if not values.ndim or not values.size or _densest_axis(values) > 0:
        yield from _rows(values)
        return
    row = values[0].size * DTYPE.itemsize
    in_line = _CACHE_LINE // DTYPE.itemsize
    if values.ndim < 3 or row * min(in_line, len(values)) <= _SLAB_BYTES:
        yield from _rows(values)
        return
    inner = values[0, 0].size
    columns = max(1, _SLAB_BYTES // (len(values) * inner * DTYPE.itemsize))
    for start in range(0, values.shape[1], columns):
        part = values[:, start : start + columns]
        yield _Block(part, start * inner, values[0].size)


def _rows(values: AnyArray, start: int = 0) -> Iterator[_Block]:
    """`values` in C order, in pieces of bounded size."""
    size = values.size * DTYPE.itemsize
    if size <= _SLAB_BYTES:
        yield _Block(values, start)
        return
    row = values[0].size
    if row * DTYPE.itemsize > _SLAB_BYTES:
        for i, inner in enumerate(values):
            yield from _rows(inner, start + i * row)
        return
    rows = _SLAB_BYTES // (row * DTYPE.itemsize)
    for first in range(0, len(values), rows):
        yield _Block(values[first : first + rows], start + first * row)
