"""Reduction and ArgMax: the values along some axes become few."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe2k.codegen.program import Argument, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within, reshape_to


@layer_op("Reduction")
class Reduction(LayerOp):
    """Sums over `axis` and all axes behind it (reduction_layer.cpp).

    The axes before it stay in whatever order they are.
    """

    keras = "GlobalAveragePooling2D, caffe_runtime.reductions.Reduction"

    def _axis(self, bottom: Shape) -> int:
        axis = self.layer.message.reduction_param.axis
        return axis_within(axis, bottom, self.layer, "reduction_param.axis")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        return [bottom[0][: self._axis(bottom[0])]]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        (layout,) = given
        axis = self._axis(bottom[0])
        kept = tuple(a for a in layout.perm if a < axis)
        if layout.order and layout.ordered_axis < axis:
            return LayoutPlan(
                [layout], [Layout(kept, layout.ordered_axis, layout.order)]
            )
        return LayoutPlan([layout], [Layout(kept)])

    def lower(self, k: Lowering) -> None:
        p, (shape,), layout = (
            self.layer.message.reduction_param,
            k.bottom,
            k.in_layouts[0],
        )
        axis = self._axis(shape)
        is_image = layout == k.form.spatial(4) and axis == 2
        if p.operation == "MEAN" and p.coeff == 1 and is_image:
            target = keras_layer("GlobalAveragePooling2D")
            k.output(k.add(target, **k.data_format()))
            return
        axes = [i for i, a in enumerate(layout.perm) if a >= axis]
        settings: dict[str, Argument] = {}
        if p.operation != "SUM":
            settings["operation"] = p.operation
        if p.coeff != 1:
            settings["coeff"] = p.coeff
        k.output(k.add(runtime("reductions", "Reduction"), axes, **settings))


@layer_op("ArgMax")
class ArgMax(LayerOp):
    """The positions of the largest values, of equal ones the last (argmax_layer.cpp)."""

    keras = "caffe_runtime.reductions.ArgMax, FlatArgMax"

    def _axis(self, bottom: Shape) -> int | None:
        p = self.layer.message.argmax_param
        if not p.has("axis"):
            return None
        return axis_within(p.axis, bottom, self.layer, "argmax_param.axis")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        p, axis = self.layer.message.argmax_param, self._axis(bottom[0])
        self._check_top_k(bottom[0])
        if axis is not None:
            return [(*bottom[0][:axis], p.top_k, *bottom[0][axis + 1 :])]
        behind = (1,) * (len(bottom[0]) - 3)
        return [(bottom[0][0], 1 + p.out_max_val, p.top_k, *behind)]

    def _check_top_k(self, bottom: Shape) -> None:
        top_k, axis = self.layer.message.argmax_param.top_k, self._axis(bottom)
        sizes = bottom[1:] if axis is None else bottom[axis : axis + 1]
        most = math.inf if None in sizes else math.prod(d or 0 for d in sizes)
        if not 1 <= top_k <= most:
            raise OpError(
                "top-k",
                f"`top_k` is {top_k}, but there are {most} values",
                field="argmax_param.top_k",
                help=f"it is from 1 to {most}",
            )

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        plain = given[0].plain
        if self._axis(bottom[0]) is not None:
            return LayoutPlan([plain], [plain])
        # Positions count through the sample in Caffe's order.
        rank = len(top[0])
        single = not self.layer.message.argmax_param.out_max_val
        output = form.boundary(rank) if single else caffe_layout(rank)
        long = [a for a in plain.perm if a == 0 or bottom[0][a] != 1]
        wanted = plain if long == sorted(long) else caffe_layout(plain.rank)
        return LayoutPlan([wanted], [output])

    def lower(self, k: Lowering) -> None:
        p, axis = self.layer.message.argmax_param, self._axis(k.bottom[0])
        settings: dict[str, Argument] = {}
        if axis is not None and k.keras_axis(axis) != len(k.bottom[0]) - 1:
            settings["axis"] = k.keras_axis(axis)
        if p.top_k != 1:
            settings["top_k"] = p.top_k
        if p.out_max_val:
            settings["out_max_val"] = True
        if axis is not None:
            k.output(k.add(runtime("reductions", "ArgMax"), **settings))
            return
        found = k.add(runtime("reductions", "FlatArgMax"), **settings)
        wanted = k.out_layouts[0].keras_shape(k.top[0])
        k.output(reshape_to(k, found, k.top[0][:3], wanted, suffix="reshape"))
