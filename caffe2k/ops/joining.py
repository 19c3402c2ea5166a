"""Concat, Slice, Split and Silence: blobs joined, taken apart, repeated, dropped."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout, Segment, common_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import (
    DataShapes,
    ElementwiseOp,
    LayerOp,
    LayoutPlan,
    at_least,
    exactly,
)
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within


@layer_op("Concat")
class Concat(LayerOp):
    """Blobs behind one another along `axis` (concat_layer.cpp)."""

    keras = "Concatenate"
    bottoms = at_least(1)

    def _axis(self, bottom: Shape) -> int:
        p = self.layer.message.concat_param
        return axis_within(p.axis, bottom, self.layer, "concat_param.axis")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        axis = self._axis(bottom[0])
        for index, shape in enumerate(bottom):
            if len(shape) != len(bottom[0]) or any(
                i != axis and a != b
                for i, (a, b) in enumerate(zip(shape, bottom[0], strict=True))
            ):
                raise OpError(
                    "bottom-shapes",
                    f"layer `{self.layer.name}` can't join {bottom[0]} and {shape} "
                    f"along axis {axis}",
                    field="bottom",
                    index=index,
                    help="all sizes but that along the axis must be equal: compare the "
                    "strides and pads of the layers that write the two",
                )
        joined = sum(shape[axis] or 0 for shape in bottom)
        return [(*bottom[0][:axis], joined, *bottom[0][axis + 1 :])]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        axis = self._axis(bottom[0])
        perm = common_layout(given, form.spatial(len(bottom[0]))).perm
        if not any(layout.order for layout in given):
            plain = Layout(perm)
            return LayoutPlan([plain] * len(given), [plain])
        segments: list[Segment] = []
        for layout, shape in zip(given, bottom, strict=True):
            if layout.order and layout.ordered_axis != axis:
                return LayoutPlan([Layout(perm)] * len(given), [Layout(perm)])
            segments.extend(layout.order or (Segment((shape[axis] or 0,), (0,)),))
        wanted = [Layout(perm, axis, layout.order) for layout in given]
        return LayoutPlan(wanted, [Layout(perm, axis, tuple(segments))])

    def lower(self, k: Lowering) -> None:
        if len(k.inputs) == 1:
            k.output(k.inputs[0])
            return
        axis = k.keras_axis(self._axis(k.bottom[0]))
        last = axis == len(k.bottom[0]) - 1
        arguments: dict[str, Argument] = {} if last else {"axis": axis}
        k.output(k.add(keras_layer("Concatenate"), **arguments))


class UnorderedOp(LayerOp):
    """An op along one axis that takes any transposition, but no flattened order."""

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        plain = given[0].plain
        return LayoutPlan([plain] * len(bottom), [plain] * len(top))


@layer_op("Slice")
class Slice(UnorderedOp):
    """One blob cut along `axis` at `slice_point`, or evenly (slice_layer.cpp)."""

    keras = "caffe_runtime.shaping.Slice"
    tops = at_least(1)

    def _axis(self, bottom: Shape) -> int:
        p = self.layer.message.slice_param
        return axis_within(p.axis, bottom, self.layer, "slice_param.axis")

    def _points(self, size: int) -> list[int]:
        """Where to cut; without slice_point, into equal parts."""
        points: list[int] = list(self.layer.message.slice_param.slice_point)
        parts = len(self.layer.tops)
        if not points:
            if size % parts:
                raise OpError(
                    "slice-points",
                    f"{size} values can't be cut into {parts} equal parts",
                    field="slice_param",
                    help=f"say where to cut with {parts - 1} `slice_point`",
                )
            return [size // parts * i for i in range(1, parts)]
        ends = [0, *points, size]
        if len(points) != parts - 1 or any(
            a >= b for a, b in zip(ends, ends[1:], strict=False)
        ):
            raise OpError(
                "slice-points",
                f"slice points {', '.join(map(str, points))} don't cut {size} values into "
                f"{parts} tops",
                field="slice_param.slice_point",
                help=f"{parts} tops take {parts - 1} `slice_point` that rise, between 1 "
                f"and {size - 1}",
            )
        return points

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        axis = self._axis(bottom[0])
        size = bottom[0][axis] or 0
        ends = [0, *self._points(size), size]
        parts = [b - a for a, b in zip(ends, ends[1:], strict=False)]
        return [(*bottom[0][:axis], part, *bottom[0][axis + 1 :]) for part in parts]

    def lower(self, k: Lowering) -> None:
        if len(self.layer.tops) == 1:
            k.output(k.inputs[0])
            return
        axis = self._axis(k.bottom[0])
        size = k.bottom[0][axis]
        if size is None:
            raise OpError(
                "phase-shapes",
                f"layer `{self.layer.name}` cuts along an axis whose size differs "
                "between TRAIN and TEST",
                help="translate one phase with --phase",
            )
        points = tuple(self._points(size))
        outputs = len(self.layer.tops)
        target = runtime("shaping", "Slice")
        k.output(*k.add_many(target, k.keras_axis(axis), points, outputs=outputs))


@layer_op("Split")
class Split(ElementwiseOp):
    """The same blob under several names; Keras needs nothing for that."""

    messages = ()
    keras = "nothing"
    tops = at_least(1)

    def lower(self, k: Lowering) -> None:
        k.output(*([k.inputs[0]] * len(self.layer.tops)))


@layer_op("Silence")
class Silence(ElementwiseOp):
    """Swallows blobs that nobody needs; Keras needs nothing for that."""

    messages = ()
    keras = "nothing"
    bottoms = at_least(1)
    tops = exactly(0)

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return LayoutPlan(list(given), [])

    def lower(self, k: Lowering) -> None:
        return
