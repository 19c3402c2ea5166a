"""Decoding and resizing of image files, as Caffe does with OpenCV."""

import io
import warnings
from functools import cache

import numpy as np


def decode_image(data, color=None):
    """The image in the bytes of a file, as uint8 of shape (C, H, W); colours are BGR.

    `color`: True gives three channels, False one, None as many as the file has.
    Raises ValueError for what is not an image of eight bits a channel, ImportError
    where neither OpenCV nor Pillow is installed.
    Caffe: util/io.cpp, DecodeDatumToCVMat, DecodeDatumToCVMatNative, ReadImageToCVMat.
    """
    data = np.frombuffer(data, np.uint8)
    if _opencv() is None:
        _warn_of_pillow()
        decode = _decode_by_pillow
    else:
        decode = _decode_by_opencv
    pixels = decode(data, color)
    if pixels is None:
        raise ValueError(f"{data.size} bytes are not an image that can be decoded")
    if pixels.dtype != np.uint8:
        raise ValueError(f"Caffe reads 8 bits a channel, not {pixels.dtype}")
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def resize_image(image, height, width):
    """An image of shape (C, H, W) resized bilinearly, as cv::resize does."""
    cv2 = require_opencv("resizing images as Caffe does")
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
    resized = cv2.resize(pixels, (width, height))
    return resized.reshape(height, width, -1).transpose(2, 0, 1)


def require_opencv(purpose):
    """OpenCV's module; ImportError where it is not installed."""
    cv2 = _opencv()
    if cv2 is None:
        raise ImportError(f"{purpose} needs OpenCV: pip install opencv-python-headless")
    return cv2


def mirrored(pixels):
    """Pixels of shape (H, W, C), left and right exchanged."""
    cv2 = _opencv()
    if cv2 is None:
        return pixels[:, ::-1]
    return cv2.flip(pixels, 1).reshape(pixels.shape)


@cache
def _opencv():
    try:
        import cv2
    except ImportError:
        return None
    return cv2


@cache
def _warn_of_pillow():
    warnings.warn(
        "OpenCV is not installed: images are decoded by Pillow, "
        "whose grey levels can differ from Caffe's by a few",
        stacklevel=4,
    )


def _decode_by_opencv(data, color):
    cv2 = _opencv()
    flags = {
        None: cv2.IMREAD_UNCHANGED,
        True: cv2.IMREAD_COLOR,
        False: cv2.IMREAD_GRAYSCALE,
    }
    try:
        return cv2.imdecode(data, flags[color]) if data.size else None
    except cv2.error:
        return None


def _decode_by_pillow(data, color):
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise ImportError(
            "reading images needs OpenCV: pip install opencv-python-headless"
        ) from None

    try:
        picture = Image.open(io.BytesIO(data.tobytes()))
        if color is False:
            picture.draft("L", picture.size)
        picture.load()
    except (UnidentifiedImageError, OSError):
        return None
    if picture.mode.startswith(("I", "F")):
        return np.asarray(picture)
    if color is not None:
        # OpenCV turns a photograph upright unless it is asked for the file as it is.
        picture = ImageOps.exif_transpose(picture)
    pixels = np.asarray(picture.convert(_pillow_mode(picture, color)))
    if pixels.ndim == 2:
        return pixels
    return pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]]


def _pillow_mode(picture, color):
    if color is not None:
        return "RGB" if color else "L"
    if picture.mode in ("1", "L"):
        return "L"
    return "RGBA" if picture.has_transparency_data else "RGB"
