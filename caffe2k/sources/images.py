"""The shape of an encoded image, and of the first image of a list."""

from __future__ import annotations

import os
from pathlib import Path

from caffe2k.schema.message import Message
from caffe2k.sources.errors import SourceError, library, missing, unreadable


def listed_image_shape(root: Path, param: Message) -> tuple[int, int, int]:
    """The (C, H, W) that an ImageData layer gives its first image, before the crop.

    Caffe: image_data_layer.cpp, DataLayerSetUp. Raises SourceError.
    """
    size: tuple[int, int] = (param.new_height, param.new_width)
    if (size[0] > 0) != (size[1] > 0):
        raise SourceError(
            "resize-one-side",
            "new_height and new_width must be set together",
            refused=True,
            span=param.span_of("new_height" if size[0] else "new_width"),
            help=f"add {'new_width' if size[0] else 'new_height'}",
        )
    if all(size):
        return (3 if param.is_color else 1, *size)
    name = param.root_folder + _first_name(root, param.source)
    return decoded_shape(_read(root, name, param.source), name, param.is_color)


def decoded_shape(data: bytes, source: str, color: bool | None) -> tuple[int, int, int]:
    """The (C, H, W) of an image file; `color` is None for the channels that it has."""
    cv2 = library("cv2", source)
    numpy = library("numpy", source)
    flags = {
        None: cv2.IMREAD_UNCHANGED,
        True: cv2.IMREAD_COLOR,
        False: cv2.IMREAD_GRAYSCALE,
    }
    image = (
        cv2.imdecode(numpy.frombuffer(data, numpy.uint8), flags[color])
        if data
        else None
    )
    if image is None:
        raise unreadable(source, "not an image that can be decoded")
    height, width = image.shape[:2]
    return (image.shape[2] if image.ndim == 3 else 1, height, width)


def _first_name(root: Path, source: str) -> str:
    """What stands before the last blank of the list's first line."""
    line = _read(root, source).split(b"\n", 1)[0]
    name, blank, label = line.rpartition(b" ")
    return os.fsdecode(name if blank else label)


def _read(root: Path, name: str, named_in: str = "") -> bytes:
    path = root / name
    if not os.path.isfile(path):
        raise missing(name, named_in)
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(name, error.strerror or "") from None
