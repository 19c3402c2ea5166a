"""Data layers that read files: where the blobs of a net come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from caffe2k.codegen.data_layers import DataLayer, Named, ReaderLayer, Transform
from caffe2k.diagnostics import SourceSpan
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import Count, DataShapes, LayerOp, at_least, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.schema.message import Message


class Means(Protocol):
    """Takes the mean files that data layers name along into the output."""

    def port(self, path: str, span: SourceSpan | None) -> str:
        """The name under which the mean lies beside data.py."""


class SourceOp(LayerOp):
    """A layer without bottoms: its tops are inputs of the model, or targets."""

    bottoms = exactly(0)
    tops = at_least(1)
    is_source = True
    path = ""

    shaped_by_data: ClassVar[bool] = True
    """Whether the shapes stand in the data, so that a user may have to give them."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p: Message = getattr(layer.message, self.path)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        shapes = data.of(self.layer)
        if shapes is None:
            top = self.layer.tops[0].name
            raise OpError(
                "unknown-data-shape",
                f"the shape of `{top}` stands only in the data of layer "
                f"`{self.layer.name}`, which can't be read here",
                help="put the data where the prototxt says, or pass "
                f"--input-shape {top}=N,C,H,W",
            )
        return list(shapes)

    def record_shapes(self) -> list[Shape] | None:
        """The shape of one record of each top, where the layer alone tells it."""
        return None

    def reader(self, means: Means) -> DataLayer:
        """What data.py reads the layer's batches with."""
        raise NotImplementedError(f"{type(self).__name__} has no reader")

    def lower(self, k: Lowering) -> None:
        raise NotImplementedError("data layers become inputs of the model")

    def tops_named(self) -> tuple[str, ...]:
        return tuple(top.name for top in self.layer.tops)

    def source(self) -> Named:
        """The file or folder that the layer reads, and the line that says so."""
        return Named(self.p.source, place(self.p.span_of("source")))

    def batch_size(self) -> int:
        """The records of a batch, which Caffe has no default for."""
        size: int = self.p.batch_size
        if size < 1:
            raise OpError(
                "batch-size",
                f"layer `{self.layer.name}` has no batch_size",
                field=self.path,
                help=f"add `batch_size` to `{self.path}`",
            )
        return size

    def transform(self, means: Means) -> Transform:
        """transform_param (data_transformer.cpp)."""
        p = self.layer.message.transform_param
        mean = self.mean(p, means)
        settings = _changed(p, scale=1.0)
        if p.has("mean_value"):
            settings["mean_values"] = tuple(p.mean_value)
        settings |= _changed(
            p, crop_size=0, mirror=False, force_color=False, force_gray=False
        )
        return Transform(settings, mean, p.mirror, p.crop_size > 0)

    def mean(self, p: Message, means: Means) -> Named | None:
        """The ported mean_file of a transform_param."""
        if not p.has("mean_file"):
            return None
        if p.has("mean_value"):
            raise OpError(
                "two-means",
                "`mean_file` and `mean_value` exclude each other",
                field="transform_param.mean_value",
                help="keep one of them",
            )
        span = p.span_of("mean_file")
        return Named(means.port(p.mean_file, span), place(span))

    def cropped_image(self) -> list[Shape] | None:
        """The shape that crop_size tells: as many channels as mean values, or 3."""
        p = self.layer.message.transform_param
        if not p.crop_size:
            return None
        channels = len(p.mean_value) if len(p.mean_value) > 1 else 3
        return [(channels, p.crop_size, p.crop_size), ()]


def _changed(p: Message, **defaults: object) -> dict[str, object]:
    """Those of the fields of `p` that are not their default."""
    values = {name: getattr(p, name) for name in defaults}
    return {name: v for name, v in values.items() if v != defaults[name]}


def place(span: SourceSpan | None) -> str:
    """`train_val.prototxt:12`: the file without its folder, and the line."""
    if span is None:
        return "the net"
    name = span.source.name.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{span.line}"


