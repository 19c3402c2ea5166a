"""Losses of one label for each sample: HingeLoss, MultinomialLogisticLoss, triplets."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Call, runtime
from caffe2k.ir.net import Shape
from caffe2k.ops.base import Count, DataShapes
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import PairOp, legacy_shape
from caffe2k.ops.registry import layer_op


class ClassLossOp(PairOp):
    """A loss whose classes are all values of a sample."""

    is_loss = True

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_one_label(bottom)
        self.check_weights()
        return [()]

    def add_loss(self, k: Lowering, name: str, **arguments: Argument) -> None:
        """The loss of runtime/class_losses.py."""
        target = runtime("class_losses", name)
        call = Call(target, (), tuple(arguments.items()))
        k.loss(call, self.loss_weights[0], endpoint=self.moved(k))


@layer_op("HingeLoss")
class HingeLoss(ClassLossOp):
    """One-versus-all hinge loss, L1 or L2 (hinge_loss_layer.cpp)."""

    keras = "caffe_runtime.class_losses.HingeLoss"

    def lower(self, k: Lowering) -> None:
        norm = str(self.layer.message.hinge_loss_param.norm)
        self.add_loss(k, "HingeLoss", **({} if norm == "L1" else {"norm": norm}))


@layer_op("MultinomialLogisticLoss")
class MultinomialLogisticLoss(ClassLossOp):
    """Minus the log of the label's probability (multinomial_logistic_loss_layer.cpp)."""

    messages = ()
    keras = "caffe_runtime.class_losses.MultinomialLogisticLoss"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        legacy_shape(bottom[1])
        return super().infer_shapes(bottom, data)

    def lower(self, k: Lowering) -> None:
        self.add_loss(k, "MultinomialLogisticLoss")


@layer_op("GeneralTripletLoss")
class GeneralTripletLoss(ClassLossOp):
    """Hinges between distances to classes (happynear/caffe-windows,
    general_triplet_loss_layer.cpp)."""

    keras = "caffe_runtime.class_losses.GeneralTripletLoss"
    tops = Count(1, 2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        shapes: list[Shape] = [*super().infer_shapes(bottom, data), (2,)]
        return shapes[: len(self.layer.tops)]

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.general_triplet_loss_param
        given = {
            "margin": (p.margin, 0.2),
            "add_center_loss": (p.add_center_loss, True),
            "hardest_only": (p.hardest_only, False),
            "positive_first": (p.positive_first, False),
            "positive_upper_bound": (p.positive_upper_bound, 1.0),
            "positive_weight": (p.positive_weight, 1.0),
            "negative_weight": (p.negative_weight, 1.0),
        }
        changed = {
            name: value for name, (value, usual) in given.items() if value != usual
        }
        if len(self.layer.tops) == 2:
            target = runtime("class_losses", "TripletDistances")
            k.output_one(1, k.add(target, inputs=k.inputs, suffix="distances"))
        self.add_loss(k, "GeneralTripletLoss", **changed)
