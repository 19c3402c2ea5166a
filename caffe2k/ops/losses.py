"""SoftmaxWithLoss, SigmoidCrossEntropyLoss, InfogainLoss, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Call, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import Count, DataShapes, LayoutPlan
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import PairOp, meet, product
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within


def normalization_of(layer: Layer, default: str) -> str:
    """What a loss is divided by; `normalize` was upgraded (prototxt/deprecated)."""
    p = layer.message.loss_param
    if not p.has("normalization"):
        return default
    chosen = str(p.normalization)
    if chosen == "PRE_FIXED":
        raise OpError(
            "normalization",
            f"{layer.type} knows no normalization PRE_FIXED",
            field="loss_param.normalization",
            help="it is one of FULL, VALID, BATCH_SIZE, NONE",
        )
    return chosen


class NormalizedLossOp(PairOp):
    """A loss that reads loss_param."""

    is_loss = True

    def normalization(self, default: str) -> str:
        """What the loss is divided by."""
        return normalization_of(self.layer, default)

    def loss_arguments(self, default: str) -> dict[str, Argument]:
        """`ignore_label` and `normalization`, where they are not the default."""
        p, found = self.layer.message.loss_param, dict[str, Argument]()
        if p.has("ignore_label"):
            found["ignore_label"] = p.ignore_label
        normalization = self.normalization(default)
        if normalization != default:
            found["normalization"] = normalization
        return found


class ClassAxisOp(PairOp):
    """An op over scores along a class axis, and one label for each position beside it."""

    axis_field = ""
    """The dotted path of the class axis."""

    def class_axis(self, bottom: Shape) -> int:
        """The class axis, from the start."""
        message, _, field = self.axis_field.partition(".")
        given = getattr(getattr(self.layer.message, message), field)
        axis = axis_within(given, bottom, self.layer, self.axis_field)
        if axis == 0:
            raise OpError(
                "class-axis",
                f"layer `{self.layer.name}` has its classes along axis 0, the batch",
                field=self.axis_field,
                help="without it, the classes lie along axis 1",
            )
        return axis

    def compared(self, bottom: Sequence[Shape]) -> list[Shape]:
        axis = self.class_axis(bottom[0])
        return [(*bottom[0][:axis], 1, *bottom[0][axis + 1 :]), bottom[1]]

    def check_labels(self, bottom: Sequence[Shape]) -> None:
        """One label for each position around the class axis."""
        self.check_batches(bottom)
        positions, labels = self.compared(bottom)
        if product(positions) != product(labels):
            raise OpError(
                "label-count",
                f"layer `{self.layer.name}` needs {product(positions)} labels for a "
                f"prediction of shape {bottom[0]}, not {labels}",
                field="bottom",
                index=1,
                help="a label is the number of a class, one for each position",
            )

    def axis_argument(self, k: Lowering) -> dict[str, Argument]:
        """`axis`, where it is not the last."""
        axis = k.keras_axis(self.class_axis(k.bottom[0]))
        return {} if axis == len(k.bottom[0]) - 1 else {"axis": axis}


class SoftmaxLossOp(ClassAxisOp, NormalizedLossOp):
    """A loss of the softmax, which is its second top."""

    tops = Count(1, 2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_labels(bottom)
        self.check_weights()
        return [(), bottom[0]][: len(self.layer.tops)]

    def softmax_arguments(self, k: Lowering) -> dict[str, Argument]:
        """The class axis, loss_param, and the axes that BATCH_SIZE multiplies."""
        arguments = self.axis_argument(k) | self.loss_arguments("VALID")
        axis = self.class_axis(k.bottom[0])
        if arguments.get("normalization") == "BATCH_SIZE" and axis != 1:
            arguments["outer_axes"] = tuple(sorted(map(k.keras_axis, range(axis))))
        return arguments

    def add_softmax(self, k: Lowering) -> None:
        """The second top; Caffe sends no gradient through it."""
        if len(self.layer.tops) > 1:
            scores = k.add(
                runtime("gradients", "StopGradient"),
                inputs=k.inputs[:1],
                suffix="fixed",
            )
            softmax = k.add(
                keras_layer("Softmax"),
                inputs=[scores],
                suffix="softmax",
                **self.axis_argument(k),
            )
            k.output_one(1, softmax)


@layer_op("SoftmaxWithLoss")
class SoftmaxWithLoss(SoftmaxLossOp):
    """Multinomial logistic loss of the softmax (softmax_loss_layer.cpp).

    A third top is the loss of each label (daijifeng001/caffe-rfcn,
    softmax_loss_layer.cpp).
    """

    messages = ("loss_param", "softmax_param")
    keras = "caffe_runtime.losses.SoftmaxWithLoss, caffe_runtime.ohem.SoftmaxLosses"
    axis_field = "softmax_param.axis"
    tops = Count(1, 3)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        shapes = super().infer_shapes(bottom, data)
        self._class_weights(bottom[0])
        return [*shapes, bottom[1]][: len(self.layer.tops)]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        plan = super().layouts(given, bottom, top, form)
        return LayoutPlan(
            plan.inputs, [*plan.outputs[:2], *plan.inputs[1:]][: len(top)]
        )

    def _class_weights(self, bottom: Shape) -> dict[str, Argument]:
        """SegNet's class_weighting (its softmax_loss_layer.cpp, LayerSetUp)."""
        p = self.layer.message.loss_param
        weights = tuple(p.class_weighting)
        if not p.weight_by_label_freqs:
            return {}
        if len(weights) != bottom[self.class_axis(bottom)]:
            raise OpError(
                "class-weights",
                f"layer `{self.layer.name}` has {len(weights)} class_weighting for a "
                f"prediction of shape {bottom}",
                field="loss_param.class_weighting",
                help="give one for each class",
            )
        return {"class_weights": weights}

    def lower(self, k: Lowering) -> None:
        self.layer.message.softmax_param.mark_read("engine")
        arguments = self.softmax_arguments(k) | self._class_weights(k.bottom[0])
        call = Call(runtime("losses", "SoftmaxWithLoss"), (), tuple(arguments.items()))
        self.add_softmax(k)
        if len(self.layer.tops) > 2:
            self._add_losses(k)
        k.loss(call, self.loss_weights[0], endpoint=self.moved(k))

    def _add_losses(self, k: Lowering) -> None:
        arguments, p = self.axis_argument(k), self.layer.message.loss_param
        if p.has("ignore_label"):
            arguments["ignore_label"] = p.ignore_label
        target = runtime("ohem", "SoftmaxLosses")
        k.output_one(2, k.add(target, suffix="each", **arguments))


