"""Image files in memory: told apart, decoded, encoded and resized, as Caffe does it."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe2k.datasets.errors import Fault, library_missing

Pixels = NDArray[np.uint8]
"""An image of shape (C, H, W); colours are BGR."""

_MAGIC = {
    b"\xff\xd8\xff": "jpg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"BM": "bmp",
    b"II*\0": "tif",
    b"MM\0*": "tif",
    b"RIFF": "webp",
}
_MOST_PIXELS_A_BYTE = 1 << 14
"""More than any compression of these formats reaches."""

_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def image_type(data: bytes) -> str | None:
    """The type of an image file by its first bytes, as a file's suffix: jpg, png, ..."""
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return name
    return None


def opencv() -> Any:
    """The module cv2, or None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    # What can't be decoded is said by a diagnostic, with the record's key.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def decode(data: bytes, color: bool | None = None) -> Pixels:
    """The image in the bytes of a file, of shape (C, H, W); colours are BGR.

    `color`: True gives three channels, False one, None as many as the file has. Raises
    Fault for what is no whole image of eight bits a channel.
    Caffe: util/io.cpp, ReadImageToCVMat, DecodeDatumToCVMatNative, CVMatToDatum.
    """
    _check_whole(data)
    read = _decode_by_pillow if opencv() is None else _decode_by_opencv
    pixels: Pixels | None = read(data, color)
    if pixels is None:
        raise Fault(f"{len(data)} bytes that are not an image that can be decoded")
    if pixels.dtype != np.uint8:
        raise Fault(f"an image of {pixels.dtype}; Caffe reads 8 bits a channel")
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def encode(pixels: Pixels, suffix: str) -> bytes:
    """The file of an image; png keeps every value. Raises Fault where none can be."""
    if len(pixels) not in (1, 3, 4):
        raise Fault(f"{len(pixels)} channels are no image: 1, 3 or 4 are")
    cv2 = opencv()
    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    if cv2 is None:
        return _encode_by_pillow(rows, suffix)
    try:
        done, data = cv2.imencode(f".{suffix}", rows)
    except cv2.error:
        done = False
    if not done:
        raise Fault(f"it can't be encoded as {suffix!r}")
    encoded: bytes = data.tobytes()
    return encoded


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """An image brought to a size bilinearly, as cv::resize does."""
    cv2 = opencv()
    if cv2 is None:
        raise library_missing("cv2", "resizing images as Caffe does")
    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    resized: Pixels = cv2.resize(rows, (width, height)).reshape(height, width, -1)
    return resized.transpose(2, 0, 1)


def _check_whole(data: bytes) -> None:
    """Refuses what declares more pixels than its bytes can hold, before they are made."""
    kind = image_type(data)
    size = None
    if kind == "png" and len(data) >= 24:
        size = struct.unpack(">II", data[16:24])
    elif kind == "jpg":
        # Some versions of the JPEG library fill up what is missing with grey.
        if data.rfind(b"\xff\xd9") < 0:
            raise Fault("a JPEG image without its end")
        size = _jpeg_size(data)
    if size is not None and size[0] * size[1] > _MOST_PIXELS_A_BYTE * len(data):
        raise Fault(f"an image of {size[0]} x {size[1]} pixels in {len(data)} bytes")


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        if marker == 0xFF:
            position += 1
            continue
        (length,) = struct.unpack(">H", data[position + 2 : position + 4])
        position += 2 + length
    return None


def _decode_by_opencv(data: bytes, color: bool | None) -> Any:
    cv2 = opencv()
    flags = {
        None: cv2.IMREAD_UNCHANGED,
        True: cv2.IMREAD_COLOR,
        False: cv2.IMREAD_GRAYSCALE,
    }
    if not data:
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags[color])
    except cv2.error:
        return None


def _decode_by_pillow(data: bytes, color: bool | None) -> Any:
    image = _pillow()
    try:
        picture = image.open(io.BytesIO(data))
        picture.load()
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError):
        return None
    if picture.mode.startswith(("I", "F")):
        return np.asarray(picture)
    if color is not None:
        from PIL import ImageOps

        # OpenCV turns a photograph upright unless it is asked for the file as it is.
        picture = ImageOps.exif_transpose(picture)
        mode = "RGB" if color else "L"
    elif picture.mode in ("1", "L"):
        mode = "L"
    else:
        mode = "RGBA" if picture.has_transparency_data else "RGB"
    rows = np.asarray(picture.convert(mode))
    return rows if rows.ndim == 2 else rows[:, :, [2, 1, 0, *range(3, rows.shape[2])]]


def _encode_by_pillow(rows: Pixels, suffix: str) -> bytes:
    if suffix != "png":
        raise library_missing("cv2", f"encoding images as {suffix}")
    image = _pillow()
    order = [2, 1, 0, 3][: rows.shape[2]]
    picture = rows[:, :, 0] if rows.shape[2] == 1 else rows[:, :, order]
    file = io.BytesIO()
    image.fromarray(np.ascontiguousarray(picture)).save(file, "PNG")
    return file.getvalue()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise library_missing("cv2", "reading and writing images") from None
    return Image
