"""Flatten and Reshape, and how a tensor is reshaped in Keras."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe2k.codegen.program import Tensor, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout, Segment, caffe_layout
from caffe2k.ir.net import Layer, Shape
from caffe2k.ir.regrouping import regrouped
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op


def reshape_to(
    k: Lowering, x: Tensor, given: Shape, wanted: Shape, *, suffix: str | None = ""
) -> Tensor:
    """`x` of Keras shape `given` as `wanted`: Flatten, Reshape, or one with the batch."""
    if given == wanted:
        return x
    inner = wanted[1:]
    if given[:1] == wanted[:1] and sum(dim is None for dim in inner) <= 1:
        if len(inner) == 1:
            return k.add(keras_layer("Flatten"), inputs=[x], suffix=suffix)
        target = tuple(-1 if dim is None else dim for dim in inner)
        return k.add(keras_layer("Reshape"), target, inputs=[x], suffix=suffix)
    target = _whole_target(wanted)
    return k.add(runtime("shaping", "ReshapeAll"), target, inputs=[x], suffix=suffix)


def _whole_target(wanted: Shape, batch: int = 0) -> tuple[int, ...]:
    """Sizes with one -1: the one that TRAIN and TEST disagree about, else the batch."""
    unknown = [i for i, dim in enumerate(wanted) if dim is None] or [batch]
    if len(unknown) > 1:
        raise OpError(
            "phase-shapes",
            f"the shape {wanted} has more than one size that differs between phases",
            help="translate one phase with --phase",
        )
    return tuple(
        -1 if i == unknown[0] or d is None else d for i, d in enumerate(wanted)
    )


def flat_segments(layout: Layout, shape: Shape, axis: int) -> tuple[Segment, ...]:
    """How the values lie along the axis that `axis` and all behind it flatten into."""
    if layout.order and layout.ordered_axis == axis == len(shape) - 1:
        return layout.order
    dims = tuple(d or 1 for d in shape[axis:])
    segment = Segment(dims, tuple(a - axis for a in layout.perm[axis:]))
    return () if segment.in_order else (segment,)


def layout_to_flatten(given: Layout, axis: int) -> Layout:
    """The layout to read a blob in whose axes from `axis` on become one.

    As it is given, if the axes before `axis` lie in Caffe's order; `flat_segments`
    then tells how the values lie. Else in Caffe's order.
    """
    leads = given.perm[:axis] == tuple(range(axis)) and axis > 0
    is_scrambled = given.order and (given.ordered_axis < axis or axis + 1 < given.rank)
    return given if leads and not is_scrambled else caffe_layout(given.rank)


class ReshapingOp(LayerOp):
    """An op that only changes the shape; values keep Caffe's order.

    Axes that stay, split or merge may do so in any layout that keeps those together
    which Caffe's values run over together; axes of size 1 may come and go anywhere.
    """

    works_in_place = False

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return self._plan(given[0], bottom[0], top[0], form, in_order=False)

    def ordered_layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return self._plan(given[0].plain, bottom[0], top[0], form, in_order=True)

    def _plan(
        self,
        layout: Layout,
        bottom: Shape,
        top: Shape,
        form: DataFormat,
        *,
        in_order: bool,
    ) -> LayoutPlan:
        """The layout as it is, or the one whose result lies as the model likes it."""
        rank = len(top)
        liked = (form.boundary(rank), form.spatial(rank), caffe_layout(rank))
        result = regrouped(layout, bottom, top, (layout, *liked), in_order=in_order)
        if result is not None:
            return LayoutPlan([layout], [result])
        for result in liked:
            source = regrouped(result, top, bottom, (layout,), in_order=True)
            if source is not None:
                return LayoutPlan([source], [result])
        raise AssertionError("Caffe's own order is always possible")

    def lower(self, k: Lowering) -> None:
        (x,) = k.inputs
        source, result = k.in_layouts[0], k.out_layouts[0]
        given, wanted = source.keras_shape(k.bottom[0]), result.keras_shape(k.top[0])
        batch = result.keras_axis(0)
        if source.perm[0] != 0 or batch != 0:
            target = _whole_target(wanted, batch)
            k.output(k.add(runtime("shaping", "ReshapeAll"), target, inputs=[x]))
        else:
            k.output(reshape_to(k, x, given, wanted))


@layer_op("Flatten")
class Flatten(ReshapingOp):
    """The axes from `axis` to `end_axis` become one (flatten_layer.cpp)."""

    keras = "Flatten, Reshape"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        p, shape = self.layer.message.flatten_param, bottom[0]
        first = axis_within(p.axis, shape, self.layer, "flatten_param.axis")
        last = axis_within(p.end_axis, shape, self.layer, "flatten_param.end_axis")
        if last < first:
            raise OpError(
                "axis-out-of-range",
                f"`end_axis` {p.end_axis} lies before `axis` {p.axis}",
                field="flatten_param.end_axis",
                help="it is the last axis that is flattened; -1 is the last of all",
            )
        middle = shape[first : last + 1]
        size = None if None in middle else math.prod(d or 0 for d in middle)
        return [(*shape[:first], size, *shape[last + 1 :])]


@layer_op("Reshape")
class Reshape(ReshapingOp):
    """0 copies an axis, -1 takes what is left (reshape_layer.cpp)."""

    keras = "Reshape"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        p, shape = self.layer.message.reshape_param, bottom[0]
        start: int = p.axis if p.axis >= 0 else len(shape) + p.axis + 1
        end = len(shape) if p.num_axes == -1 else start + p.num_axes
        if not 0 <= start <= end <= len(shape):
            raise OpError(
                "axis-out-of-range",
                f"`axis` {p.axis} and `num_axes` {p.num_axes} reach beyond the "
                f"{len(shape)} axes of the bottom",
                field="reshape_param",
                help="`axis` is the first that is replaced, `num_axes` how many are; -1 "
                "is all from there",
            )
        dims = self._dims(list(p.shape.dim), shape, start)
        return [(*shape[:start], *self._fill(dims, shape[start:end]), *shape[end:])]

    def _dims(self, dims: list[int], shape: Shape, start: int) -> list[int]:
        """The wanted sizes with every 0 replaced by the size that it copies."""
        for i, dim in enumerate(dims):
            if dim == 0:
                if start + i >= len(shape):
                    raise OpError(
                        "axis-out-of-range",
                        f"`dim: 0` copies axis {start + i}, which the bottom lacks",
                        field="reshape_param.shape.dim",
                        index=i,
                        help="say the size instead, or -1 for what is left",
                    )
                dims[i] = shape[start + i] or 0
            elif dim < -1:
                raise OpError(
                    "bad-size",
                    f"`dim` can't be {dim}",
                    field="reshape_param.shape.dim",
                    index=i,
                    help="0 copies the size, -1 takes what is left",
                )
        return dims

    def _fill(self, dims: list[int], replaced: Shape) -> list[int]:
        """The sizes with -1 worked out; the number of values must stay the same."""
        values = math.prod(d or 0 for d in replaced)
        known = math.prod(d for d in dims if d != -1)
        fits = dims.count(-1) <= 1 and known > 0 and values % known == 0
        if not fits or (-1 not in dims and known != values):
            raise OpError(
                "reshape-count",
                f"layer `{self.layer.name}` can't reshape {replaced} to {tuple(dims)}",
                field="reshape_param.shape",
                help=f"the sizes must multiply to {values}; one -1 takes what is left",
            )
        return [values // known if d == -1 else d for d in dims]


def axis_within(axis: int, shape: Shape, layer: Layer, field: str) -> int:
    """A possibly negative axis as a positive one (Blob::CanonicalAxisIndex)."""
    if not -len(shape) <= axis < len(shape):
        raise OpError(
            "axis-out-of-range",
            f"layer `{layer.name}` has axis {axis}, its bottom {len(shape)} axes",
            field=field,
            help=f"axes go from 0 to {len(shape) - 1}, or from -{len(shape)} to -1 if they "
            "are counted from the end",
        )
    return axis % len(shape)
