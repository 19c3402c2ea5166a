"""ReLU, PReLU, Sigmoid, TanH, Power, Dropout and Eltwise: one value at a time."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout, common_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import (
    BackwardReads,
    DataShapes,
    ElementwiseOp,
    LayoutPlan,
    at_least,
)
from caffe2k.ops.errors import OpError, no_channel_axis
from caffe2k.ops.fillers import constant, initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.schema.message import shortest_float32
from caffe2k.weights.transforms import IDENTITY, Reshape, Steps, reorder_axis


@layer_op("ReLU")
class ReLU(ElementwiseOp):
    """max(x, 0), with a slope below 0 (relu_layer.cpp)."""

    keras = "ReLU, caffe_runtime.elementwise.ReLU"
    keeps_sign = True

    @property
    def activation(self) -> str | None:
        slope = self.layer.message.relu_param.negative_slope
        return "relu" if slope == 0 else None

    @property
    def backward_reads(self) -> BackwardReads:
        return BackwardReads.SIGN if self.layer.in_place else BackwardReads.NOTHING

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        p = self.layer.message.relu_param
        p.mark_read("engine")
        slope = p.negative_slope
        return "ReLU", {"negative_slope": slope} if slope else {}

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.relu_param
        p.mark_read("engine")
        if p.negative_slope == 0:
            k.output(k.add(keras_layer("ReLU")))
        else:
            slope = p.negative_slope
            k.output(k.add(runtime("elementwise", "ReLU"), slope))


class ActivationOp(ElementwiseOp):
    """A layer without settings that Keras has as an activation of the same name."""

    backward_reads = BackwardReads.VALUE

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        self.mark_engine()
        return self.layer.type, {}

    def mark_engine(self) -> None:
        """The engine is how, not what, Caffe computes."""

    def lower(self, k: Lowering) -> None:
        self.mark_engine()
        k.output(k.add(keras_layer("Activation"), self.activation))


@layer_op("Sigmoid")
class Sigmoid(ActivationOp):
    """1 / (1 + exp(-x)) (sigmoid_layer.cpp)."""

    keras = "Activation"
    activation = "sigmoid"

    def mark_engine(self) -> None:
        self.layer.message.sigmoid_param.mark_read("engine")


@layer_op("TanH")
class TanH(ActivationOp):
    """tanh(x) (tanh_layer.cpp)."""

    keras = "Activation"
    activation = "tanh"

    def mark_engine(self) -> None:
        self.layer.message.tanh_param.mark_read("engine")


@layer_op("PReLU")
class PReLU(ElementwiseOp):
    """A learned slope below 0, one a channel or one for all (prelu_layer.cpp)."""

    keras = "caffe_runtime.elementwise.PReLU"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if len(bottom[0]) < 2:
            raise no_channel_axis(self.layer, bottom[0])
        return super().infer_shapes(bottom, data)

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        shared = self.layer.message.prelu_param.channel_shared
        return [() if shared else (bottom[0][1],)]

    def lower(self, k: Lowering) -> None:
        p, rank = self.layer.message.prelu_param, len(k.bottom[0])
        channel = k.keras_axis(1)
        shared = [a for a in range(1, rank) if a != channel or p.channel_shared]
        arguments: dict[str, Argument] = {"shared_axes": shared} if shared else {}
        if p.has("filler"):
            slope = initializer(p.filler, k.params[0], "prelu_param.filler")
            if slope != constant(0.25):
                arguments["alpha_initializer"] = slope
        k.output(
            k.add(
                runtime("elementwise", "PReLU"),
                weights=[k.weight("alpha", 0, self._steps(k, shared))],
                **arguments,
            )
        )

    def _steps(self, k: Lowering, shared: list[int]) -> Steps:
        """The slopes in Keras's shape: 1 along every shared axis."""
        layout, channels = k.in_layouts[0], k.bottom[0][1] or 0
        keras_shape = layout.keras_shape(k.bottom[0])
        shape = tuple(
            1 if a in shared else keras_shape[a] or 0 for a in range(1, layout.rank)
        )
        if layout.order and k.params[0]:
            return reorder_axis((channels,), 0, layout.order)
        return IDENTITY if shape == k.params[0] else (Reshape(shape),)


