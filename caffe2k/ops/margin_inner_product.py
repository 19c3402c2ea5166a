"""MarginInnerProduct: SphereFace's products with a margin of the angle."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Layer, Shape, count
from caffe2k.ops.base import Count, DataShapes, LayoutPlan
from caffe2k.ops.errors import OpError, missing_num_output
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import PairOp
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within, flat_segments, layout_to_flatten
from caffe2k.weights.transforms import dense_kernel

_PATH = "margin_inner_product_param"


@layer_op("MarginInnerProduct")
class MarginInnerProduct(PairOp):
    """Features and labels to scores, and lambda
    (wy1iu/sphereface, margin_inner_product_layer.cpp)."""

    keras = "caffe_runtime.margin_inner_product.MarginInnerProduct"
    tops = Count(1, 2)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.margin_inner_product_param

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if self.p.num_output < 1:
            raise missing_num_output(self.layer, _PATH)
        self.check_one_label(bottom)
        if axis_within(self.p.axis, bottom[0], self.layer, f"{_PATH}.axis") != 1:
            raise OpError(
                "unsupported-option",
                f"`axis` of layer `{self.layer.name}` can only be 1",
                field=f"{_PATH}.axis",
                help="there is one label for each sample",
            )
        return [(bottom[0][0], self.p.num_output), (1,)][: len(self.layer.tops)]

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        return [(self.p.num_output, math.prod(d or 1 for d in bottom[0][1:]))]

    def multiply_adds(self, bottom: Sequence[Shape], top: Sequence[Shape]) -> int:
        """Each value of the features is multiplied by a row of the weights."""
        return count(bottom[0]) * int(self.p.num_output)

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        inputs = [layout_to_flatten(given[0], 1), caffe_layout(len(bottom[1]))]
        return LayoutPlan(inputs, [caffe_layout(len(shape)) for shape in top])

    def lower(self, k: Lowering) -> None:
        p, arguments = self.p, dict[str, Argument]()
        if p.type != "SINGLE":
            arguments["margin"] = p.type
        for name, usual in (
            ("base", 1),
            ("gamma", 0),
            ("power", 1),
            ("lambda_min", 0),
            ("iteration", 0),
        ):
            value = getattr(p, name)
            if value != usual:
                arguments[name] = value
        if len(self.layer.tops) == 2:
            arguments["return_lambda"] = True
        start = initializer(p.weight_filler, k.params[0], f"{_PATH}.weight_filler")
        if start != "zeros":
            arguments["kernel_initializer"] = start
        order = flat_segments(k.in_layouts[0], k.bottom[0], 1)
        made = k.add_many(
            runtime("margin_inner_product", "MarginInnerProduct"),
            p.num_output,
            outputs=len(self.layer.tops),
            weights=[k.weight("kernel", 0, dense_kernel(p.num_output, order))],
            **arguments,
        )
        k.output(*made)
