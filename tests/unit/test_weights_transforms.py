"""Layout steps: exact, invertible, and the permutations that their names promise."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2k.ir.layout import Segment
from caffe2k.weights import transforms
from caffe2k.weights.transforms import Reshape, Step, Steps, Take, Transpose

Shape = tuple[int, ...]

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def steps_for(draw: st.DrawFn, source: Shape) -> Step:
    """A random step that fits an array of shape `source`."""
    axes = range(len(source))
    kind = draw(
        st.sampled_from(["reshape", "transpose", "take"] if source else ["reshape"])
    )
    if kind == "transpose":
        return Transpose(tuple(draw(st.permutations(axes))))
    if kind == "take":
        axis = draw(st.sampled_from(axes))
        return Take(tuple(draw(st.permutations(range(source[axis])))), axis)
    size = math.prod(source)
    first = draw(
        st.sampled_from([d for d in range(1, size + 1) if size % d == 0] or [0])
    )
    return Reshape((first, size // first if first else 3))


@st.composite
def sources_and_steps(draw: st.DrawFn) -> tuple[Shape, Steps]:
    source = shape = draw(shapes)
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 4))):
        steps.append(draw(steps_for(shape)))
        shape = steps[-1].output_shape(shape)
    return source, tuple(steps)


@given(sources_and_steps(), st.integers(0, 2**32 - 1))
def test_steps_round_trip_bit_for_bit(case: tuple[Shape, Steps], seed: int) -> None:
    source, steps = case
    bits = np.random.default_rng(seed).integers(0, 2**32, source, np.uint32)
    array = np.asarray(bits, np.uint32).view(np.float32)
    there = transforms.apply(steps, array)
    assert there.shape == transforms.output_shape(steps, source)
    assert sorted(there.ravel().view(np.uint32)) == sorted(bits.ravel())
    back = transforms.invert(steps, source)
    assert transforms.output_shape(back, there.shape) == source
    assert transforms.apply(back, there).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Reshape((4,)), r"\(2, 3\) can't be reshaped to \(4,\)"),
        (Transpose((0, 0)), r"\(0, 0\) is no order of the axes of \(2, 3\)"),
        (Transpose((0,)), r"\(0,\) is no order of the axes of \(2, 3\)"),
        (Take((0, 0), 0), "no order of the values along axis 0"),
        (Take((1, 0), 1), "no order of the values along axis 1"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(step: Step, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transforms.output_shape((step,), (2, 3))
    with pytest.raises(ValueError, match=message):
        transforms.apply((step,), np.zeros((2, 3)))


@pytest.mark.parametrize("spatial", [0, 1, 2, 3])
def test_kernels_get_their_filter_axes_first(spatial: int) -> None:
    shape = (5, 4, 2, 3, 1)[: spatial + 2]
    steps = transforms.conv_kernel(spatial)
    assert transforms.output_shape(steps, shape) == (*shape[2:], 4, 5)
    if spatial == 2:
        assert steps == transforms.OIHW_TO_HWIO


def test_oihw_to_hwio_moves_each_value() -> None:
    kernel = np.random.default_rng(0).random((5, 4, 3, 2))
    moved = transforms.apply(transforms.OIHW_TO_HWIO, kernel)
    for o, i, h, w in np.ndindex(5, 4, 3, 2):
        assert moved[h, w, i, o] == kernel[o, i, h, w]


def test_a_depthwise_kernel_keeps_the_order_of_its_outputs() -> None:
    kernel = np.random.default_rng(0).random((6, 1, 3, 2))
    moved = transforms.apply(transforms.depthwise_kernel(3, kernel.shape), kernel)
    assert moved.shape == (3, 2, 3, 2)
    for channel, multiple in np.ndindex(3, 2):
        expected = kernel[2 * channel + multiple, 0]
        assert np.array_equal(moved[:, :, channel, multiple], expected)


CHW_AS_HWC = Segment((4, 2, 3), (1, 2, 0))
PLAIN = Segment((5,), (0,))


@pytest.mark.parametrize(
    "order",
    [(), (PLAIN,), (CHW_AS_HWC,), (CHW_AS_HWC, PLAIN, CHW_AS_HWC)],
    ids=["none", "in order", "flattened", "concatenated"],
)
def test_a_dense_kernel_sees_its_inputs_where_keras_has_them(
    order: tuple[Segment, ...],
) -> None:
    """The product with a channels-last flattened input must be Caffe's."""
    rng = np.random.default_rng(0)
    parts = [rng.integers(-9, 9, segment.dims) for segment in order or [PLAIN]]
    caffe_inputs = np.concatenate([part.ravel() for part in parts])
    keras_inputs = np.concatenate(
        [
            part.transpose(segment.perm).ravel()
            for part, segment in zip(parts, order or [PLAIN], strict=True)
        ]
    )
    kernel = rng.integers(-9, 9, (7, len(caffe_inputs)))
    dense = transforms.apply(transforms.dense_kernel(7, order), kernel)
    assert dense.shape == (len(caffe_inputs), 7)
    assert np.array_equal(keras_inputs @ dense, kernel @ caffe_inputs)


def test_a_dense_kernel_is_only_transposed_where_that_is_enough() -> None:
    pooled = Segment((64, 1, 1), (1, 2, 0))
    assert transforms.dense_kernel(10, (pooled, PLAIN)) == transforms.OI_TO_IO


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("order", [(CHW_AS_HWC,), (PLAIN, CHW_AS_HWC)])
def test_reorder_axis_reorders_only_that_axis(
    axis: int, order: tuple[Segment, ...]
) -> None:
    size = sum(segment.size for segment in order)
    shape = tuple(size if i == axis else 2 + i for i in range(3))
    array = np.arange(math.prod(shape)).reshape(shape)
    steps = transforms.reorder_axis(shape, axis, order)
    expected = array.take(transforms.flat_order(order), axis)
    assert np.array_equal(transforms.apply(steps, array), expected)
    assert transforms.reorder_axis(shape, axis, (Segment((size,), (0,)),)) == ()


@pytest.mark.parametrize("perm", list(itertools.permutations(range(3))))
def test_flat_order_gives_caffes_index(perm: tuple[int, int, int]) -> None:
    caffe = np.arange(24).reshape(4, 2, 3)
    order = (PLAIN, Segment((4, 2, 3), perm))
    expected = [*range(5), *(5 + caffe.transpose(perm).ravel())]
    assert list(transforms.flat_order(order)) == expected


def test_transforms_and_plans_do_without_numpy() -> None:
    code = (
        "import sys, caffe2k.weights.plan, caffe2k.weights.transforms;"
        "sys.exit('numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
