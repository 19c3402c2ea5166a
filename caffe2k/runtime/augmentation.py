"""What SSD's transform_param does to pixels: resizing, noise, other colours, a rim.

Images are uint8 (H, W, C) here, or (H, W) in grey, as OpenCV has them.
SSD's Caffe: util/im_transforms.cpp.
"""

import numpy as np

from .images import require_opencv


def _scaled(image, factor, shift=0.0):
    """OpenCV's convertTo: whole numbers again, within a byte."""
    values = image.astype(np.float32) * np.float32(factor) + np.float32(shift)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def resized(image, rng, settings):
    """The image after a resize_param (ApplyResize, which does not read `prob`)."""
    cv2 = require_opencv("resizing images as Caffe does")
    modes = settings.get("interp_mode", ["LINEAR"])
    mode = modes[rng.integers(len(modes))] if len(modes) > 1 else modes[0]
    mode = getattr(cv2, f"INTER_{mode}")
    height, width = image.shape[:2]
    new_height, new_width = settings["height"], settings["width"]
    policy = settings.get("resize_mode", "WARP")
    if policy == "WARP":
        return cv2.resize(image, (new_width, new_height), interpolation=mode)
    aspect = np.float32(width) / np.float32(height)
    wide = aspect > np.float32(new_width) / np.float32(new_height)
    if policy == "FIT_SMALL_SIZE":
        size = fitted_small(width, height, settings)
        return cv2.resize(image, size, interpolation=mode)
    size = (
        (new_width, int(np.float32(new_width) / aspect))
        if wide
        else (int(aspect * np.float32(new_height)), new_height)
    )
    image = cv2.resize(image, size, interpolation=mode)
    return _padded(cv2, image, new_height - size[1], new_width - size[0], settings)


def fitted_small(width, height, settings):
    """(width, height) that FIT_SMALL_SIZE gives an image (InferNewSize)."""
    new_height, new_width = settings["height"], settings["width"]
    aspect = np.float32(width) / np.float32(height)
    if aspect < np.float32(new_width) / np.float32(new_height):
        return new_width, int(np.float32(new_width) / aspect)
    return int(aspect * np.float32(new_height)), new_height


def _padded(cv2, image, rows, columns, settings):
    rim = {
        "CONSTANT": cv2.BORDER_CONSTANT,
        "MIRRORED": cv2.BORDER_REFLECT101,
        "REPEAT_NEAREST": cv2.BORDER_REPLICATE,
    }[settings.get("pad_mode", "CONSTANT")]
    values = settings.get("pad_value", [0])
    values = values * 3 if len(values) == 1 else values
    return cv2.copyMakeBorder(
        image,
        rows // 2,
        rows - rows // 2,
        columns // 2,
        columns - columns // 2,
        rim,
        value=values,
    )


def noised(image, rng, settings):
    """The image after a noise_param (ApplyNoise, which does not read `prob`)."""
    cv2 = require_opencv("noise as Caffe makes it")
    if settings.get("decolorize"):
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        image = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    if settings.get("gauss_blur"):
        image = cv2.GaussianBlur(image, (7, 7), 1.5)
    if settings.get("hist_eq"):
        image = _on_brightness(cv2, image, cv2.equalizeHist)
    if settings.get("clahe"):
        # The tiles are OpenCV's own.
        image = _on_brightness(cv2, image, cv2.createCLAHE(clipLimit=4).apply)
    if settings.get("jpeg", -1) > 0:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(settings["jpeg"])]
        coded = cv2.imencode(".jpg", image, quality)[1]
        image = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    if settings.get("erode"):
        image = cv2.erode(image, cv2.getStructuringElement(2, (3, 3), (1, 1)))
    if settings.get("posterize"):
        image = image // 64 * 64 + 32
    if settings.get("inverse"):
        image = 255 - image
    if settings.get("saltpepper"):
        image = _salted(image, rng, **settings.get("saltpepper_param", {}))
    if settings.get("convert_to_hsv"):
        image = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    return image


def _on_brightness(cv2, image, change):
    if image.ndim == 2:
        return change(image)
    planes = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)))
    planes[0] = change(planes[0])
    return cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2BGR)


def _salted(image, rng, fraction=0.0, value=()):
    """constantNoise: a part of the pixels, which may be drawn twice, gets one value."""
    height, width = image.shape[:2]
    count = int(np.float32(fraction) * width * height)
    columns, rows = rng.integers(width, size=count), rng.integers(height, size=count)
    image = image.copy()
    if count:
        image[rows, columns] = np.array(value).astype(np.uint8)
    return image


def distorted(image, rng, settings):
    """A colour image after a distort_param (ApplyDistort)."""
    steps = [_brightness, _saturation, _hue]
    # Contrast comes second or last.
    steps.insert(1 if rng.uniform() > 0.5 else 3, _contrast)
    for step in (*steps, _reordered):
        image = step(image, rng, settings)
    return image


def _happens(rng, settings, name):
    return rng.uniform() < settings.get(f"{name}_prob", 0.0)


def _between(rng, settings, name):
    lower, upper = (
        settings.get(f"{name}_lower", 0.0),
        settings.get(f"{name}_upper", 0.0),
    )
    return rng.uniform(lower, upper)


def _within(rng, settings, name):
    delta = settings.get(f"{name}_delta", 0.0)
    return rng.uniform(-delta, delta)


def _brightness(image, rng, settings):
    if not _happens(rng, settings, "brightness"):
        return image
    return _scaled(image, 1, _within(rng, settings, "brightness"))


def _contrast(image, rng, settings):
    if not _happens(rng, settings, "contrast"):
        return image
    factor = _between(rng, settings, "contrast")
    return _scaled(image, factor) if abs(factor - 1) > 1e-3 else image


def _saturation(image, rng, settings):
    if not _happens(rng, settings, "saturation"):
        return image
    factor = _between(rng, settings, "saturation")
    return _in_hsv(image, 1, factor, 0)


def _hue(image, rng, settings):
    if not _happens(rng, settings, "hue"):
        return image
    delta = _within(rng, settings, "hue")
    return _in_hsv(image, 0, 1, delta) if delta else image


def _in_hsv(image, channel, factor, shift):
    cv2 = require_opencv("changing colours as Caffe does")
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
    hsv[..., channel] = _scaled(hsv[..., channel], factor, shift)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)


def _reordered(image, rng, settings):
    if not _happens(rng, settings, "random_order"):
        return image
    return np.ascontiguousarray(image[..., rng.permutation(3)])
