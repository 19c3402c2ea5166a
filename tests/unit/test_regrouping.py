"""A reshape in any axis order: right where it is possible, and possible where it can be."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2k.ir.layout import Layout, Segment, caffe_layout, channels_last
from caffe2k.ir.net import Shape
from caffe2k.ir.regrouping import axis_groups, regrouped

FACTORS = st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6)


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], Layout]:
    """Two shapes of equally many values, and a layout for the first."""
    factors = draw(FACTORS)
    a, b = ([draw(_cut(factors))] for _ in range(2))
    perm = draw(st.permutations(range(len(a[0]))))
    return a[0], b[0], Layout(tuple(perm))


@st.composite
def _cut(draw: st.DrawFn, factors: list[int]) -> tuple[int, ...]:
    """Neighbouring factors multiplied, and axes of size 1 put in."""
    sizes = [factors[0]]
    for factor in factors[1:]:
        if draw(st.booleans()):
            sizes.append(factor)
        else:
            sizes[-1] *= factor
    if draw(st.booleans()):
        sizes.insert(draw(st.integers(1, len(sizes))), 1)
    return tuple(sizes)


def stored(x: np.ndarray, layout: Layout) -> np.ndarray:
    """A blob's values as the Keras tensor of that layout has them."""
    if layout.order:
        (segment,) = layout.order
        moved = np.arange(segment.size).reshape(segment.dims).transpose(segment.perm)
        x = x.take(moved.ravel(), layout.ordered_axis)
    return x.transpose(layout.perm)


def blob(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape)


@given(reshapes(), st.booleans())
def test_values_are_where_the_layout_says(
    made: tuple[tuple[int, ...], tuple[int, ...], Layout], in_order: bool
) -> None:
    a, b, layout = made
    result = regrouped(layout, a, b, (), in_order=in_order)
    if result is None:
        return
    assert not (in_order and result.order)
    x = blob(a)
    there = stored(x, layout).reshape(result.keras_shape(b))  # type: ignore[arg-type]
    assert np.array_equal(there, stored(x.reshape(b), result))


@given(reshapes())
def test_what_is_possible_is_found(
    made: tuple[tuple[int, ...], tuple[int, ...], Layout],
) -> None:
    a, b, layout = made
    if a[0] == 1 or b[0] == 1 or len(b) > 5:
        # The batch may vary: it does not count as an axis of size 1.
        return
    x = blob(a)
    here = stored(x, layout)
    possible = any(
        np.array_equal(
            here.reshape([b[axis] for axis in perm]), x.reshape(b).transpose(perm)
        )
        for perm in permutations(range(len(b)))
    )
    assert (regrouped(layout, a, b, (), in_order=True) is not None) == possible


@pytest.mark.parametrize(
    ("a", "b", "groups"),
    [
        ((6, 4), (6, 4), [([0], [0]), ([1], [1])]),
        ((6, 4), (2, 3, 4), [([0], [0, 1]), ([1], [2])]),
        ((2, 6, 1, 4), (2, 3, 8), [([0], [0]), ([1, 3], [1, 2])]),
        ((1, 1, 8), (1, 8), [([0], [0]), ([2], [1])]),
        ((1, 8), (8,), [([0, 1], [0])]),
        ((None, 4, 3), (None, 12), [([0], [0]), ([1, 2], [1])]),
        ((5, None, 3), (None, 3), [([0, 1, 2], [0, 1])]),
    ],
)
def test_groups(a: Shape, b: Shape, groups: list[tuple[list[int], list[int]]]) -> None:
    assert axis_groups(a, b) == groups


def test_images_of_a_video_stay_channels_last() -> None:
    video, images = Layout((0, 1, 3, 4, 2)), channels_last(4)
    shapes = (5, 2, 3, 8, 8), (10, 3, 8, 8)
    assert regrouped(video, *shapes, ()) == images
    assert regrouped(images, *reversed(shapes), ()) == video


def test_a_flattened_image_tells_its_order() -> None:
    shapes = (2, 3, 4, 5), (2, 60)
    order = (Segment((3, 4, 5), (1, 2, 0)),)
    assert regrouped(channels_last(4), *shapes, ()) == Layout((0, 1), 1, order)
    assert regrouped(channels_last(4), *shapes, (), in_order=True) is None


def test_short_axes_stand_where_they_are_liked() -> None:
    wanted = channels_last(4)
    assert regrouped(caffe_layout(2), (2, 6), (2, 6, 1, 1), (wanted,)) == wanted