@layer_op("Data")
class Data(SourceOp):
    """Records of a database, one after the other (data_layer.cpp)."""

    messages = ("data_param", "transform_param")
    keras = "keras.Input, caffe_runtime.databases"
    path = "data_param"
    tops = Count(1, 2)

    def record_shapes(self) -> list[Shape] | None:
        return self.cropped_image()

    def reader(self, means: Means) -> DataLayer:
        # Caffe 1.0 has these fields, and its data layer reads neither of them.
        self.p.mark_read("rand_skip", "force_encoded_color")
        return ReaderLayer(
            "databases",
            "DataReader",
            self.tops_named(),
            self.source(),
            self.batch_size(),
            {"backend": self.p.backend},
            self.transform(means),
            prefetch=self.p.prefetch,
        )


@layer_op("HDF5Data")
class HDF5Data(SourceOp):
    """Rows of HDF5 data sets named like the tops (hdf5_data_layer.cpp)."""

    messages = ("hdf5_data_param", "transform_param")
    keras = "keras.Input, caffe_runtime.hdf5_data"
    path = "hdf5_data_param"

    def reader(self, means: Means) -> DataLayer:
        if self.layer.message.has("transform_param"):
            raise OpError(
                "hdf5-transform",
                "HDF5Data does not transform its data",
                field="transform_param",
                help="remove transform_param, as Caffe demands",
            )
        return ReaderLayer(
            "hdf5_data",
            "HDF5Reader",
            self.tops_named(),
            self.source(),
            self.batch_size(),
            _changed(self.p, shuffle=False),
            is_rooted=True,
            draws=self.p.shuffle,
        )


@layer_op("ImageData")
class ImageData(SourceOp):
    """Image files of a list (image_data_layer.cpp)."""

    messages = ("image_data_param", "transform_param")
    keras = "keras.Input, caffe_runtime.image_data"
    path = "image_data_param"
    tops = exactly(2)

    def record_shapes(self) -> list[Shape] | None:
        p = self.p
        cropped = self.cropped_image()
        channels = 3 if p.is_color else 1
        if cropped is not None:
            return [(channels, *cropped[0][1:]), ()]
        if p.new_height and p.new_width:
            return [(channels, p.new_height, p.new_width), ()]
        return None

    def reader(self, means: Means) -> DataLayer:
        p = self.p
        return ReaderLayer(
            "image_data",
            "ImageListReader",
            self.tops_named(),
            self.source(),
            self.batch_size(),
            _changed(
                p,
                root_folder="",
                new_height=0,
                new_width=0,
                is_color=True,
                shuffle=False,
                rand_skip=0,
            ),
            self.transform(means),
            prefetch=self.layer.message.data_param.prefetch,
            is_rooted=True,
            draws=p.shuffle or p.rand_skip > 0,
        )


@layer_op("WindowData")
class WindowData(SourceOp):
    """Windows of images, objects and background, for R-CNN (window_data_layer.cpp)."""

    messages = ("window_data_param", "transform_param")
    keras = "keras.Input, caffe_runtime.window_data"
    path = "window_data_param"
    tops = exactly(2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        crop = self.layer.message.transform_param.crop_size
        if crop <= 2 * self.p.context_pad:
            raise OpError(
                "window-crop",
                f"a crop_size of {crop} has no room for windows with a context_pad of "
                f"{self.p.context_pad}",
                field="transform_param.crop_size",
                help="set crop_size in `transform_param` to the size that windows are "
                "warped to",
            )
        return super().infer_shapes(bottom, data)

    def record_shapes(self) -> list[Shape] | None:
        crop = self.layer.message.transform_param.crop_size
        return [(3, crop, crop), ()]

    def reader(self, means: Means) -> DataLayer:
        p, transform = self.p, self.layer.message.transform_param
        settings = _changed(p, scale=1.0)
        settings |= _changed(transform, crop_size=0, mirror=False)
        if transform.has("mean_value"):
            settings["mean_values"] = tuple(transform.mean_value)
        settings |= _changed(p, context_pad=0, crop_mode="warp")
        return ReaderLayer(
            "window_data",
            "WindowReader",
            self.tops_named(),
            self.source(),
            self.batch_size(),
            _changed(
                p,
                fg_threshold=0.5,
                bg_threshold=0.5,
                fg_fraction=0.25,
                root_folder="",
                cache_images=False,
            ),
            Transform(
                settings,
                self.mean(transform, means),
                module="window_data",
                name="WindowWarp",
                takes_phase=False,
            ),
            prefetch=self.layer.message.data_param.prefetch,
            is_rooted=True,
            draws=True,
        )
