"""SoftmaxWithLoss, SigmoidCrossEntropyLoss, EuclideanLoss and Accuracy."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Call, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import Count, DataShapes, LayerOp, LayoutPlan, OpError, exactly
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within


def _values(shape: Shape) -> list[int]:
    """The sizes that count: neither 1 nor unknown."""
    return [d for d in shape if d is not None and d != 1]


def _product(shape: Shape) -> int:
    product = 1
    for dim in shape:
        product *= 1 if dim is None else dim
    return product


class PairOp(LayerOp):
    """An op over (prediction, label), in the layouts that leave and enter the model."""

    bottoms = exactly(2)

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return LayoutPlan(
            [form.boundary(len(s)) for s in bottom],
            [form.boundary(len(s)) for s in top],
        )

    def check_labels(self, bottom: Sequence[Shape], axis: int) -> None:
        """One label for each position around the class axis."""
        around = (*bottom[0][:axis], *bottom[0][axis + 1 :])
        if _product(around) != _product(bottom[1]):
            raise OpError(
                "label-count",
                f"layer `{self.layer.name}` needs {around} labels for a prediction of "
                f"shape {bottom[0]}, not {bottom[1]}",
                field="bottom",
            )

    def normalization(self, default: str) -> str:
        """What the loss is divided by (LossLayer::LayerSetUp, loss_layer.cpp)."""
        p = self.layer.message.loss_param
        return str(p.normalization) if p.has("normalization") else default

    def loss_arguments(self, default: str) -> dict[str, Argument]:
        """`ignore_label` and `normalization`, where they are not the default."""
        p, found = self.layer.message.loss_param, dict[str, Argument]()
        if p.has("ignore_label"):
            found["ignore_label"] = p.ignore_label
        normalization = self.normalization(default)
        if normalization != default:
            found["normalization"] = normalization
        return found


@layer_op("SoftmaxWithLoss")
class SoftmaxWithLoss(PairOp):
    """Multinomial logistic loss of the softmax (softmax_loss_layer.cpp)."""

    keras = "caffe_runtime.losses.SoftmaxWithLoss"
    is_loss = True
    tops = Count(1, 2)

    def _axis(self, bottom: Shape) -> int:
        axis = self.layer.message.softmax_param.axis
        return axis_within(axis, bottom, self.layer, "softmax_param.axis")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_labels(bottom, self._axis(bottom[0]))
        return [(), bottom[0]][: len(self.layer.tops)]

    def lower(self, k: Lowering) -> None:
        self.layer.message.softmax_param.mark_read("engine")
        caffe_axis = self._axis(k.bottom[0])
        axis = k.keras_axis(caffe_axis)
        last = axis == len(k.bottom[0]) - 1
        arguments: dict[str, Argument] = {} if last else {"axis": axis}
        arguments |= self.loss_arguments("VALID")
        if arguments.get("normalization") == "BATCH_SIZE" and caffe_axis != 1:
            outer = tuple(sorted(k.keras_axis(a) for a in range(caffe_axis)))
            arguments["outer_axes"] = outer
        call = Call(runtime("losses", "SoftmaxWithLoss"), (), tuple(arguments.items()))
        if len(self.layer.tops) == 2:
            where: dict[str, Argument] = {} if last else {"axis": axis}
            softmax = k.add(
                keras_layer("Softmax"), inputs=k.inputs[:1], suffix="softmax", **where
            )
            k.output_one(1, softmax)
        k.loss(call, self.loss_weights[0])


@layer_op("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(PairOp):
    """Logistic loss of every value (sigmoid_cross_entropy_loss_layer.cpp)."""

    keras = "caffe_runtime.losses.SigmoidCrossEntropyLoss"
    is_loss = True
    tops = Count(1, 2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if _product(bottom[0]) != _product(bottom[1]):
            raise OpError(
                "label-count",
                f"layer `{self.layer.name}` needs a target for each of {bottom[0]} values, "
                f"not {bottom[1]}",
                field="bottom",
            )
        return [(), bottom[0]][: len(self.layer.tops)]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return _paired(bottom, top, form)

    def lower(self, k: Lowering) -> None:
        arguments = self.loss_arguments("BATCH_SIZE")
        call = Call(
            runtime("losses", "SigmoidCrossEntropyLoss"), (), tuple(arguments.items())
        )
        if len(self.layer.tops) == 2:
            sigmoid = keras_layer("Activation")
            k.output_one(
                1, k.add(sigmoid, "sigmoid", inputs=k.inputs[:1], suffix="sigmoid")
            )
        k.loss(call, self.loss_weights[0], endpoint=_differ(k))


@layer_op("EuclideanLoss")
class EuclideanLoss(PairOp):
    """Half the mean squared distance (euclidean_loss_layer.cpp)."""

    keras = "caffe_runtime.losses.EuclideanLoss"
    is_loss = True

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if bottom[0][:1] != bottom[1][:1] or _product(bottom[0]) != _product(bottom[1]):
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` compares {bottom[0]} with {bottom[1]}",
                field="bottom",
            )
        return [()]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return _paired(bottom, top, form)

    def lower(self, k: Lowering) -> None:
        self.layer.message.loss_param.mark_read("normalization", "normalize")
        call = Call(runtime("losses", "EuclideanLoss"))
        k.loss(call, self.loss_weights[0], endpoint=_differ(k))


def _paired(
    bottom: Sequence[Shape], top: Sequence[Shape], form: DataFormat
) -> LayoutPlan:
    """Value by value: both in the model's layout, or in Caffe's where shapes differ."""
    outputs = [form.boundary(len(s)) for s in top]
    if _values(bottom[0]) == _values(bottom[1]) and len(bottom[0]) == len(bottom[1]):
        return LayoutPlan([form.boundary(len(s)) for s in bottom], outputs)
    return LayoutPlan([caffe_layout(len(s)) for s in bottom], outputs)


def _differ(k: Lowering) -> bool:
    """Whether prediction and target had to be brought into Caffe's order first."""
    return any(given != k.form.boundary(given.rank) for given in k.in_layouts)


