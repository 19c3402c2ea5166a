"""Accuracy and SegAccuracy: how right a prediction is."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Call, runtime
from caffe2k.ir.net import Shape
from caffe2k.ops.base import Count, DataShapes
from caffe2k.ops.errors import OpError
from caffe2k.ops.losses import ClassAxisOp
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import PairOp, legacy_shape
from caffe2k.ops.registry import layer_op


@layer_op("Accuracy")
class Accuracy(ClassAxisOp):
    """The share of labels among the best `top_k` (accuracy_layer.cpp)."""

    keras = "caffe_runtime.metrics.Accuracy, PerClassAccuracy"
    is_metric = True
    tops = Count(1, 2)
    axis_field = "accuracy_param.axis"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_labels(bottom)
        classes = bottom[0][self.class_axis(bottom[0])] or 0
        top_k = self.layer.message.accuracy_param.top_k
        if top_k > classes:
            raise OpError(
                "top-k",
                f"`top_k` is {top_k}, but there are {classes} classes",
                field="accuracy_param.top_k",
                help=f"it is at most {classes}; of which blob are the scores read?",
            )
        shapes: list[Shape] = [(), (classes,)]
        return shapes[: len(self.layer.tops)]

    def lower(self, k: Lowering) -> None:
        p, arguments = self.layer.message.accuracy_param, self.axis_argument(k)
        if p.top_k != 1:
            arguments["top_k"] = p.top_k
        if p.has("ignore_label"):
            arguments["ignore_label"] = p.ignore_label
        if self.moved(k) or not k.can_measure:
            self._add_layers(k, arguments)
            return
        for i, top in enumerate(self.layer.tops):
            name = "Accuracy" if i == 0 else "PerClassAccuracy"
            args = () if i == 0 else (k.top[1][0],)
            kwargs = dict(arguments)
            if top.name != "accuracy":
                kwargs["name"] = top.name
            k.metric(Call(runtime("metrics", name), args, tuple(kwargs.items())), i)

    def _add_layers(self, k: Lowering, arguments: dict[str, Argument]) -> None:
        """Where compile() can't measure: layers, whose outputs are the tops."""
        target = runtime("metrics", "BatchAccuracy")
        k.output_one(0, k.add(target, **arguments))
        if len(self.layer.tops) == 2:
            by_class = k.add(target, suffix="per_class", per_class=True, **arguments)
            k.output_one(1, by_class)


@layer_op("SegAccuracy")
class SegAccuracy(PairOp):
    """Pixel accuracy, mean recall and mean Jaccard index (hszhao/PSPNet,
    seg_accuracy_layer.cpp)."""

    keras = "caffe_runtime.segmentation.SegAccuracy, BatchSegAccuracy"
    is_metric = True

    def compared(self, bottom: Sequence[Shape]) -> list[Shape]:
        return [(*bottom[0][:1], 1, *bottom[0][2:]), bottom[1]]

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        scores, labels = map(legacy_shape, bottom)
        if labels != (scores[0], 1, *scores[2:]) or len(bottom[0]) < 2:
            raise OpError(
                "label-count",
                f"layer `{self.layer.name}` needs one label for each pixel of "
                f"{bottom[0]}, not {bottom[1]}",
                field="bottom",
                index=1,
                help="labels have the shape (N, 1, H, W)",
            )
        return [(1, 1, 1, 3)]

    def lower(self, k: Lowering) -> None:
        p, arguments = self.layer.message.seg_accuracy_param, dict[str, Argument]()
        # Caffe's layer never reads `metric`: it gives all three.
        p.mark_read("metric")
        axis = k.keras_axis(1)
        if axis != len(k.bottom[0]) - 1:
            arguments["axis"] = axis
        if p.ignore_label:
            arguments["ignore_labels"] = tuple(p.ignore_label)
        if p.reset and (self.moved(k) or not k.can_measure):
            self._add_layer(k, arguments)
            return
        if not p.reset:
            arguments["reset"] = False
        top = self.layer.tops[0]
        if top.name != "seg_accuracy":
            arguments["name"] = top.name
        classes = (k.bottom[0][1],)
        target = runtime("segmentation", "SegAccuracy")
        k.metric(Call(target, classes, tuple(arguments.items())))

    def _add_layer(self, k: Lowering, arguments: dict[str, Argument]) -> None:
        """Where compile() can't measure: a layer, whose output is the top."""
        shape = k.out_layouts[0].keras_shape(k.top[0])[1:]
        if shape != (1, 3, 1):
            arguments["measures_shape"] = shape
        k.output(k.add(runtime("segmentation", "BatchSegAccuracy"), **arguments))
