"""CenterLoss, a loss with a parameter: the centre of every class."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes
from caffe2k.ops.errors import OpError
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pairing import PairOp, legacy_shape, product
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within


@layer_op("CenterLoss")
class CenterLoss(PairOp):
    """The distance to the label's centre (ydwen/caffe-face, center_loss_layer.cpp)."""

    keras = "caffe_runtime.center_loss.CenterLoss"
    is_loss = True

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_one_label(bottom)
        legacy_shape(bottom[1])
        p = self.layer.message.center_loss_param
        field = "center_loss_param.axis"
        axis = axis_within(p.axis, bottom[0], self.layer, field)
        if product(bottom[0][axis:]) * (bottom[0][0] or 1) != product(bottom[0]):
            raise OpError(
                "center-axis",
                f"axis {axis} leaves values of {bottom[0]} without a centre",
                field=field,
                help="take axis 1, so that all values of a sample are compared",
            )
        return [()]

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        p = self.layer.message.center_loss_param
        return [(p.num_output, product(bottom[0][1:]))]

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.center_loss_param
        arguments: dict[str, Argument] = {}
        if p.distance_type not in ("L1", "L2"):
            raise OpError(
                "distance-type",
                "distance_type must be L1 or L2",
                field="center_loss_param.distance_type",
                help="without it, it is L2",
            )
        if p.distance_type == "L1":
            arguments["distance_type"] = "L1"
        if self.loss_weights[0] != 1:
            arguments["loss_weight"] = self.loss_weights[0]
        filler = initializer(
            p.center_filler, k.params[0], "center_loss_param.center_filler"
        )
        if filler != "zeros":
            arguments["center_initializer"] = filler
        loss = k.add(
            runtime("center_loss", "CenterLoss"),
            p.num_output,
            weights=[k.weight("centers", 0)],
            **arguments,
        )
        k.output(loss)
