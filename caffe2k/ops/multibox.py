"""MultiBoxLoss: the loss of a detector, which matches its priors with true boxes."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayoutPlan, exactly
from caffe2k.ops.detection import DetectorOp
from caffe2k.ops.losses import normalization_of
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op

_DEFAULTS: dict[str, Argument] = {
    "loc_loss_type": "SMOOTH_L1",
    "conf_loss_type": "SOFTMAX",
    "loc_weight": 1.0,
    "share_location": True,
    "match_type": "PER_PREDICTION",
    "overlap_threshold": 0.5,
    "use_prior_for_matching": True,
    "background_label_id": 0,
    "use_difficult_gt": True,
    "mining_type": "MAX_NEGATIVE",
    "neg_pos_ratio": 3.0,
    "neg_overlap": 0.5,
    "code_type": "CORNER",
    "encode_variance_in_target": False,
    "map_object_to_agnostic": False,
    "ignore_cross_boundary_bbox": False,
    "bp_inside": False,
    "sample_size": 64,
    "use_prior_for_nms": False,
}


@layer_op("MultiBoxLoss")
class MultiBoxLoss(DetectorOp):
    """Localisation and classification loss (weiliu89/caffe, multibox_loss_layer.cpp)."""

    messages = ("multibox_loss_param", "loss_param")
    keras = "caffe_runtime.multibox.MultiBoxLoss"
    path = "multibox_loss_param"
    bottoms = exactly(4)
    is_loss = True

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_num_classes()
        self._check_settings()
        self.check_predictions(bottom)
        self.check_rows(3, bottom[3], 8)
        return [()]

    def _check_settings(self) -> None:
        """LayerSetUp and EncodeConfPrediction."""
        p = self.layer.message.multibox_loss_param
        mines = p.mining_type != "NONE"
        if p.has("do_neg_mining") and p.do_neg_mining != mines:
            raise self.wrong(
                f"has do_neg_mining: {str(p.do_neg_mining).lower()} and mining_type: "
                f"{p.mining_type}",
                "do_neg_mining",
                "remove it: mining_type says all",
            )
        if mines and not p.share_location:
            raise self.wrong(
                "mines examples without share_location",
                "share_location",
                "say mining_type: NONE",
            )
        if p.mining_type == "HARD_EXAMPLE" and p.sample_size < 1:
            raise self.wrong(
                f"has sample_size: {p.sample_size}", "sample_size", "it is at least 1"
            )
        background = p.background_label_id
        if background >= p.num_classes and (mines or p.conf_loss_type == "SOFTMAX"):
            raise self.wrong(
                f"has background_label_id: {background} of {p.num_classes} classes",
                "background_label_id",
                "classes count from 0",
            )
        if p.map_object_to_agnostic and p.num_classes != 2:
            raise self.wrong(
                f"maps all objects to one class of {p.num_classes}",
                "map_object_to_agnostic",
                "it needs num_classes: 2, the background and the object",
            )

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        """The second axis of the truth is 1: it may lie anywhere."""
        inputs = [caffe_layout(len(shape)) for shape in bottom[:3]]
        return LayoutPlan([*inputs, form.boundary(4)], [caffe_layout(0)])

    def lower(self, k: Lowering) -> None:
        p, message = self.layer.message.multibox_loss_param, self.layer.message
        p.mark_read("do_neg_mining")
        arguments = self.changed(_DEFAULTS)
        # MineHardExamples looks at nms_param only with a threshold above 0.
        nms = p.nms_param
        if p.has("nms_param") and nms.nms_threshold > 0:
            arguments["nms_threshold"] = nms.nms_threshold
            if nms.top_k:
                arguments["nms_top_k"] = nms.top_k
        p.mark_read("nms_param")
        normalization = normalization_of(self.layer, "VALID")
        if normalization != "VALID":
            arguments["normalization"] = normalization
        counted = [*message.propagate_down, True, True]
        for name, counts in zip(
            ("with_locations", "with_confidences"), counted[:2], strict=True
        ):
            if not counts:
                arguments[name] = False
        if self.loss_weights[0] != 1:
            arguments["loss_weight"] = self.loss_weights[0]
        target = runtime("multibox", "MultiBoxLoss")
        k.output(k.add(target, p.num_classes, inputs=k.unstopped_inputs, **arguments))
