"""Boxes (xmin, ymin, xmax, ymax) along the last axis: overlap, code, suppression."""

import keras
from keras import ops

CODE_TYPES = ("CORNER", "CENTER_SIZE", "CORNER_SIZE")


def check_code_type(code_type):
    """Returns one of CODE_TYPES; raises ValueError for another."""
    if code_type not in CODE_TYPES:
        raise ValueError(
            f"`code_type` must be one of {CODE_TYPES}. Received: {code_type}"
        )
    return code_type


def area(boxes, rim=0.0):
    """Returns the areas, 0 for a box that ends before it begins.

    `rim` is 1 for boxes in pixels, whose last one counts (BBoxSize).
    """
    size = boxes[..., 2:] - boxes[..., :2]
    return ops.where(ops.all(size >= 0, axis=-1), ops.prod(size + rim, axis=-1), 0.0)


def overlap(a, b, rim=0.0, area_rim=None):
    """Returns the intersections over unions of boxes that broadcast.

    SSD's Caffe: util/bbox_util.cpp, JaccardOverlap. There boxes without a common point
    have the intersection (0, 0, 0, 0), of which a rim makes one pixel.
    """
    start = ops.maximum(a[..., :2], b[..., :2])
    size = ops.minimum(a[..., 2:], b[..., 2:]) - start
    apart = ops.logical_or(b[..., :2] > a[..., 2:], b[..., 2:] < a[..., :2])
    size = ops.where(ops.any(apart, axis=-1, keepdims=True), 0.0, size) + rim
    common = ops.prod(size, axis=-1)
    area_rim = rim if area_rim is None else area_rim
    union = area(a, area_rim) + area(b, area_rim) - common
    meets = ops.all(size > 0, axis=-1)
    return ops.where(meets, common / ops.where(meets, union, 1.0), 0.0)


def crosses_border(boxes):
    """Returns which boxes are not within [0, 1] (IsCrossBoundaryBBox)."""
    return ops.any(ops.logical_or(boxes < 0, boxes > 1), axis=-1)


def in_pixels(boxes, sizes, resize=None):
    """Returns boxes in parts of an image as its pixels, within the image.

    SSD's Caffe: util/bbox_util.cpp, OutputBBox.

    Args:
        boxes: (number, 4).
        sizes: (number, 2), the height and width of each box's image before it was
            resized as `resize` says, a resize_param as a dict.
    """
    extent = _twice(ops.flip(sizes, axis=-1))
    resize = resize or {}
    policy = resize.get("resize_mode", "WARP")
    scales = resize.get("width_scale", 0), resize.get("height_scale", 0)
    if policy == "FIT_SMALL_SIZE" and all(scales):
        return ops.clip(boxes * ops.array(scales * 2, dtype="float32"), 0.0, extent)
    if policy == "FIT_LARGE_SIZE_AND_PAD":
        boxes = _without_rim(boxes, sizes, resize["height"], resize["width"])
    return ops.clip(boxes, 0.0, 1.0) * extent


def _without_rim(boxes, sizes, height, width):
    """Returns boxes in parts of a padded image in parts of what is within the rim."""
    aspect = sizes[:, 1:] / sizes[:, :1]
    wide = aspect > width / height
    left = ops.where(wide, 0.0, (width - height * aspect) / 2 / width)
    top = ops.where(wide, (height - width / aspect) / 2 / height, 0.0)
    start = ops.concatenate([left, top], axis=1)
    end = 1 - start
    inside = ops.all(
        ops.logical_and(boxes[:, :2] < end, boxes[:, 2:] > start),
        axis=1,
        keepdims=True,
    )
    moved = (boxes - _twice(start)) / _twice(end - start)
    return ops.where(inside, moved, boxes)


def _sizes(boxes):
    return boxes[..., 2:] - boxes[..., :2]


def _centers(boxes):
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _twice(x):
    return ops.concatenate([x, x], axis=-1)


