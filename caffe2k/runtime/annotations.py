"""Boxes around the objects of an image, and what becomes of them when it is cut."""

from dataclasses import dataclass, fields, replace

import numpy as np

WHOLE = np.array([0, 0, 1, 1], np.float32)
"""The window that is the whole image."""


@dataclass(frozen=True)
class Boxes:
    """The annotated objects of an image.

    corners: float32 (number, 4), (xmin, ymin, xmax, ymax) in parts of the image.
    size: float32 (number,), the areas that the record holds or a cut has left; NaN where
        there is none. As in Caffe, resizing does not renew it.
    label, instance: int (number,). difficult: bool (number,).
    """

    corners: np.ndarray
    size: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    difficult: np.ndarray

    def only(self, chosen):
        """The boxes that a mask (number,) chooses."""
        return Boxes(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def moved(self, corners):
        """The same objects with other corners."""
        return replace(self, corners=corners.astype(np.float32))

    def rows(self, item):
        """Their rows in a label: (item, label, instance, the corners, difficult)."""
        item = np.full(len(self.label), item)
        columns = [item, self.label, self.instance, *self.corners.T, self.difficult]
        return np.stack(columns, axis=1).astype(np.float32)


def area(corners):
    """The areas, 0 for a box that ends before it begins (BBoxSize)."""
    size = corners[..., 2:] - corners[..., :2]
    return np.where((size >= 0).all(-1), size.prod(-1), np.float32(0))


def _common(a, b):
    """The areas that boxes share (IntersectBBox)."""
    return area(
        np.concatenate(
            [np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], -1
        )
    )


def overlap(a, b):
    """The intersections over unions of boxes that broadcast (JaccardOverlap)."""
    common = _common(a, b)
    union = area(a) + area(b) - common
    return np.divide(common, union, out=np.zeros_like(common), where=common > 0)


def coverage(boxes, windows, size=np.nan):
    """How much of `boxes` lies in `windows` (BBoxCoverage); `size` as in Boxes."""
    common = _common(boxes, windows)
    whole = np.where(np.isnan(size), area(boxes), size)
    return np.divide(common, whole, out=np.zeros_like(common), where=common > 0)


def cut(boxes, window, emit=None):
    """The boxes that are left within a window, in parts of it.

    `emit` is an emit_constraint: by default the centre of a box must lie in the window;
    without one, every box with an area in it is left.
    SSD's Caffe: util/bbox_util.cpp, MeetEmitConstraint and ProjectBBox.
    """
    if emit is not None:
        boxes = boxes.only(_meets(boxes, window, **emit))
    size = window[2:] - window[:2]
    meets = (boxes.corners[:, :2] < window[2:]) & (boxes.corners[:, 2:] > window[:2])
    corners = (boxes.corners - np.tile(window[:2], 2)) / np.tile(size, 2)
    boxes = boxes.moved(np.clip(corners, 0, 1))
    boxes = replace(boxes, size=area(boxes.corners))
    return boxes.only(meets.all(1) & (boxes.size > 0))


def _meets(boxes, window, emit_type="CENTER", emit_overlap=0.0):
    if emit_type == "MIN_OVERLAP":
        return coverage(boxes.corners, window, boxes.size) > emit_overlap
    center = (boxes.corners[:, :2] + boxes.corners[:, 2:]) / 2
    return ((center >= window[:2]) & (center <= window[2:])).all(1)


def resized(boxes, width, height, settings):
    """The boxes of an image of `width` x `height` after a resize_param.

    SSD's Caffe: util/im_transforms.cpp, UpdateBBoxByResizePolicy.
    """
    new = np.array([settings["width"], settings["height"]], np.float32)
    aspect = np.float32(width) / np.float32(height)
    wide = aspect > new[0] / new[1]
    rim = np.zeros(2, np.float32)
    policy = settings.get("resize_mode", "WARP")
    if policy == "FIT_LARGE_SIZE_AND_PAD":
        if wide:
            rim[1] = (new[1] - new[0] / aspect) / 2
        else:
            rim[0] = (new[0] - aspect * new[1]) / 2
    elif policy == "FIT_SMALL_SIZE":
        if aspect < new[0] / new[1]:
            new[1] = new[0] / aspect
        else:
            new[0] = aspect * new[1]
    corners = boxes.corners * np.tile(new - 2 * rim, 2)
    starts = rim + np.maximum(corners[:, :2], 0)
    ends = rim + np.minimum(corners[:, 2:], new)
    return boxes.moved(np.concatenate([starts, ends], axis=1) / np.tile(new, 2))


def extrapolated(boxes, width, height, window, settings):
    """The boxes in parts of height_scale and width_scale, where these are given.

    `window` is what is cut from the image of `width` x `height` after FIT_SMALL_SIZE.
    SSD's Caffe: util/bbox_util.cpp, ExtrapolateBBox; it refuses windows that are smaller.
    """
    scales = settings.get("width_scale", 0), settings.get("height_scale", 0)
    fits = settings.get("resize_mode", "WARP") == "FIT_SMALL_SIZE"
    if not fits or min(scales) <= 0:
        return boxes
    new = np.array([settings["width"], settings["height"]], np.float32)
    aspect = np.float32(width) / np.float32(height)
    if aspect < new[0] / new[1]:
        new[1] = new[0] / aspect
    else:
        new[0] = new[1] * aspect
    size = new * (window[2:] - window[:2])
    if (size < scales).any():
        raise ValueError(f"a crop of {size} is smaller than width_scale, height_scale")
    return boxes.moved(boxes.corners * np.tile(size / np.float32(scales), 2))


def mirrored(boxes):
    """The boxes of the image with left and right changed."""
    xmin, ymin, xmax, ymax = boxes.corners.T
    return boxes.moved(np.stack([1 - xmax, ymin, 1 - xmin, ymax], axis=1))


def sample(boxes, samplers, rng):
    """Windows to cut an image to, of which one may be taken; each is (4,).

    `samplers` are batch_sampler messages as dicts. SSD's Caffe: util/sampler.cpp.
    """
    return [
        window
        for sampler in samplers
        for window in _windows(boxes.corners, rng, **sampler)
    ]


def _windows(
    corners,
    rng,
    use_original_image=True,
    sampler=None,
    sample_constraint=None,
    max_sample=None,
    max_trials=100,
):
    """GenerateSamples: the windows of one batch_sampler."""
    found = []
    if not use_original_image:
        return found
    for _ in range(max_trials):
        if max_sample is not None and len(found) >= max_sample:
            break
        window = _window(rng, **(sampler or {}))
        if _satisfies(window, corners, sample_constraint or {}):
            found.append(window)
    return found


def _window(
    rng, min_scale=1.0, max_scale=1.0, min_aspect_ratio=1.0, max_aspect_ratio=1.0
):
    """SampleBBox."""
    scale = rng.uniform(min_scale, max_scale)
    ratio = rng.uniform(min_aspect_ratio, max_aspect_ratio)
    ratio = min(max(ratio, scale**2), 1 / scale**2)
    width, height = scale * ratio**0.5, scale / ratio**0.5
    left, top = (rng.uniform(0, max(1 - size, 0)) for size in (width, height))
    return np.array([left, top, left + width, top + height], np.float32)


def _satisfies(window, corners, constraint):
    """SatisfySampleConstraint: whether one of the boxes meets the constraint.

    Of several kinds of constraints the first one alone decides: what Caffe has found by
    it stays found, whatever the others say.
    """
    kinds = {
        "jaccard_overlap": lambda: overlap(window, corners),
        "sample_coverage": lambda: coverage(window, corners),
        "object_coverage": lambda: coverage(corners, window),
    }
    for kind, measure in kinds.items():
        least, most = constraint.get(f"min_{kind}"), constraint.get(f"max_{kind}")
        if least is not None or most is not None:
            values = measure()
            meets = np.ones(values.shape, bool)
            if least is not None:
                meets &= values >= np.float32(least)
            if most is not None:
                meets &= values <= np.float32(most)
            return bool(meets.any())
    return True
