"""Which true box each prior of a detector stands for: SSD's matching."""

from dataclasses import dataclass
from typing import Any

from keras import ops

from . import bounding_boxes

SMALLEST_OVERLAP = 1e-6


@dataclass(frozen=True)
class Truth:
    """The true boxes of a batch, one after the other.

    boxes (number, 4); image, label (number,): whose they are and of what class; used
    (number,): the others are of no image of the batch, or too difficult.
    """

    boxes: Any
    image: Any
    label: Any
    used: Any


def read_truth(rows, batch, use_difficult):
    """Returns the Truth in rows (image, class, -, xmin, ymin, xmax, ymax, difficult).

    SSD's Caffe: util/bbox_util.cpp, GetGroundTruth.
    """
    rows = ops.reshape(rows, (-1, 8))
    image = ops.cast(rows[:, 0], "int32")
    used = ops.logical_and(image >= 0, image < batch)
    if not use_difficult:
        used = ops.logical_and(used, rows[:, 7] == 0)
    return Truth(rows[:, 3:7], image, ops.cast(rows[:, 1], "int32"), used)


def find_matches(truth, priors, predicted, settings):
    """Returns which true box each location is matched with, and how well priors fit.

    The first is the number of a true box, or -1, in the shape of the boxes that are
    `predicted`: (batch, classes, priors), with one class where they share locations. The
    second, (batch, priors), is the largest overlap with a true box of the image; without
    shared locations it has no meaning. SSD's Caffe: util/bbox_util.cpp, FindMatches.
    """
    s = settings
    batch, classes, number, _ = ops.shape(predicted)
    apart = not s.share_location and not s.use_prior_for_matching
    group, groups, used = truth.image, batch, truth.used
    if apart:
        group, groups = group * classes + truth.label, batch * classes
        used = ops.logical_and(used, _is_object(truth.label, s))
    group = ops.where(used, group, groups)
    if s.use_prior_for_matching:
        candidates = priors[None]
    else:
        boxes = ops.reshape(predicted, (-1, number, 4))
        candidates = ops.take(boxes, ops.minimum(group, groups - 1), axis=0)
    overlaps = bounding_boxes.overlap(truth.boxes[:, None], candidates)
    counts = ops.logical_and(used[:, None], overlaps > SMALLEST_OVERLAP)
    if s.ignore_cross_boundary_bbox:
        inside = ops.logical_not(bounding_boxes.crosses_border(candidates))
        counts = ops.logical_and(counts, inside)
    overlaps = ops.where(counts, overlaps, 0.0)
    threshold = None if s.match_type == "BIPARTITE" else s.overlap_threshold
    matches, best = match(overlaps, group, groups, threshold)
    if apart:
        return ops.reshape(matches, (batch, classes, number)), best
    matches = matches[:, None]
    if not s.share_location:
        label = ops.take(truth.label, ops.maximum(matches, 0), axis=0)
        own = label == ops.arange(classes, dtype="int32")[:, None]
        own = ops.logical_and(own, _is_object(label, s))
        matches = ops.where(own, matches, -1)
    return matches, best


def _is_object(label, settings):
    known = ops.logical_and(label >= 0, label < settings.num_classes)
    return ops.logical_and(known, label != settings.background_label_id)


def match(overlaps, group, groups, threshold):
    """Returns which true box each candidate is matched with, and its best overlap.

    Both are (groups, candidates): the number of a true box or -1, and the largest
    overlap with any true box of the group. First each true box gets the candidate that
    overlaps it most, the largest overlap of a group first; then each candidate that is
    left gets the true box that overlaps it most, if by at least `threshold`. Of equals
    the first wins. SSD's Caffe: util/bbox_util.cpp, MatchBBox.

    Args:
        overlaps: (true boxes, candidates), 0 where they can't be matched.
        group: (true boxes,) which candidates a true box belongs to; `groups` for none.
        groups: how many groups there are.
        threshold: None to leave the second step out.
    """
    best = _largest(overlaps, group, groups)
    matches = _one_to_one(overlaps, group, groups)
    if threshold is not None:
        its_best = ops.take(best, ops.minimum(group, groups - 1), axis=0)
        good = ops.logical_and(overlaps >= its_best, overlaps >= threshold)
        good = ops.logical_and(good, overlaps > 0)
        count = ops.shape(overlaps)[0]
        # The first true box is the one with the most from it on.
        left = ops.cast(count - ops.arange(count, dtype="int32"), overlaps.dtype)
        left = _largest(ops.where(good, left[:, None], 0.0), group, groups)
        first = count - ops.cast(left, "int32")
        found = ops.logical_and(matches < 0, first < count)
        matches = ops.where(found, first, matches)
    return matches, best


def _largest(values, group, groups):
    """Returns the largest value of each group, 0 where there is none above."""
    return ops.maximum(ops.segment_max(values, group, groups + 1)[:-1], 0.0)


def _one_to_one(overlaps, group, groups):
    """Returns the matches (groups, candidates) of the first step."""
    count, candidates = ops.shape(overlaps)
    numbers = ops.arange(count, dtype="int32")
    places = ops.arange(candidates, dtype="int32")
    mine = group == ops.arange(groups, dtype="int32")[:, None]

    def step(matches, waiting, _):
        taken = ops.take(matches >= 0, ops.minimum(group, groups - 1), axis=0)
        is_open = ops.logical_and(waiting[:, None], ops.logical_not(taken))
        best, place = bounding_boxes.first_maximum(ops.where(is_open, overlaps, 0.0))
        best = ops.where(mine, best, 0.0)
        top = ops.max(best, axis=1, keepdims=True)
        ties = ops.logical_and(best == top, top > 0)
        first = ops.min(ops.where(ties, place, candidates), axis=1, keepdims=True)
        ties = ops.logical_and(ties, place == first)
        # Where nothing is left, both are beyond the last.
        chosen = ops.min(ops.where(ties, numbers, count), axis=1, keepdims=True)
        matches = ops.where(places == first, chosen, matches)
        waiting = ops.logical_and(waiting, ops.all(numbers != chosen, axis=0))
        return matches, waiting, ops.any(top > 0)

    matches = ops.full((groups, candidates), -1, "int32")
    waiting = ops.full((count,), True, "bool")
    start = (matches, waiting, ops.any(overlaps > 0))
    return ops.while_loop(lambda *state: state[2], step, start)[0]
