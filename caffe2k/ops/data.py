"""Input and the data layers: where the blobs of a net come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from caffe2k.codegen.data_script import (
    DatabaseLayer,
    DataLayer,
    DummyLayer,
    HDF5Layer,
    ImageListLayer,
    Named,
    Transform,
)
from caffe2k.diagnostics import SourceSpan
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import DataShapes, LayerOp, OpError, at_least, exactly
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

    def reader(self, means: Means) -> DataLayer | None:
        """What data.py reads the layer's batches with; None where it has no reader."""
        return None

    def lower(self, k: Lowering) -> None:
        raise NotImplementedError("data layers become inputs of the model")

    def tops_named(self) -> tuple[str, ...]:
        return tuple(top.name for top in self.layer.tops)

    def source(self) -> Named:
        """The file or folder that the layer reads, and the line that says so."""
        return Named(self.p.source, place(self.p.span_of("source")))

    def transform(self, means: Means) -> Transform:
        """transform_param (data_transformer.cpp)."""
        p = self.layer.message.transform_param
        mean = None
        if p.has("mean_file"):
            if p.has("mean_value"):
                raise OpError(
                    "two-means",
                    "`mean_file` and `mean_value` exclude each other",
                    field="transform_param.mean_value",
                    help="keep one of them",
                )
            span = p.span_of("mean_file")
            mean = Named(means.port(p.mean_file, span), place(span))
        return Transform(
            scale=p.scale,
            mean=mean,
            mean_values=tuple(p.mean_value),
            crop_size=p.crop_size,
            mirror=p.mirror,
            force_color=p.force_color,
            force_gray=p.force_gray,
        )

    def cropped_image(self) -> list[Shape] | None:
        """The shape that crop_size tells: as many channels as mean values, or 3."""
        p = self.layer.message.transform_param
        if not p.crop_size:
            return None
        channels = len(p.mean_value) if len(p.mean_value) > 1 else 3
        return [(channels, p.crop_size, p.crop_size), ()]


def place(span: SourceSpan | None) -> str:
    """`train_val.prototxt:12`: the file without its folder, and the line."""
    if span is None:
        return "the net"
    name = span.source.name.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{span.line}"


@layer_op("Input")
class Input(SourceOp):
    """Blobs that the caller fills (input_layer.cpp)."""

    keras = "keras.Input"
    path = "input_param"
    shaped_by_data = False

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        shapes: list[Shape] = [tuple(s.dim) for s in self.p.shape]
        if len(shapes) == 1:
            shapes *= len(self.layer.tops)
        if len(shapes) != len(self.layer.tops):
            raise OpError(
                "input-shapes",
                f"layer `{self.layer.name}` has {len(shapes)} shapes for "
                f"{len(self.layer.tops)} tops",
                field="input_param",
                help="give one `shape` for all tops, or one for each",
            )
        return shapes


@layer_op("Data")
class Data(SourceOp):
    """Records of a database, one after the other (data_layer.cpp)."""

    keras = "keras.Input, caffe_runtime.databases"
    path = "data_param"

    def record_shapes(self) -> list[Shape] | None:
        return self.cropped_image()

    def reader(self, means: Means) -> DataLayer | None:
        # Caffe 1.0 has these fields, and its data layer reads none of them.
        self.p.mark_read("prefetch", "rand_skip", "force_encoded_color")
        return DatabaseLayer(
            self.source(),
            self.p.batch_size,
            self.tops_named(),
            self.p.backend,
            self.transform(means),
        )


@layer_op("HDF5Data")
class HDF5Data(SourceOp):
    """Rows of HDF5 data sets named like the tops (hdf5_data_layer.cpp)."""

    keras = "keras.Input, caffe_runtime.hdf5_data"
    path = "hdf5_data_param"

    def reader(self, means: Means) -> DataLayer | None:
        if self.layer.message.has("transform_param"):
            raise OpError(
                "hdf5-transform",
                "HDF5Data does not transform its data",
                field="transform_param",
                help="remove transform_param, as Caffe demands",
            )
        return HDF5Layer(
            self.source(), self.p.batch_size, self.tops_named(), self.p.shuffle
        )


@layer_op("ImageData")
class ImageData(SourceOp):
    """Image files of a list (image_data_layer.cpp)."""

    keras = "keras.Input, caffe_runtime.image_data"
    path = "image_data_param"

    def record_shapes(self) -> list[Shape] | None:
        p = self.p
        cropped = self.cropped_image()
        channels = 3 if p.is_color else 1
        if cropped is not None:
            return [(channels, *cropped[0][1:]), ()]
        if p.new_height and p.new_width:
            return [(channels, p.new_height, p.new_width), ()]
        return None

    def reader(self, means: Means) -> DataLayer | None:
        p = self.p
        return ImageListLayer(
            self.source(),
            p.batch_size,
            self.tops_named(),
            self.transform(means),
            p.root_folder,
            p.new_height,
            p.new_width,
            p.is_color,
            p.shuffle,
            p.rand_skip,
        )


@layer_op("DummyData")
class DummyData(SourceOp):
    """Blobs from fillers (dummy_data_layer.cpp)."""

    keras = "keras.Input, caffe_runtime.dummy_data"
    path = "dummy_data_param"
    shaped_by_data = False

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        p, number = self.p, len(self.layer.tops)
        shapes: list[Shape] = [tuple(s.dim) for s in p.shape]
        if len(shapes) == 1:
            shapes *= number
        if len(shapes) != number:
            raise self._bad_counts("shape", len(shapes))
        if len(p.data_filler) not in (0, 1, number):
            raise self._bad_counts("data_filler", len(p.data_filler))
        return shapes

    def _bad_counts(self, field: str, number: int) -> OpError:
        return OpError(
            "dummy-data-counts",
            f"layer `{self.layer.name}` has {number} `{field}` for "
            f"{len(self.layer.tops)} tops",
            field=f"{self.path}.{field}",
            help="give one for all tops, or one for each",
        )

    def reader(self, means: Means) -> DataLayer | None:
        shapes = self.infer_shapes([], _NO_DATA)
        fillers = [
            {name: entry.value for name, entry in filler.entries()}
            for filler in self.p.data_filler
        ]
        self.p.mark_read("data_filler")
        concrete = tuple(tuple(d or 0 for d in shape) for shape in shapes)
        return DummyLayer(self.tops_named(), concrete, tuple(fillers))


class _NoData:
    def of(self, layer: Layer) -> tuple[Shape, ...] | None:
        return None


_NO_DATA = _NoData()


@layer_op("MemoryData")
class MemoryData(SourceOp):
    """Arrays that the program hands over (memory_data_layer.cpp)."""

    keras = "keras.Input"
    path = "memory_data_param"
    shaped_by_data = False
    tops = exactly(2)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        p = self.p
        image = (p.batch_size, p.channels, p.height, p.width)
        if min(image) < 1:
            raise OpError(
                "input-shapes",
                "batch_size, channels, height and width must all be set",
                field=self.path,
                help=f"add those that are missing to `{self.path}`",
            )
        return [image, (p.batch_size,)]


@layer_op("WindowData")
class WindowData(SourceOp):
    """Windows of images (window_data_layer.cpp)."""

    keras = "keras.Input"
    path = "window_data_param"

    def record_shapes(self) -> list[Shape] | None:
        return self.cropped_image()
