"""Axpy: a blob with each channel scaled, plus another."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import reshape_to


@layer_op("Axpy")
class Axpy(LayerOp):
    """scale * x + y, with one scale a channel of each sample.

    hujie-frank/SENet, axpy_layer.cpp.
    """

    messages = ()
    keras = "Multiply, caffe_runtime.elementwise.ScaleBy, Add"
    bottoms = exactly(3)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        scale, x, y = bottom
        singles = all(size == 1 for size in scale[2:])
        if len(x) < 2 or scale[:2] != x[:2] or not singles:
            raise self._mismatch(f"a scale of shape {x[:2]}", scale, 0)
        if x != y:
            raise self._mismatch(f"blobs of one shape to add to {x}", y, 2)
        return [x]

    def _mismatch(self, wanted: str, shape: Shape, index: int) -> OpError:
        return OpError(
            "bottom-shapes",
            f"layer `{self.layer.name}` needs {wanted}, not {shape}",
            field="bottom",
            index=index,
            help="the bottoms are the scale, what is scaled, and what is added",
        )

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        layout = given[1].plain
        if given[2] != given[1]:
            layout = form.spatial(len(bottom[1]))
        scale = (
            layout if len(bottom[0]) == layout.rank else caffe_layout(len(bottom[0]))
        )
        return LayoutPlan([scale, layout, layout], [layout])

    def lower(self, k: Lowering) -> None:
        scale, x, y = k.inputs
        if len(k.bottom[0]) == len(k.bottom[1]):
            scaled = k.add(keras_layer("Multiply"), inputs=[scale, x], suffix="scale")
        else:
            axes = tuple(k.keras_axis(axis, 1) for axis in range(2))
            given = k.bottom[0]
            scale = reshape_to(k, scale, given, given[:2], suffix="flatten")
            target = runtime("elementwise", "ScaleBy")
            scaled = k.add(target, axes, inputs=[x, scale], suffix="scale")
        k.output(k.add(keras_layer("Add"), inputs=[scaled, y]))