@layer_op("InfogainLoss")
class InfogainLoss(SoftmaxLossOp):
    """Softmax loss, each mistake by a matrix's weight (infogain_loss_layer.cpp)."""

    messages = ("infogain_loss_param", "loss_param", "softmax_param")
    ignores = ("softmax_param.axis",)
    keras = "caffe_runtime.infogain.InfogainLoss"
    axis_field = "infogain_loss_param.axis"
    bottoms = Count(2, 3)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        p = self.layer.message.infogain_loss_param
        if self.layer.message.loss_param.has("normalize"):
            raise OpError(
                "deprecated-normalize",
                "InfogainLoss does not take `normalize`",
                field="loss_param.normalize",
                help="say normalization: VALID or BATCH_SIZE",
            )
        if len(bottom) == 2 and not p.has("source"):
            raise OpError(
                "infogain-matrix",
                f"layer `{self.layer.name}` has no matrix",
                field="infogain_loss_param",
                help="name its file as `source`, or add a third bottom",
            )
        shapes = super().infer_shapes(bottom, data)
        if len(bottom) == 3:
            self._check_matrix(product(bottom[2]), bottom[0])
        return shapes

    def _check_matrix(self, count: int, bottom: Shape) -> int:
        """InfogainLossLayer::Reshape: as many rows and columns as classes."""
        classes = bottom[self.class_axis(bottom)] or 0
        if count != classes**2:
            raise OpError(
                "infogain-matrix",
                f"layer `{self.layer.name}` has {classes} classes, but {count} values "
                "in its matrix",
                field="infogain_loss_param.source",
                help=f"it must have {classes} rows of {classes} values",
            )
        return classes

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        plan = super().layouts(given, bottom[:2], top, form)
        for matrix in bottom[2:]:
            as_it_enters = form.boundary(len(matrix))
            in_rows = meet([matrix], [as_it_enters])
            plan.inputs.append(as_it_enters if in_rows else caffe_layout(len(matrix)))
        return plan

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.infogain_loss_param
        source: tuple[Argument, ...] = ()
        if len(k.bottom) == 2:
            source = (self._port_matrix(k, p.source),)
        else:
            p.mark_read("source")
        arguments = self.softmax_arguments(k)
        target = runtime("infogain", "InfogainLoss")
        self.add_softmax(k)
        call = Call(target, source, tuple(arguments.items()))
        k.loss(call, self.loss_weights[0], endpoint=self.moved(k))

    def _port_matrix(self, k: Lowering, source: str) -> str:
        """The name of the matrix's .npy file beside model.py."""
        from caffe2k.weights.caffemodel import read_binaryproto
        from caffe2k.weights.errors import WeightsError

        field = "infogain_loss_param.source"
        path = k.find_file(source)
        if path is None:
            raise OpError(
                "infogain-matrix",
                f"the matrix `{source}` of layer `{self.layer.name}` is not there",
                field=field,
                help="paths are looked up in the net's folder, the folders above it, and "
                "the working directory",
            )
        try:
            matrix = read_binaryproto(path)
        except WeightsError as e:
            (problem,) = e.diagnostics
            raise OpError(
                problem.code, problem.message, field=field, help=problem.help
            ) from None
        classes = self._check_matrix(matrix.size, k.bottom[0])
        return k.add_array("infogain", matrix.reshape(classes, classes))


@layer_op("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(NormalizedLossOp):
    """Logistic loss of every value (sigmoid_cross_entropy_loss_layer.cpp)."""

    messages = ("loss_param",)
    keras = "caffe_runtime.losses.SigmoidCrossEntropyLoss"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_batches(bottom)
        if product(bottom[0]) != product(bottom[1]):
            raise OpError(
                "label-count",
                f"layer `{self.layer.name}` needs a target for each of {bottom[0]} values, "
                f"not {bottom[1]}",
                field="bottom",
                index=1,
                help="give it as many targets as predictions",
            )
        return [()]

    def lower(self, k: Lowering) -> None:
        arguments = self.loss_arguments("BATCH_SIZE")
        target = runtime("losses", "SigmoidCrossEntropyLoss")
        call = Call(target, (), tuple(arguments.items()))
        k.loss(call, self.loss_weights[0], endpoint=self.moved(k))
