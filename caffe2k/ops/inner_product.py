"""InnerProduct: Dense, with its kernel in the order in which Keras holds the input."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe2k.codegen.program import Argument, keras_layer
from caffe2k.ir.layout import DataFormat, Layout, Segment, caffe_layout
from caffe2k.ir.net import Layer, Shape, count
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan
from caffe2k.ops.bias_apart import add_bias
from caffe2k.ops.errors import missing_num_output
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import (
    axis_within,
    flat_segments,
    layout_to_flatten,
    reshape_to,
)
from caffe2k.weights.plan import PlannedWeight
from caffe2k.weights.transforms import dense_kernel, reorder_axis

_PATH = "inner_product_param"


@layer_op("InnerProduct")
class InnerProduct(LayerOp):
    """Everything from `axis` on is flattened (inner_product_layer.cpp)."""

    keras = "Flatten and Dense"
    takes_activation = True
    orders_output = True

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.inner_product_param

    def _axis(self, bottom: Shape) -> int:
        return axis_within(self.p.axis, bottom, self.layer, f"{_PATH}.axis")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if self.p.num_output < 1:
            raise missing_num_output(self.layer, _PATH)
        return [(*bottom[0][: self._axis(bottom[0])], self.p.num_output)]

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        inputs = math.prod(d or 1 for d in bottom[0][self._axis(bottom[0]) :])
        outputs = self.p.num_output
        weights = (inputs, outputs) if self.p.transpose else (outputs, inputs)
        return [weights, (outputs,)] if self.p.bias_term else [weights]

    def multiply_adds(self, bottom: Sequence[Shape], top: Sequence[Shape]) -> int:
        """Each value of the bottom is multiplied by a row of the weights."""
        return count(bottom[0]) * int(self.p.num_output)

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        wanted = layout_to_flatten(given[0], self._axis(bottom[0]))
        return LayoutPlan([wanted], [caffe_layout(len(top[0]))])

    def lower(self, k: Lowering) -> None:
        p, bottom, layout = self.p, k.bottom[0], k.in_layouts[0]
        lead = self._axis(bottom)
        (x,) = k.inputs
        flat: Shape = (*bottom[:lead], math.prod(d or 1 for d in bottom[lead:]))
        if lead == 0:
            flat = (1, *flat)
        if len(bottom) != len(flat) or lead == 0:
            x = reshape_to(k, x, layout.keras_shape(bottom), flat, suffix=None)
        kernel, bias = self._weights(k, flat_segments(layout, bottom, lead))
        apart, start = bool(bias) and k.shares_partly, self._bias_start(k)
        arguments: dict[str, Argument] = {}
        if k.activation:
            arguments["activation"] = k.activation
        if apart or not bias:
            arguments["use_bias"] = False
        arguments |= self._kernel_start(k)
        if not apart:
            arguments |= start
        x = k.add(
            keras_layer("Dense"),
            p.num_output,
            inputs=[x],
            weights=[kernel] if apart else [kernel, *bias],
            **arguments,
        )
        if apart:
            x = add_bias(k, x, max(lead, 1), bias[0], start)
        if lead == 0:
            x = reshape_to(k, x, (1, p.num_output), (p.num_output,), suffix=None)
        k.output(x)

    def _weights(
        self, k: Lowering, order: tuple[Segment, ...]
    ) -> tuple[PlannedWeight, list[PlannedWeight]]:
        """The kernel, and the bias if there is one."""
        p = self.p
        shape = tuple(d or 0 for d in k.params[0])
        steps = (
            reorder_axis(shape, 0, order)
            if p.transpose
            else dense_kernel(p.num_output, order)
        )
        made = k.out_layouts[0].order
        inputs = shape[0] if p.transpose else shape[1]
        steps = (*steps, *reorder_axis((inputs, p.num_output), 1, made))
        kernel = k.weight("kernel", 0, steps)
        if not p.bias_term:
            return kernel, []
        return kernel, [k.weight("bias", 1, reorder_axis((p.num_output,), 0, made))]

    def _kernel_start(self, k: Lowering) -> dict[str, Argument]:
        """The kernel's initializer, where the net trains or names one."""
        p = self.p
        if not k.trains and not p.has("weight_filler"):
            return {}
        path, axis = f"{_PATH}.weight_filler", 0 if p.transpose else -1
        start = initializer(p.weight_filler, k.params[0], path, axis=axis)
        return {"kernel_initializer": start}

    def _bias_start(self, k: Lowering) -> dict[str, Argument]:
        if not self.p.bias_term:
            self.p.mark_read("bias_filler")
            return {}
        bias = initializer(self.p.bias_filler, k.params[1], f"{_PATH}.bias_filler")
        return {} if bias == "zeros" else {"bias_initializer": bias}
