"""Which axes of a blob hold the same values before and after a reshape."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.ir.layout import Layout, Segment
from caffe2k.ir.net import Dim, Shape

Group = tuple[list[int], list[int]]
"""Axes of a shape and of another one over which the same values run in the same order."""


def axis_groups(a: Shape, b: Shape) -> list[Group]:
    """The finest groups of two shapes of equally many values.

    Axes of size 1 are in none, but the batch is always in the first: it may vary.
    """
    rest_a, rest_b = long_axes(a), long_axes(b)
    groups: list[Group] = []
    while rest_a and rest_b:
        of_a, of_b = [rest_a.pop(0)], [rest_b.pop(0)]
        while (rest_a or rest_b) and _size(a, of_a) != _size(b, of_b):
            if rest_a and (not rest_b or _size(a, of_a) < _size(b, of_b)):
                of_a.append(rest_a.pop(0))
            else:
                of_b.append(rest_b.pop(0))
        groups.append((of_a, of_b))
    groups[-1][0].extend(rest_a)
    groups[-1][1].extend(rest_b)
    return groups


def long_axes(shape: Shape) -> list[int]:
    """The axes along which there is more than one value, and the batch."""
    return [axis for axis, dim in enumerate(shape) if axis == 0 or dim != 1]


def _size(shape: Shape, axes: Sequence[int]) -> tuple[int, int]:
    """How many sizes are unknown, and the product of the others."""
    unknown, product = 0, 1
    for axis in axes:
        dim = shape[axis]
        unknown += dim is None
        product *= 1 if dim is None else dim
    return unknown, product


def regrouped(
    layout: Layout,
    a: Shape,
    b: Shape,
    preferred: Sequence[Layout],
    *,
    in_order: bool = False,
) -> Layout | None:
    """The layout of the tensor of a blob of shape `a` after reshaping it to `b`.

    None where the values would end in another order than Caffe's. One group of axes that
    become one may do so, unless `in_order`: the layout then tells its order, and the
    axis can become those axes again. Axes of size 1 stand where the first of the `preferred` layouts that is possible has them.
    """
    stored = [axis for axis in layout.perm if axis in long_axes(a)]
    found: list[int] = []
    order, ordered_axis = layout.order, -1
    by_first = {axis: group for group in axis_groups(a, b) for axis in group[0]}
    while stored:
        of_a, of_b = by_first[stored[0]]
        run, stored = stored[: len(of_a)], stored[len(of_a) :]
        if sorted(run) != of_a:
            return None
        if order and layout.order and layout.ordered_axis in of_a:
            if len(of_a) > 1:
                return None
            unfolded = _unfolded(order, [b[axis] for axis in of_b])
            if unfolded is not None:
                of_b, order = [of_b[i] for i in unfolded], ()
            elif len(of_b) > 1:
                return None
            ordered_axis = of_b[0]
        elif run != of_a:
            dims = tuple(a[axis] or 0 for axis in of_a)
            if order or in_order or len(of_b) > 1 or 0 in of_a or 0 in dims:
                return None
            order = (Segment(dims, tuple(of_a.index(axis) for axis in run)),)
            ordered_axis = of_b[0]
        found.extend(of_b)
    perm = _with_short_axes(found, b, preferred)
    if order and ordered_axis < 0:
        return None
    return Layout(perm, ordered_axis, order) if order else Layout(perm)


def _unfolded(order: Sequence[Segment], sizes: list[Dim]) -> list[int] | None:
    """Which of the axes that one axis becomes comes where, if it was made of such axes."""
    if len(order) > 1:
        return None
    (segment,) = order
    long = [axis for axis, dim in enumerate(segment.dims) if dim != 1]
    if [segment.dims[axis] for axis in long] != sizes:
        return None
    return [long.index(axis) for axis in segment.perm if axis in long]


def _with_short_axes(
    found: list[int], shape: Shape, preferred: Sequence[Layout]
) -> tuple[int, ...]:
    for layout in preferred:
        if layout.rank == len(shape) and found == [
            a for a in layout.perm if a in found
        ]:
            return layout.perm
    return (*found, *(axis for axis in range(len(shape)) if axis not in found))