def encode(boxes, priors, variances, code_type):
    """Returns what a net should predict at `priors` to mean `boxes`.

    SSD's Caffe: util/bbox_util.cpp, EncodeBBox. Where the variance is encoded in the
    target, it is that of variances of 1.
    """
    if code_type == "CORNER":
        return (boxes - priors) / variances
    if code_type == "CORNER_SIZE":
        return (boxes - priors) / _twice(_sizes(priors)) / variances
    moved = (_centers(boxes) - _centers(priors)) / _sizes(priors)
    grown = ops.log(_sizes(boxes) / _sizes(priors))
    return ops.concatenate([moved, grown], axis=-1) / variances


def decode(offsets, priors, variances, code_type):
    """Returns the boxes that the predictions `offsets` at `priors` mean.

    SSD's Caffe: util/bbox_util.cpp, DecodeBBox.
    """
    offsets = offsets * variances
    if code_type == "CORNER":
        return priors + offsets
    if code_type == "CORNER_SIZE":
        return priors + offsets * _twice(_sizes(priors))
    center = offsets[..., :2] * _sizes(priors) + _centers(priors)
    half = ops.exp(offsets[..., 2:]) * _sizes(priors) / 2
    return ops.concatenate([center - half, center + half], axis=-1)


def suppress(boxes, valid, threshold, eta=1.0):
    """Returns which boxes are left when all that overlap a better one are gone.

    Each row of `boxes` (rows, boxes, 4) is searched on its own, the best box first, and
    only those that are `valid` (rows, boxes). With `eta` below 1, a threshold above 0.5
    shrinks by that factor with each box that is kept.
    SSD's Caffe: util/bbox_util.cpp, ApplyNMSFast and ApplyNMS.
    """
    if boxes.shape[1] == 0:
        return valid
    places = ops.arange(boxes.shape[1], dtype="int32")
    end = ops.max(ops.where(valid, places + 1, 0))

    def look(place, kept, limit):
        here = places == place
        box = ops.take(boxes, ops.reshape(place, (1,)), axis=1)
        near = ops.logical_and(kept, overlap(box, boxes) > limit)
        keep = ops.logical_and(
            ops.any(ops.logical_and(valid, here), axis=1, keepdims=True),
            ops.logical_not(ops.any(near, axis=1, keepdims=True)),
        )
        kept = ops.logical_or(kept, ops.logical_and(keep, here))
        if eta < 1:
            limit = ops.where(ops.logical_and(keep, limit > 0.5), limit * eta, limit)
        return place + 1, kept, limit

    limit = ops.full((ops.shape(boxes)[0], 1), threshold, "float32")
    first = ops.convert_to_tensor(0, dtype="int32")
    start = (first, ops.zeros_like(valid), limit)
    return ops.while_loop(lambda place, *_: place < end, look, start)[1]


def best_first(scores):
    """Returns the indices that sort the last axis downwards; equal scores keep order."""
    return ops.argsort(-scores, axis=-1)


def ranks(scores):
    """Returns the place of each value among those of the last axis, the largest at 0."""
    return ops.argsort(best_first(scores), axis=-1)


def first_maximum(x):
    """Returns the largest value of the last axis, and the first index that has it."""
    best = ops.max(x, axis=-1)
    places = ops.arange(ops.shape(x)[-1], dtype="int32")
    hit = x == ops.expand_dims(best, -1)
    return best, ops.min(ops.where(hit, places, ops.shape(x)[-1]), axis=-1)


def pads_rows():
    """Whether the backend can't make as many rows as the values say: JAX compiles."""
    return keras.backend.backend() == "jax"


def pick_rows(rows, wanted, most):
    """Returns the rows (number, values) that are `wanted`, in their order.

    Under JAX there are always `most`, those that are missing of -1.
    """
    if not pads_rows():
        (index,) = ops.nonzero(wanted)
        return ops.take(rows, index, axis=0)
    order = ops.argsort(ops.cast(ops.logical_not(wanted), "int32"))[:most]
    there = ops.take(wanted, order, axis=0)
    return ops.where(there[:, None], ops.take(rows, order, axis=0), -1.0)
