"""Permute: axes in another order, which costs Keras nothing."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op


@layer_op("Permute")
class Permute(LayerOp):
    """The axes in `order`, then the others (weiliu89/caffe, permute_layer.cpp).

    The Keras tensor stays as it is: its axes are just other axes of Caffe's from here on.
    """

    keras = "nothing"

    def _order(self, bottom: Shape) -> list[int]:
        order: list[int] = list(self.layer.message.permute_param.order)
        for i, axis in enumerate(order):
            if axis >= len(bottom) or axis in order[:i]:
                raise OpError(
                    "permute-order",
                    f"layer `{self.layer.name}` names axis {axis} of {len(bottom)}, or "
                    "names it twice",
                    field="permute_param.order",
                    help="name each axis of the bottom at most once, the batch being 0",
                )
        return order + [axis for axis in range(len(bottom)) if axis not in order]

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        return [tuple(bottom[0][axis] for axis in self._order(bottom[0]))]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        order = self._order(bottom[0])
        plain = given[0].plain
        return LayoutPlan([plain], [Layout(tuple(order.index(a) for a in plain.perm))])

    def lower(self, k: Lowering) -> None:
        k.output(k.inputs[0])
