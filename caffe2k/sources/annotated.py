"""The shapes that an AnnotatedData layer gives the first record of its database."""

from __future__ import annotations

import struct

from caffe2k.ir.net import Shape
from caffe2k.schema.message import Message
from caffe2k.sources.database import annotated_datum, datum_shape
from caffe2k.sources.errors import SourceError


def annotated_shapes(record: bytes, source: str, layer: Message) -> list[Shape]:
    """The (C, H, W) of the images, and () for a label of boxes or (1, 1, 1) for a number.

    SSD's Caffe: annotated_data_layer.cpp, DataLayerSetUp, and data_transformer.cpp,
    InferBlobShape. Raises SourceError.
    """
    annotated = annotated_datum(record, source)
    transform: Message = layer.transform_param
    datum = annotated.datum.SerializeToString()
    channels, height, width = datum_shape(datum, source, transform)
    if transform.has("resize_param"):
        height, width = _resized(height, width, transform.resize_param)
    crop = (
        transform.crop_size or transform.crop_h,
        transform.crop_size or transform.crop_w,
    )
    if crop[0] > height or crop[1] > width:
        field = "crop_size" if transform.crop_size else "crop_h"
        raise SourceError(
            "crop-too-large",
            f"a crop of {crop[0]} x {crop[1]} is larger than the first image, {height} x "
            f"{width}",
            refused=True,
            span=transform.span_of(field),
            help="make it smaller, or add a resize_param",
        )
    has_boxes = annotated.HasField("type") or layer.annotated_data_param.has(
        "anno_type"
    )
    image = (channels, crop[0] or height, crop[1] or width)
    return [image, () if has_boxes else (1, 1, 1)]


def _resized(height: int, width: int, resize: Message) -> tuple[int, int]:
    """InferNewSize (im_transforms.cpp)."""
    new_height: int = resize.height
    new_width: int = resize.width
    if resize.resize_mode == "FIT_SMALL_SIZE":
        aspect = _float32(width / height)
        if aspect < _float32(new_width / new_height):
            new_height = int(_float32(new_width / aspect))
        else:
            new_width = int(_float32(aspect * new_height))
    return new_height, new_width


def _float32(value: float) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    return rounded
