"""The settings of MultiBoxLoss, by Caffe's names."""

from dataclasses import dataclass

from . import bounding_boxes, per_sample

CHOICES = {
    "loc_loss_type": ("L2", "SMOOTH_L1"),
    "conf_loss_type": ("SOFTMAX", "LOGISTIC"),
    "match_type": ("BIPARTITE", "PER_PREDICTION"),
    "mining_type": ("NONE", "MAX_NEGATIVE", "HARD_EXAMPLE"),
    "code_type": bounding_boxes.CODE_TYPES,
    "normalization": per_sample.NORMALIZATIONS,
}


@dataclass(frozen=True)
class MultiBoxSettings:
    """What matches, what counts, and how the losses are made.

    num_classes: how many confidences each prior has.
    loc_loss_type: "L2" or "SMOOTH_L1".
    conf_loss_type: "SOFTMAX" or "LOGISTIC".
    loc_weight: the weight of the locations' loss.
    share_location: whether all classes share a prior's location; if not, there are
        locations for each class, and no mining.
    match_type: "PER_PREDICTION", or "BIPARTITE" to match one prior with each true box.
    overlap_threshold: how much further priors must overlap a true box to match it.
    use_prior_for_matching: whether the priors are compared with the true boxes; if not,
        the boxes that are predicted at them.
    background_label_id: the class of priors without a match.
    use_difficult_gt: whether difficult true boxes count.
    mining_type: which priors have a classification loss. "NONE": all. "MAX_NEGATIVE":
        those with a match, and `neg_pos_ratio` times as many without one, which have
        the largest loss. "HARD_EXAMPLE": of all the `sample_size` with the largest loss;
        the others lose their matches. In an image without true boxes mining finds none.
    neg_overlap: how little a prior without a match must overlap true boxes to be mined.
    code_type: what locations mean: "CORNER", "CENTER_SIZE" or "CORNER_SIZE".
    encode_variance_in_target: whether locations are not scaled by the variances.
    map_object_to_agnostic: whether all classes are learned as the one that follows the
        background.
    ignore_cross_boundary_bbox: whether boxes that cross the image's border match nothing.
    bp_inside: whether coordinates outside of the image have no loss.
    nms_threshold: where it is not None, mining leaves out boxes that overlap one with a
        larger loss more than this. nms_top_k: how many boxes it looks at.
        use_prior_for_nms: whether these boxes are the priors, not those predicted.
    normalization: what the loss is divided by: "VALID" the number of matches, "FULL" the
        number of priors in the batch, "BATCH_SIZE" the batch, "NONE" nothing.
    with_locations, with_confidences: whether these losses are a part of the sum.
    """

    num_classes: int
    loc_loss_type: str = "SMOOTH_L1"
    conf_loss_type: str = "SOFTMAX"
    loc_weight: float = 1.0
    share_location: bool = True
    match_type: str = "PER_PREDICTION"
    overlap_threshold: float = 0.5
    use_prior_for_matching: bool = True
    background_label_id: int = 0
    use_difficult_gt: bool = True
    mining_type: str = "MAX_NEGATIVE"
    neg_pos_ratio: float = 3.0
    neg_overlap: float = 0.5
    code_type: str = "CORNER"
    encode_variance_in_target: bool = False
    map_object_to_agnostic: bool = False
    ignore_cross_boundary_bbox: bool = False
    bp_inside: bool = False
    nms_threshold: float | None = None
    nms_top_k: int = 0
    sample_size: int = 64
    use_prior_for_nms: bool = False
    normalization: str = "VALID"
    with_locations: bool = True
    with_confidences: bool = True

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"`{name}` must be one of {choices}. "
                    f"Received: {getattr(self, name)}"
                )
        if self.mining_type != "NONE" and not self.share_location:
            raise ValueError("Mining needs share_location=True")
