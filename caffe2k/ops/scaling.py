"""Scale and Bias: a blob times, or plus, one that covers some of its axes."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Tensor, runtime
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import Count, DataShapes, LayerOp, LayoutPlan
from caffe2k.ops.errors import OpError
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within
from caffe2k.schema.message import Message
from caffe2k.weights.transforms import Steps, Transpose, reorder_axis


class CoveringOp(LayerOp):
    """A layer whose second operand lies along `axis` and the axes behind it.

    The operand is the second bottom, or a learned parameter of the shape that `num_axes`
    axes of the first bottom have.
    """

    bottoms = Count(1, 2)
    path = ""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p: Message = getattr(layer.message, self.path)

    def covered(self, bottom: Sequence[Shape]) -> tuple[int, ...]:
        """The axes of the first bottom that the operand lies along."""
        number: int = len(bottom[1]) if len(bottom) > 1 else self.p.num_axes
        if number == 0:
            # A scalar lies along no axis, whichever `axis` names (ScaleLayer::Reshape).
            self.p.mark_read("axis")
            return ()
        axis = axis_within(self.p.axis, bottom[0], self.layer, f"{self.path}.axis")
        end = len(bottom[0]) if number == -1 else axis + number
        if end > len(bottom[0]) or number < -1:
            raise OpError(
                "axis-out-of-range",
                f"layer `{self.layer.name}` covers axes {axis} to {end - 1} of "
                f"{len(bottom[0])}",
                field=f"{self.path}.num_axes" if len(bottom) == 1 else "bottom",
                index=len(bottom) - 1,
                help=f"from `axis` {axis} on there are {len(bottom[0]) - axis}",
            )
        return tuple(range(axis, end))

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        axes = self.covered(bottom)
        if len(bottom) > 1:
            self.p.mark_read("num_axes", "filler")
            wanted = tuple(bottom[0][axis] for axis in axes)
            if bottom[1] != wanted:
                raise OpError(
                    "bottom-shapes",
                    f"layer `{self.layer.name}` needs a second bottom of shape {wanted}, "
                    f"not {bottom[1]}",
                    field="bottom",
                    index=1,
                    help=f"it lies along the axes of the first bottom, {bottom[0]}, from "
                    f"`axis` {self.p.axis} on",
                )
        return [bottom[0]]

    def operand_shape(self, bottom: Sequence[Shape]) -> Shape:
        return tuple(bottom[0][axis] for axis in self.covered(bottom))

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        first = given[0]
        if first.order and (
            len(given) > 1 or first.ordered_axis not in self.covered(bottom)
        ):
            first = first.plain
        return LayoutPlan([first, *(g.plain for g in given[1:])], [first])

    def keras_axes(self, k: Lowering) -> tuple[int, ...]:
        """The Keras axes of a second bottom's own Keras axes, in their order."""
        axes = self.covered(k.bottom)
        return tuple(k.keras_axis(axes[axis]) for axis in k.in_layouts[1].perm)

    def batch_size(self, k: Lowering, axes: list[int]) -> dict[str, Argument]:
        """How large a batch must be, where the operand has a value for each sample."""
        if 0 not in axes:
            return {}
        return {"batch_size": k.in_layouts[0].keras_shape(k.bottom[0])[0]}

    def parameter(self, k: Lowering) -> tuple[list[int], Steps]:
        """The Keras axes that a learned operand lies along, and how its blob gets there."""
        layout, axes = k.in_layouts[0], self.covered(k.bottom)
        shape = tuple(d or 0 for d in self.operand_shape(k.bottom))
        steps: Steps = ()
        if layout.order and axes:
            steps = reorder_axis(shape, layout.ordered_axis - axes[0], layout.order)
        order = sorted(range(len(axes)), key=lambda i: layout.keras_axis(axes[i]))
        if order != list(range(len(axes))):
            steps = (*steps, Transpose(tuple(order)))
        return [layout.keras_axis(axes[i]) for i in order], steps


@layer_op("Scale")
class Scale(CoveringOp):
    """x * scale (+ bias) (scale_layer.cpp)."""

    keras = "caffe_runtime.elementwise.Scale, ScaleBy"
    path = "scale_param"

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        shape = self.operand_shape(bottom)
        learned = [shape] if len(bottom) == 1 else []
        return [*learned, shape] if self.p.bias_term else learned

    def lower(self, k: Lowering) -> None:
        if len(k.bottom) == 1:
            k.output(self._learned(k))
            return
        scaled = k.add(runtime("elementwise", "ScaleBy"), self.keras_axes(k))
        if self.p.bias_term:
            axes, steps = self.parameter(k)
            arguments = self._bias_initializer(k, 0) | self.batch_size(k, axes)
            scaled = k.add(
                runtime("elementwise", "Bias"),
                axes,
                inputs=[scaled],
                suffix="bias",
                weights=[k.weight("bias", 0, steps)],
                **arguments,
            )
        k.output(scaled)

    def _learned(self, k: Lowering) -> Tensor:
        axes, steps = self.parameter(k)
        arguments: dict[str, Argument] = {}
        weights = [k.weight("scale", 0, steps)]
        if self.p.has("filler"):
            scale = initializer(self.p.filler, k.params[0], "scale_param.filler")
            if scale != "ones":
                arguments["scale_initializer"] = scale
        if self.p.bias_term:
            arguments["use_bias"] = True
            arguments |= self._bias_initializer(k, 1)
            weights.append(k.weight("bias", 1, steps))
        else:
            self.p.mark_read("bias_filler")
        arguments |= self.batch_size(k, axes)
        target = runtime("elementwise", "Scale")
        return k.add(target, axes, weights=weights, **arguments)

    def _bias_initializer(self, k: Lowering, blob: int) -> dict[str, Argument]:
        path = "scale_param.bias_filler"
        bias = initializer(self.p.bias_filler, k.params[blob], path)
        return {} if bias == "zeros" else {"bias_initializer": bias}


@layer_op("Bias")
class Bias(CoveringOp):
    """x + bias (bias_layer.cpp)."""

    keras = "caffe_runtime.elementwise.Bias, BiasBy"
    path = "bias_param"

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        return [self.operand_shape(bottom)] if len(bottom) == 1 else []

    def lower(self, k: Lowering) -> None:
        if len(k.bottom) == 2:
            k.output(k.add(runtime("elementwise", "BiasBy"), self.keras_axes(k)))
            return
        axes, steps = self.parameter(k)
        bias = initializer(self.p.filler, k.params[0], "bias_param.filler")
        arguments = {} if bias == "zeros" else {"bias_initializer": bias}
        arguments |= self.batch_size(k, axes)
        target, weights = runtime("elementwise", "Bias"), [k.weight("bias", 0, steps)]
        k.output(k.add(target, axes, weights=weights, **arguments))