@layer_op("Accuracy")
class Accuracy(PairOp):
    """The share of labels among the best `top_k` (accuracy_layer.cpp)."""

    keras = "caffe_runtime.metrics.Accuracy, PerClassAccuracy"
    is_metric = True
    tops = Count(1, 2)

    def _axis(self, bottom: Shape) -> int:
        axis = self.layer.message.accuracy_param.axis
        return axis_within(axis, bottom, self.layer, "accuracy_param.axis")

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        axis = self._axis(bottom[0])
        self.check_labels(bottom, axis)
        classes, top_k = bottom[0][axis] or 0, self.layer.message.accuracy_param.top_k
        if top_k > classes:
            raise OpError(
                "top-k",
                f"`top_k` is {top_k}, but there are {classes} classes",
                field="accuracy_param.top_k",
            )
        shapes: list[Shape] = [(), (classes,)]
        return shapes[: len(self.layer.tops)]

    def lower(self, k: Lowering) -> None:
        p, found = self.layer.message.accuracy_param, dict[str, Argument]()
        axis = k.keras_axis(self._axis(k.bottom[0]))
        if axis != len(k.bottom[0]) - 1:
            found["axis"] = axis
        if p.top_k != 1:
            found["top_k"] = p.top_k
        if p.has("ignore_label"):
            found["ignore_label"] = p.ignore_label
        for i, top in enumerate(self.layer.tops):
            name = "Accuracy" if i == 0 else "PerClassAccuracy"
            args = () if i == 0 else (k.top[1][0],)
            kwargs = dict(found)
            if top.name != "accuracy":
                kwargs["name"] = top.name
            k.metric(Call(runtime("metrics", name), args, tuple(kwargs.items())), i)
