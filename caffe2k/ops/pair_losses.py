"""Losses of the difference of two blobs: Euclidean, L1, smooth L1, contrastive."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Call, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import Count, DataShapes, LayoutPlan, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import PairOp, legacy_shape, product
from caffe2k.ops.registry import layer_op


class DifferenceOp(PairOp):
    """A loss of bottom 0 - bottom 1; further bottoms weigh it."""

    is_loss = True

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_batches(bottom)
        for index, other in enumerate(bottom):
            if product(other) != product(bottom[0]):
                raise OpError(
                    "bottom-shapes",
                    f"layer `{self.layer.name}` compares {bottom[0]} with {other}",
                    field="bottom",
                    index=index,
                    help="they need the same number of values",
                )
        return [()]


@layer_op("EuclideanLoss")
class EuclideanLoss(DifferenceOp):
    """Half the mean squared distance (euclidean_loss_layer.cpp)."""

    messages = ()
    keras = "caffe_runtime.losses.EuclideanLoss"

    def lower(self, k: Lowering) -> None:
        call = Call(runtime("losses", "EuclideanLoss"))
        k.loss(call, self.loss_weights[0], endpoint=self.moved(k))


@layer_op("L1Loss")
class L1Loss(DifferenceOp):
    """The mean absolute distance (NVIDIA/caffe, l1_loss_layer.cpp)."""

    messages = ()
    keras = "caffe_runtime.pair_losses.L1Loss"

    def lower(self, k: Lowering) -> None:
        call = Call(runtime("pair_losses", "L1Loss"))
        k.loss(call, self.loss_weights[0], endpoint=self.moved(k))


@layer_op("WeightedEuclideanLoss")
class WeightedEuclideanLoss(DifferenceOp):
    """Squared differences by weights, one each (linjieyangsc/densecap,
    weighted_euclidean_loss_layer.cpp)."""

    messages = ()
    keras = "caffe_runtime.pair_losses.WeightedEuclideanLoss"
    bottoms = exactly(3)

    def lower(self, k: Lowering) -> None:
        call = Call(runtime("pair_losses", "WeightedEuclideanLoss"))
        k.loss(call, self.loss_weights[0])


@layer_op("SmoothL1Loss")
class SmoothL1Loss(DifferenceOp):
    """Two bottoms; three with weights inside (SSD, Fast R-CNN); four with weights inside
    and outside (Faster R-CNN): smooth_L1_loss_layer.cpp of each. A second top is the loss
    of each place, summed over its channels (daijifeng001/caffe-rfcn)."""

    messages = ("loss_param", "smooth_l1_loss_param")
    keras = "caffe_runtime.pair_losses.SmoothL1Loss, caffe_runtime.ohem.SmoothL1Losses"
    bottoms = Count(2, 4)
    tops = Count(1, 2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        wanted = legacy_shape(bottom[0])[1:]
        for index, other in enumerate(bottom):
            if legacy_shape(other)[1:] != wanted:
                raise OpError(
                    "bottom-shapes",
                    f"layer `{self.layer.name}` compares {bottom[0]} with {other}",
                    field="bottom",
                    index=index,
                    help="all but the first size must be equal",
                )
        shapes = super().infer_shapes(bottom, data)
        if len(self.layer.tops) == 1:
            return shapes
        self.check_weights()
        if len(bottom) == 4:
            raise OpError(
                "top-count",
                f"layer `{self.layer.name}` has weights outside and a second top, which "
                "no Caffe has together",
                field="top",
                index=1,
                help="R-FCN's layer, with the loss of each place, takes 2 or 3 bottoms",
            )
        return [*shapes, (*bottom[0][:1], 1, *wanted[1:])]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        plan = super().layouts(given, bottom, top, form)
        if len(top) == 1:
            return plan
        inputs = plan.inputs
        if len(bottom[0]) != 4:
            inputs = [caffe_layout(len(shape)) for shape in bottom]
        losses = inputs[0] if len(bottom[0]) == 4 else caffe_layout(4)
        return LayoutPlan(inputs, [plan.outputs[0], losses])

    def lower(self, k: Lowering) -> None:
        if len(self.layer.tops) > 1:
            axis = k.keras_axis(1)
            last = axis == len(k.bottom[0]) - 1
            each = runtime("ohem", "SmoothL1Losses")
            axes: dict[str, Argument] = {} if last else {"axis": axis}
            k.output_one(1, k.add(each, suffix="each", **axes))
        arguments = self._normalization(k)
        # The forks whose layer takes three bottoms have no sigma.
        if len(k.bottom) != 3:
            sigma = self.layer.message.smooth_l1_loss_param.sigma
            if sigma != 1:
                arguments["sigma"] = sigma
        target = runtime("pair_losses", "SmoothL1Loss")
        call = Call(target, (), tuple(arguments.items()))
        k.loss(call, self.loss_weights[0], endpoint=self.moved(k))

    def _normalization(self, k: Lowering) -> dict[str, Argument]:
        """R-FCN's loss_param (daijifeng001/caffe-rfcn, get_normalizer); the batch, where
        there is none."""
        p = self.layer.message.loss_param
        if p.has("normalization"):
            chosen = str(p.normalization)
        elif p.has("normalize"):
            chosen = "VALID" if p.normalize else "BATCH_SIZE"
        else:
            return {}
        if chosen == "NONE":
            return {"normalization": "NONE"}
        if chosen == "PRE_FIXED":
            return {"normalization": p.pre_fixed_normalizer}
        if chosen == "BATCH_SIZE" or legacy_shape(k.bottom[0])[2:] == (1, 1):
            return {}
        places = (axis for axis in range(len(k.bottom[0])) if axis != 1)
        return {"outer_axes": tuple(sorted(map(k.keras_axis, places)))}


@layer_op("ContrastiveLoss")
class ContrastiveLoss(PairOp):
    """Similar pairs pulled together, others apart (contrastive_loss_layer.cpp)."""

    keras = "caffe_runtime.pair_losses.ContrastiveLoss"
    is_loss = True
    bottoms = exactly(3)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_batches(bottom)
        a, b, similar = map(legacy_shape, bottom)
        one_each = similar == (a[0], 1, 1, 1)
        if a != b or a[2:] != (1, 1) or not one_each:
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` takes two blobs (N, C) and one value for each "
                f"pair, not {bottom[0]}, {bottom[1]} and {bottom[2]}",
                field="bottom",
                help="1 for pairs that are alike, 0 for others",
            )
        return [()]

    def lower(self, k: Lowering) -> None:
        p, arguments = self.layer.message.contrastive_loss_param, dict[str, Argument]()
        if p.margin != 1:
            arguments["margin"] = p.margin
        if p.legacy_version:
            arguments["legacy_version"] = True
        target = runtime("pair_losses", "ContrastiveLoss")
        call = Call(target, (), tuple(arguments.items()))
        k.loss(call, self.loss_weights[0])
