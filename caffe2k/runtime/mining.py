"""Which priors of a detector the loss looks at: SSD's mining of hard examples."""

import numpy as np
from keras import ops

from . import bounding_boxes

SMALLEST_AREA = 1e-5


def mine(matches, overlaps, usable, barred, losses, boxes, settings):
    """Returns the matches that are left, and which priors count as background.

    SSD's Caffe: util/bbox_util.cpp, MineHardExamples.

    Args:
        matches: (batch, priors), -1 for none.
        overlaps: (batch, priors), the largest one with a true box.
        usable: (batch, 1), whether an image has true boxes.
        barred: (batch or 1, priors), those that match nothing as they cross the border.
        losses: (batch, priors).
        boxes: (batch or 1, priors, 4), among which nms_threshold looks for neighbours.
        settings: MultiBoxSettings, mining_type not NONE.
    """
    s = settings
    found = matches >= 0
    free = ops.logical_and(ops.logical_not(ops.logical_or(found, barred)), usable)
    if s.mining_type == "MAX_NEGATIVE":
        eligible = ops.logical_and(free, overlaps < s.neg_overlap)
        positives = ops.sum(ops.cast(found, "float32"), axis=1, keepdims=True)
        number = ops.cast(positives * s.neg_pos_ratio, "int32")
    else:
        eligible, number = ops.logical_or(free, usable), s.sample_size
    order = bounding_boxes.best_first(ops.where(eligible, losses, -np.inf))
    place = ops.argsort(order, axis=1)
    if s.nms_threshold is None:
        chosen = ops.logical_and(eligible, place < number)
    else:
        chosen = _chosen_apart(boxes, eligible, order, place, number, s)
    if s.mining_type == "HARD_EXAMPLE":
        matches = ops.where(chosen, matches, -1)
    return matches, ops.logical_and(chosen, free)


def _chosen_apart(boxes, eligible, order, place, number, settings):
    """Returns the first `number` priors in `order` that are no neighbours of another."""
    most = order.shape[1]
    if settings.nms_top_k > -1:
        most = min(most, settings.nms_top_k)
    if most == 0:
        return ops.zeros_like(eligible)
    order = order[:, :most]
    boxes = ops.broadcast_to(boxes, (ops.shape(order)[0], *boxes.shape[1:]))
    boxes = ops.take_along_axis(boxes, order[:, :, None], axis=1)
    valid = ops.logical_and(
        ops.take_along_axis(eligible, order, axis=1),
        bounding_boxes.area(boxes) >= SMALLEST_AREA,
    )
    kept = bounding_boxes.suppress(boxes, valid, settings.nms_threshold)
    kept = ops.logical_and(kept, ops.cumsum(ops.cast(kept, "int32"), axis=1) <= number)
    kept = ops.take_along_axis(kept, ops.minimum(place, most - 1), axis=1)
    return ops.logical_and(kept, place < most)
