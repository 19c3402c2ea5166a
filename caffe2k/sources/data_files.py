"""DataFiles: asks the files that a net's data layers name for the shapes of the tops."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Layer, Shape
from caffe2k.schema.message import Message
from caffe2k.sources.annotated import annotated_shapes
from caffe2k.sources.database import datum_shape, first_record
from caffe2k.sources.errors import SourceError, missing
from caffe2k.sources.hdf5 import dataset_shapes
from caffe2k.sources.images import listed_image_shape

FirstRecord = Callable[[Path, str, str], bytes]
"""Root, source and backend to a record's bytes; raises SourceError."""

_Probe = Callable[[Layer, Message, Path], list[Shape]]


class DataFiles:
    """Shapes of data layers over databases and files, from the data that they name.

    Relative names are looked up in `root`, the folder that the net is trained from.
    Data that is missing or can't be read is a warning at the place that names it,
    because a net can be translated without its data. `first` gives the first record of a
    Data layer's database, as first_record does.
    """

    def __init__(
        self, root: Path, diagnostics: Diagnostics, first: FirstRecord = first_record
    ) -> None:
        self._root = root
        self._diagnostics = diagnostics
        of_data: _Probe = partial(_data, first)
        self._probes = {**_PROBES, "Data": ("data_param", of_data)}

    def of(self, layer: Layer) -> tuple[Shape, ...] | None:
        """The shapes of the layer's tops, batch included, in Caffe's axis order.

        None where the layer is of another type, and where no shape can be read.
        Raises SourceError for what Caffe refuses.
        Caffe: data_layer.cpp and image_data_layer.cpp, DataLayerSetUp;
        hdf5_data_layer.cpp, LayerSetUp.
        """
        if layer.type not in self._probes:
            return None
        field, probe = self._probes[layer.type]
        param: Message = getattr(layer.message, field)
        try:
            shapes = probe(layer, param, self._root)
        except SourceError as error:
            error.span = error.span or param.span_of("source")
            if error.refused:
                raise
            top = layer.tops[0].name
            help = error.help or (
                f"put it there, or give the shape with --input-shape {top}=N,C,H,W"
            )
            self._diagnostics.warning(error.code, error.message, error.span, help=help)
            return None
        batch_size: int = param.batch_size
        return tuple((batch_size, *shape) for shape in shapes[: len(layer.tops)])


def _data(first: FirstRecord, layer: Layer, param: Message, root: Path) -> list[Shape]:
    record = first(root, param.source, param.backend)
    transform: Message = layer.message.transform_param
    return [_cropped(datum_shape(record, param.source, transform), transform), ()]


def _annotated_data(layer: Layer, param: Message, root: Path) -> list[Shape]:
    record = first_record(root, param.source, param.backend)
    return annotated_shapes(record, param.source, layer.message)


def _image_data(layer: Layer, param: Message, root: Path) -> list[Shape]:
    shape = listed_image_shape(root, param)
    return [_cropped(shape, layer.message.transform_param), ()]


def _hdf5_data(layer: Layer, param: Message, root: Path) -> list[Shape]:
    return dataset_shapes(root, param.source, [top.name for top in layer.tops])


def _window_data(layer: Layer, param: Message, root: Path) -> list[Shape]:
    if not os.path.isfile(root / param.source):
        raise missing(param.source)
    crop: int = layer.message.transform_param.crop_size
    return [(3, crop, crop), ()]


_PROBES: dict[str, tuple[str, _Probe]] = {
    "AnnotatedData": ("data_param", _annotated_data),
    "ImageData": ("image_data_param", _image_data),
    "HDF5Data": ("hdf5_data_param", _hdf5_data),
    "WindowData": ("window_data_param", _window_data),
}


def _cropped(shape: tuple[int, int, int], transform: Message) -> Shape:
    """data_transformer.cpp, InferBlobShape and Transform."""
    channels, height, width = shape
    crop: int = transform.crop_size
    if crop > min(height, width):
        raise SourceError(
            "crop-too-large",
            f"crop_size {crop} is larger than the first image, {height} x {width}",
            refused=True,
            span=transform.span_of("crop_size"),
            help=f"it is at most {min(height, width)}",
        )
    means = len(transform.mean_value)
    if means not in (0, 1, channels):
        raise SourceError(
            "mean-count",
            f"{means} mean_value for images of {channels} channels",
            refused=True,
            span=transform.span_of("mean_value"),
            help="give one, or one for each channel",
        )
    return (channels, crop or height, crop or width)