@layer_op("Power")
class Power(ElementwiseOp):
    """(shift + scale * x) ** power (power_layer.cpp)."""

    keras = "Rescaling, caffe_runtime.elementwise.Power"

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.power_param
        if p.power == 1 and p.scale == 1 and p.shift == 0:
            k.output(k.inputs[0])
        elif p.power == 1:
            offset: dict[str, Argument] = {"offset": p.shift} if p.shift else {}
            k.output(k.add(keras_layer("Rescaling"), p.scale, **offset))
        else:
            k.output(k.add(runtime("elementwise", "Power"), **self._settings()))

    def _settings(self) -> dict[str, Argument]:
        p = self.layer.message.power_param
        given = {"power": p.power, "scale": p.scale, "shift": p.shift}
        defaults = {"power": 1, "scale": 1, "shift": 0}
        return {n: v for n, v in given.items() if v != defaults[n]}

    @property
    def backward_reads(self) -> BackwardReads:
        p = self.layer.message.power_param
        if p.power * p.scale == 0:
            return BackwardReads.NOTHING
        if self.layer.in_place:
            return BackwardReads.ALWAYS
        return BackwardReads.NOTHING if p.power in (1, 2) else BackwardReads.VALUE

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        return "Power", self._settings()


@layer_op("Dropout")
class Dropout(ElementwiseOp):
    """Drops and scales up in TRAIN, does nothing in TEST (dropout_layer.cpp).

    Without `scale_train`, it only drops in TRAIN and scales down in TEST
    (rbgirshick/caffe-fast-rcnn, dropout_layer.cpp).
    """

    keras = "Dropout, Rescaling"
    keeps_sign = True

    @property
    def identity_in_test(self) -> bool:
        return bool(self.layer.message.dropout_param.scale_train)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        ratio = self.layer.message.dropout_param.dropout_ratio
        if not 0 < ratio < 1:
            raise OpError(
                "dropout-ratio",
                f"Caffe wants a dropout_ratio between 0 and 1, not {ratio:g}",
                field="dropout_param.dropout_ratio",
                help="it is the share that is dropped; to drop nothing, remove the layer",
            )
        return super().infer_shapes(bottom, data)

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.dropout_param
        tensor = k.add(keras_layer("Dropout"), p.dropout_ratio)
        if not p.scale_train:
            kept = shortest_float32(1 - p.dropout_ratio)
            tensor = k.add(
                keras_layer("Rescaling"), kept, inputs=[tensor], suffix="scale"
            )
        k.output(tensor)

    def in_place_step(self) -> tuple[str, dict[str, Argument]] | None:
        p = self.layer.message.dropout_param
        return ("Dropout", {"rate": p.dropout_ratio}) if p.scale_train else None


@layer_op("Eltwise")
class Eltwise(ElementwiseOp):
    """Sum, product or maximum of blobs of one shape (eltwise_layer.cpp)."""

    keras = "Add, Subtract, Multiply, caffe_runtime.elementwise"
    bottoms = at_least(2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        p, name = self.layer.message.eltwise_param, self.layer.name
        for index, shape in enumerate(bottom):
            if shape != bottom[0]:
                raise OpError(
                    "bottom-shapes",
                    f"layer `{name}` joins {bottom[0]} with {shape}; Eltwise does not "
                    "broadcast",
                    field="bottom",
                    index=index,
                    help="compare the strides, pads and num_output of the layers that write "
                    "the two",
                )
        if p.coeff and len(p.coeff) != len(bottom):
            raise OpError(
                "coeff-count",
                f"layer `{name}` has {len(p.coeff)} coeff for {len(bottom)} bottoms",
                field="eltwise_param.coeff",
                help="give one for each bottom, or none",
            )
        if p.coeff and p.operation == "PROD":
            raise OpError(
                "coeff-product",
                "Eltwise takes coeff only for summation",
                field="eltwise_param.coeff",
                help="remove it, or use operation: SUM",
            )
        return [bottom[0]]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        layout = given[0]
        if any(other != layout for other in given):
            layout = common_layout(given, form.spatial(len(bottom[0])))
        return LayoutPlan([layout] * len(given), [layout])

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.eltwise_param
        p.mark_read("stable_prod_grad")
        coeffs = list(p.coeff) if p.operation == "SUM" else []
        if p.operation == "PROD":
            k.output(k.add(keras_layer("Multiply")))
        elif p.operation == "MAX":
            k.output(k.add(runtime("elementwise", "Maximum")))
        elif all(c == 1 for c in coeffs):
            k.output(k.add(keras_layer("Add")))
        elif coeffs == [1, -1]:
            k.output(k.add(keras_layer("Subtract")))
        else:
            k.output(k.add(runtime("elementwise", "WeightedSum"), coeffs))
