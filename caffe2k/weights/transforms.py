"""Layout steps that turn a Caffe blob into a Keras weight, bit for bit, and back.

Nothing here imports numpy: ops name their steps without paying for it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from caffe2k.ir.layout import Segment

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt

    Array = npt.NDArray[Any]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Reshape:
    """The same values in C order, in another shape."""

    shape: Shape

    def output_shape(self, source: Shape) -> Shape:
        if math.prod(source) != math.prod(self.shape):
            raise ValueError(f"{source} can't be reshaped to {self.shape}")
        return self.shape

    def apply(self, array: Array) -> Array:
        return array.reshape(self.output_shape(array.shape))

    def inverse(self, source: Shape) -> Reshape:
        return Reshape(source)


@dataclass(frozen=True)
class Transpose:
    """Output axis i is source axis `perm[i]`."""

    perm: tuple[int, ...]

    def output_shape(self, source: Shape) -> Shape:
        if sorted(self.perm) != list(range(len(source))):
            raise ValueError(f"{self.perm} is no order of the axes of {source}")
        return tuple(source[axis] for axis in self.perm)

    def apply(self, array: Array) -> Array:
        self.output_shape(array.shape)
        return array.transpose(self.perm)

    def inverse(self, source: Shape) -> Transpose:
        return Transpose(_inverse(self.perm))


@dataclass(frozen=True)
class Take:
    """Along `axis`, output value i is source value `order[i]`; a permutation."""

    order: tuple[int, ...]
    axis: int

    def output_shape(self, source: Shape) -> Shape:
        if sorted(self.order) != list(range(source[self.axis])):
            raise ValueError(f"no order of the values along axis {self.axis}")
        return source

    def apply(self, array: Array) -> Array:
        self.output_shape(array.shape)
        return array.take(self.order, self.axis)

    def inverse(self, source: Shape) -> Take:
        return Take(_inverse(self.order), self.axis)


Step = Reshape | Transpose | Take
Steps = tuple[Step, ...]


def output_shape(steps: Steps, source: Shape) -> Shape:
    """The shape that `steps` make of a blob of shape `source`.

    Raises ValueError where a step does not fit.
    """
    for step in steps:
        source = step.output_shape(source)
    return source


def apply(steps: Steps, array: Array) -> Array:
    """`array` after all `steps`; a view of it where numpy can make one.

    Raises ValueError where a step does not fit.
    """
    for step in steps:
        array = step.apply(array)
    return array


def invert(steps: Steps, source: Shape) -> Steps:
    """The steps that lead from `output_shape(steps, source)` back to `source`."""
    inverted: list[Step] = []
    for step in steps:
        inverted.append(step.inverse(source))
        source = step.output_shape(source)
    return tuple(reversed(inverted))


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    inverse = [0] * len(order)
    for position, source in enumerate(order):
        inverse[source] = position
    return tuple(inverse)


IDENTITY: Steps = ()

OI_TO_IO: Steps = (Transpose((1, 0)),)
"""InnerProduct's (num_output, inputs) to Dense's (inputs, units)."""

OIHW_TO_HWIO: Steps = (Transpose((2, 3, 1, 0)),)
"""Convolution's kernel to Conv2D's; Deconvolution's (I, O, H, W) to Conv2DTranspose's."""


def conv_kernel(spatial_axes: int) -> Steps:
    """OIHW_TO_HWIO for any number of spatial axes: (O, I, ...) to (..., I, O)."""
    return (Transpose((*range(2, spatial_axes + 2), 1, 0)),)


def depthwise_kernel(channels: int, source: Shape) -> Steps:
    """(channels * m, 1, ...) of a convolution with a group per channel to (..., channels, m).

    The order of the outputs is the same on both sides: channel by channel.
    """
    multiplier = source[0] // channels
    spatial = source[2:]
    rank = len(spatial)
    return (
        Reshape((channels, multiplier, *spatial)),
        Transpose((*range(2, rank + 2), 0, 1)),
    )


def dense_kernel(num_output: int, order: Sequence[Segment] = ()) -> Steps:
    """OI_TO_IO, for inputs that Keras holds in another `order` than Caffe.

    `order` lists the runs of a flattened channels-last blob (or of several, concatenated);
    without it the inputs are in Caffe's order.
    """
    if not _is_reordered(order):
        return OI_TO_IO
    if len(order) > 1:
        return (*OI_TO_IO, Take(flat_order(order), 0))
    (segment,) = order
    axes = (*(axis + 1 for axis in segment.perm), 0)
    return (
        Reshape((num_output, *segment.dims)),
        Transpose(axes),
        Reshape((segment.size, num_output)),
    )


def reorder_axis(source: Shape, axis: int, order: Sequence[Segment]) -> Steps:
    """Puts the values along `axis`, given in Caffe's order, into `order`."""
    if not _is_reordered(order):
        return IDENTITY
    if len(order) > 1:
        return (Take(flat_order(order), axis),)
    (segment,) = order
    before, after = source[:axis], source[axis + 1 :]
    inner = tuple(axis + inner_axis for inner_axis in segment.perm)
    behind = range(axis + len(inner), len(source) + len(inner) - 1)
    return (
        Reshape((*before, *segment.dims, *after)),
        Transpose((*range(axis), *inner, *behind)),
        Reshape(source),
    )


def flat_order(order: Iterable[Segment]) -> tuple[int, ...]:
    """Caffe's flat index of each value along an axis that is arranged in `order`."""
    indices: list[int] = []
    for segment in order:
        strides = [math.prod(segment.dims[axis + 1 :]) for axis in segment.perm]
        ranges = [range(segment.dims[axis]) for axis in segment.perm]
        start = len(indices)
        for place in itertools.product(*ranges):
            indices.append(start + sum(map(int.__mul__, place, strides)))
    return tuple(indices)


def _is_reordered(order: Sequence[Segment]) -> bool:
    return not all(segment.in_order for segment in order)
