"""Parameter: a learned blob that depends on no input."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import runtime
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.weights.transforms import IDENTITY, Reshape, Steps, Transpose


@layer_op("Parameter")
class Parameter(LayerOp):
    """A parameter as a top (parameter_layer.hpp).

    In Keras it takes the first input of the model, which it does not look at: a layer is
    reached through tensors only.
    """

    keras = "caffe_runtime.parameter.Parameter"
    bottoms = exactly(0)

    def _shape(self) -> Shape:
        p = self.layer.message.parameter_param
        shape = tuple(p.shape.dim)
        if any(dim < 1 for dim in shape):
            raise OpError(
                "bad-size",
                f"layer `{self.layer.name}` can't have the shape {shape}",
                field="parameter_param.shape",
                help="every `dim` must be at least 1",
            )
        return shape

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        return [self._shape()]

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        return [self._shape()]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return LayoutPlan([], [form.boundary(len(top[0]))])

    def lower(self, k: Lowering) -> None:
        layout = k.out_layouts[0]
        shape = layout.keras_shape(k.top[0])
        steps: Steps = IDENTITY if layout.is_caffe else (Transpose(layout.perm),)
        if not shape:
            # As everywhere, a blob without axes is a tensor of one value.
            shape, steps = (1,), (Reshape((1,)),)
        weights = [k.weight("value", 0, steps)]
        target = runtime("parameter", "Parameter")
        k.output(k.add(target, shape, inputs=[k.model_input()], weights=weights))
