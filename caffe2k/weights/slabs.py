"""Writes arrays of any size in slabs, which several threads copy and transpose."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import IO, NamedTuple, TypeVar

import numpy as np

from caffe2k.weights.blob import AnyArray, FloatArray
from caffe2k.weights.plan import LazyArray
from caffe2k.weights.whole_file import OnProgress

DTYPE = np.dtype("<f4")

_SLAB_BYTES = 8 << 20
_THREADS = 2
_TILE_BYTES = 96 << 10
_RUN_BYTES = 23 * 64
"""What of a transposed array is read at a stretch: an odd number of cache lines, for a
cache has few places for lines that lie a power of two apart."""

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


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


Placed = tuple[int, LazyArray]
"""An array and the offset in a file where its values begin."""


def write_values(
    file: IO[bytes], placed: Iterable[Placed], on_progress: OnProgress | None
) -> None:
    """Writes each array's float32 values, in C order, in their place in a file.

    At most a few slabs of an array are in memory at a time.
    Raises ValueError if one doesn't hold as many values as its shape asks for.
    """
    placed = tuple(placed)
    progress = Progress((array for _, array in placed), on_progress)
    lock = Lock()

    def write(block: _Block) -> int:
        slab = _contiguous(block.view)
        with lock:
            for place, run in block.runs(slab):
                file.seek(place)
                file.write(run.data)
        return slab.nbytes

    blocks = (b for offset, array in placed for b in _blocks(_loaded(array), offset))
    for size in _ahead(write, blocks):
        progress.add(size)


def write_in_order(file: IO[bytes], array: LazyArray, progress: Progress) -> None:
    """The same for a file in which nothing can be written but at its end."""
    for slab in in_order(_loaded(array)):
        file.write(slab.data)
        progress.add(slab.nbytes)


def in_order(values: AnyArray) -> Iterator[FloatArray]:
    """`values` in C order as contiguous float32 slabs."""
    views = (block.view for block in _rows(_merged(values), 0))
    if values.dtype == DTYPE and values.flags.c_contiguous:
        return map(_contiguous, views)
    return _ahead(_contiguous, views)


def _ahead(work: Callable[[_Job], _Result], jobs: Iterable[_Job]) -> Iterator[_Result]:
    """The results of all jobs in their order, a few made ahead on other threads."""
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _loaded(array: LazyArray) -> AnyArray:
    values = array.load()
    if values.size * DTYPE.itemsize != array.nbytes:
        raise ValueError(f"{array} has {values.size} values")
    return values


class _Block(NamedTuple):
    """A part of an array, and where it belongs in a file.

    It begins at `offset`; its first axis, if it isn't contiguous there, takes `step` bytes.
    """

    view: AnyArray
    offset: int
    step: int = 0

    def runs(self, slab: FloatArray) -> Iterator[tuple[int, FloatArray]]:
        """The contiguous pieces of what was copied from this block."""
        if not self.step:
            yield self.offset, slab
            return
        for i, run in enumerate(slab):
            yield self.offset + i * self.step, run


def _contiguous(values: AnyArray) -> FloatArray:
    """`values` as float32 in C order, transposed tile by tile.

    numpy goes through the result in order, and so, for each of its values, through
    another cache line of what was transposed. A tile is therefore copied in the order of
    its source first, and transposed within the cache then.
    """
    with np.errstate(all="ignore"):  # a double may be too large for a float
        if _densest_axis(values) >= values.ndim - 1:
            return np.ascontiguousarray(values, DTYPE)
        copy = np.empty(values.shape, DTYPE)
        step = max(1, _TILE_BYTES // (values[..., 0].size * values.itemsize))
        for start in range(0, values.shape[-1], step):
            tile = (..., slice(start, start + step))
            copy[tile] = values[tile].copy(order="K")
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


def _blocks(values: AnyArray, offset: int) -> Iterator[_Block]:
    """`values` in pieces of bounded size that use whole cache lines of their source."""
    values = _merged(values)
    if values.ndim < 2 or not values.size or _densest_axis(values) > 0:
        yield from _rows(values, offset)
        return
    if values.ndim == 2:
        values = values[np.newaxis]
    inner = values[0, 0].size * DTYPE.itemsize
    columns = min(_RUN_BYTES // values.itemsize, _SLAB_BYTES // inner) // len(values)
    columns = max(1, columns)
    for start in range(0, values.shape[1], columns):
        part = values[:, start : start + columns]
        yield _Block(part, offset + start * inner, values.shape[1] * inner)


def _rows(values: AnyArray, offset: int) -> Iterator[_Block]:
    """`values` in C order, in pieces of bounded size."""
    size = values.size * DTYPE.itemsize
    if size <= _SLAB_BYTES:
        yield _Block(values, offset)
        return
    row = values[0].size * DTYPE.itemsize
    if row > _SLAB_BYTES:
        for i, inner in enumerate(values):
            yield from _rows(inner, offset + i * row)
        return
    rows = _SLAB_BYTES // row
    for first in range(0, len(values), rows):
        yield _Block(values[first : first + rows], offset + first * row)
