"""The boxes of SSD's data layer, one by one, from the sources of its Caffe.

weiliu89/caffe, branch ssd: util/bbox_util.cpp, util/im_transforms.cpp, util/sampler.cpp.
"""


def size(box):
    if box[2] < box[0] or box[3] < box[1]:
        return 0.0
    return (box[2] - box[0]) * (box[3] - box[1])


def intersection(a, b):
    if b[0] > a[2] or b[2] < a[0] or b[1] > a[3] or b[3] < a[1]:
        return [0, 0, 0, 0]
    return [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])]


def jaccard(a, b):
    common = size(intersection(a, b))
    return common / (size(a) + size(b) - common) if common > 0 else 0.0


def covered(a, b):
    """BBoxCoverage."""
    common = size(intersection(a, b))
    return common / size(a) if common > 0 else 0.0


def emitted(window, box, kind, overlap):
    """MeetEmitConstraint."""
    if kind == "MIN_OVERLAP":
        return covered(box, window) > overlap
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return window[0] <= x <= window[2] and window[1] <= y <= window[3]


def projected(window, box):
    """ProjectBBox: the box in the window, or None."""
    if (
        box[0] >= window[2]
        or box[2] <= window[0]
        or box[1] >= window[3]
        or box[3] <= window[1]
    ):
        return None
    w, h = window[2] - window[0], window[3] - window[1]
    found = [
        (box[0] - window[0]) / w,
        (box[1] - window[1]) / h,
        (box[2] - window[0]) / w,
        (box[3] - window[1]) / h,
    ]
    found = [min(max(v, 0.0), 1.0) for v in found]
    return found if size(found) > 0 else None


def resized(box, width, height, p):
    """UpdateBBoxByResizePolicy."""
    new_h, new_w, aspect = p["height"], p["width"], width / height
    left, top = box[0] * width, box[1] * height
    right, bottom = box[2] * width, box[3] * height
    mode = p.get("resize_mode", "WARP")
    if mode == "FIT_SMALL_SIZE":
        if aspect < new_w / new_h:
            new_h = new_w / aspect
        else:
            new_w = aspect * new_h
    if mode == "FIT_LARGE_SIZE_AND_PAD" and aspect > new_w / new_h:
        rim = (new_h - new_w / aspect) / 2
        left = max(0.0, left * new_w / width)
        right = min(new_w, right * new_w / width)
        top = rim + max(0.0, top * (new_h - 2 * rim) / height)
        bottom = rim + min(new_h, bottom * (new_h - 2 * rim) / height)
    elif mode == "FIT_LARGE_SIZE_AND_PAD":
        rim = (new_w - aspect * new_h) / 2
        left = rim + max(0.0, left * (new_w - 2 * rim) / width)
        right = rim + min(new_w, right * (new_w - 2 * rim) / width)
        top = max(0.0, top * new_h / height)
        bottom = min(new_h, bottom * new_h / height)
    else:
        left = max(0.0, left * new_w / width)
        right = min(new_w, right * new_w / width)
        top = max(0.0, top * new_h / height)
        bottom = min(new_h, bottom * new_h / height)
    return [left / new_w, top / new_h, right / new_w, bottom / new_h]


def satisfied(window, boxes, p):
    """SatisfySampleConstraint, with what it forgets."""
    kinds = {
        "jaccard_overlap": lambda box: jaccard(window, box),
        "sample_coverage": lambda box: covered(window, box),
        "object_coverage": lambda box: covered(box, window),
    }
    asked = [k for k in kinds if f"min_{k}" in p or f"max_{k}" in p]
    if not asked:
        return True
    found = False
    for box in boxes:
        for kind in asked:
            value = kinds[kind](box)
            if value < p.get(f"min_{kind}", -1) or value > p.get(f"max_{kind}", 2):
                break
            found = True
        else:
            return True
    return found
