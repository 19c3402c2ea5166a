"""What differs between two files of weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from caffe2k.weights.blob import (
    AnyArray,
    Blob,
    CaffeModel,
    FloatArray,
    LayerBlobs,
    Shape,
)
from caffe2k.weights.caffe_side import arrays_of
from caffe2k.weights.slabs import Progress, in_order
from caffe2k.weights.whole_file import OnProgress


@dataclass(frozen=True)
class Difference:
    """A blob that two files don't agree on; a shape is None where a file lacks it.

    `values` is how many values differ, `largest` the largest difference of two numbers;
    it is NaN where only one of them is a number.
    """

    layer: str
    index: int
    shapes: tuple[Shape | None, Shape | None]
    values: int = 0
    largest: float = 0.0


def differences(
    a: CaffeModel, b: CaffeModel, atol: float, on_progress: OnProgress | None = None
) -> Iterator[Difference]:
    """The blobs that only one has, and those whose shapes or values differ.

    Blobs are matched by layer name and index. Ones in front of a shape don't count if
    an old file put them there; numbers may be `atol` apart.
    """
    ours = {layer.name: layer for layer in a.layers}
    theirs = {layer.name: layer for layer in b.layers}
    progress = Progress(arrays_of(a.layers), on_progress)
    for name in {**ours, **theirs}:
        first, second = _blobs(ours.get(name)), _blobs(theirs.get(name))
        for index in range(max(len(first), len(second))):
            found = _difference(name, index, first, second, atol)
            if found is not None:
                yield found
        progress.add(sum(4 * blob.count for blob in first if blob is not None))


def _blobs(layer: LayerBlobs | None) -> tuple[Blob | None, ...]:
    return () if layer is None else layer.blobs


def _difference(
    name: str,
    index: int,
    first: tuple[Blob | None, ...],
    second: tuple[Blob | None, ...],
    atol: float,
) -> Difference | None:
    a = first[index] if index < len(first) else None
    b = second[index] if index < len(second) else None
    if a is None or b is None:
        if a is b:
            return None
        shapes = (None if a is None else a.shape, None if b is None else b.shape)
        return Difference(name, index, shapes)
    if not _same_shape(a, b):
        return Difference(name, index, (a.shape, b.shape))
    called = f"blob {index} of layer `{name}`"
    values, largest = _apart(a.view(called), b.view(called), atol)
    if not values:
        return None
    return Difference(name, index, (a.shape, b.shape), values, largest)


def _same_shape(a: Blob, b: Blob) -> bool:
    if a.legacy and b.legacy:
        return a.shape == b.shape
    return b.has_shape(a.shape) if b.legacy else a.has_shape(b.shape)


def _apart(a: AnyArray, b: AnyArray, atol: float) -> tuple[int, float]:
    """How many values are further apart than `atol`, and how far at most."""
    number, largest = 0, 0.0
    for one, other in _pairs(a, b):
        with np.errstate(invalid="ignore"):  # infinities
            distance = np.abs(one - other)
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        apart = ~(same | (distance <= atol))
        number += int(apart.sum())
        if apart.any():
            largest = max(largest, float(distance[apart].max()), key=_nan_last)
    return number, largest


def _pairs(a: AnyArray, b: AnyArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """The values of two arrays in C order, in pieces that are equally long."""
    pieces = [in_order(a), in_order(b)]
    rest = [np.empty(0, np.float32)] * 2
    while True:
        for side in range(2):
            if not rest[side].size:
                rest[side] = next(pieces[side], rest[side]).reshape(-1)
        size = min(rest[0].size, rest[1].size)
        if not size:
            return
        yield rest[0][:size], rest[1][:size]
        rest = [values[size:] for values in rest]


def _nan_last(value: float) -> float:
    return np.inf if np.isnan(value) else value
