"""Input, MemoryData and DummyData: blobs that stand in no file."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.data_layers import DataLayer, ReaderLayer
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, exactly
from caffe2k.ops.data import Means, SourceOp
from caffe2k.ops.errors import OpError
from caffe2k.ops.registry import layer_op


@layer_op("Input")
class Input(SourceOp):
    """Blobs that the caller fills (input_layer.cpp)."""

    keras = "keras.Input, caffe_runtime.memory_data"
    path = "input_param"
    shaped_by_data = False

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        return self._shapes()

    def _shapes(self) -> list[Shape]:
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

    def reader(self, means: Means) -> DataLayer:
        return ReaderLayer(
            "memory_data",
            "InputReader",
            self.tops_named(),
            settings={"shapes": self._shapes()},
            takes="blobs",
        )


@layer_op("MemoryData")
class MemoryData(SourceOp):
    """Arrays that the program hands over (memory_data_layer.cpp)."""

    keras = "keras.Input, caffe_runtime.memory_data"
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

    def reader(self, means: Means) -> DataLayer:
        p = self.p
        return ReaderLayer(
            "memory_data",
            "MemoryReader",
            self.tops_named(),
            batch_size=p.batch_size,
            settings={"shape": (p.channels, p.height, p.width)},
            takes="arrays",
        )


@layer_op("DummyData")
class DummyData(SourceOp):
    """Blobs from fillers (dummy_data_layer.cpp)."""

    keras = "keras.Input, caffe_runtime.dummy_data"
    path = "dummy_data_param"
    shaped_by_data = False

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        return self._shapes()

    def _shapes(self) -> list[Shape]:
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

    def reader(self, means: Means) -> DataLayer:
        shapes = self._shapes()
        fillers = [
            {name: entry.value for name, entry in filler.entries()}
            for filler in self.p.data_filler
        ]
        self.p.mark_read("data_filler")
        concrete = tuple(tuple(d or 0 for d in shape) for shape in shapes)
        kinds = {filler.get("type", "constant") for filler in fillers}
        settings: dict[str, object] = {"shapes": list(concrete)}
        if fillers:
            settings["fillers"] = tuple(fillers)
        return ReaderLayer(
            "dummy_data",
            "DummyReader",
            self.tops_named(),
            settings=settings,
            draws=not kinds <= {"constant", "bilinear"},
        )
