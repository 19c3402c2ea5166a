"""Softmax over any axis."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, keras_layer
from caffe2k.ir.net import Shape
from caffe2k.ops.base import BackwardReads, DataShapes
from caffe2k.ops.joining import UnorderedOp
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within


@layer_op("Softmax")
class Softmax(UnorderedOp):
    """exp(x), scaled to sum to 1 along `axis` (softmax_layer.cpp)."""

    keras = "Softmax"
    backward_reads = BackwardReads.VALUE

    def _axis(self, bottom: Shape) -> int:
        axis = self.layer.message.softmax_param.axis
        return axis_within(axis, bottom, self.layer, "softmax_param.axis")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self._axis(bottom[0])
        return [bottom[0]]

    def lower(self, k: Lowering) -> None:
        self.layer.message.softmax_param.mark_read("engine")
        axis = k.keras_axis(self._axis(k.bottom[0]))
        last = axis == len(k.bottom[0]) - 1
        arguments: dict[str, Argument] = {} if last else {"axis": axis}
        k.output(k.add(keras_layer("Softmax"), **arguments))
