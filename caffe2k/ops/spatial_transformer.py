"""SpatialTransformer: an image as an affine map sees it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import DataShapes, LayoutPlan, SpatialOp, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.upsampling import plane_size

_PATH = "st_param"
_ENTRIES = tuple(f"theta_{row}_{column}" for row in (1, 2) for column in (1, 2, 3))


@layer_op("SpatialTransformer")
class SpatialTransformer(SpatialOp):
    """Bilinear samples along a grid (daerduoCarey/SpatialTransformerLayer, st_layer.cpp
    and st_layer.cu)."""

    messages = ("st_param",)
    keras = "caffe_runtime.spatial_transformer.SpatialTransformer"
    bottoms = exactly(2)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.st_param

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        size = self._size(bottom[0])
        self._check_kind()
        self._check_theta(bottom)
        return [(*bottom[0][:2], *size)]

    def _size(self, bottom: Shape) -> tuple[int, int]:
        height, width = plane_size(self.layer, bottom)
        p = self.p
        size = (
            p.output_H if p.has("output_H") else height,
            p.output_W if p.has("output_W") else width,
        )
        if min(size) < 1:
            raise OpError(
                "bad-size",
                f"the output of layer `{self.layer.name}` can't be {size[0]} x {size[1]}",
                field=f"{_PATH}.output_{'H' if size[0] < 1 else 'W'}",
                help="both numbers must be at least 1",
            )
        return size

    def _check_kind(self) -> None:
        for field, only in (("transform_type", "affine"), ("sampler_type", "bilinear")):
            if getattr(self.p, field) != only:
                raise OpError(
                    "transformer-kind",
                    f"`{field}` of layer `{self.layer.name}` can only be `{only}`",
                    field=f"{_PATH}.{field}",
                    help="the fork knows no other",
                )

    def _check_theta(self, bottom: Sequence[Shape]) -> None:
        theta = bottom[1]
        given = math.prod(dim or 0 for dim in theta[1:])
        fixed = sum(self.p.has(entry) for entry in _ENTRIES)
        if given + fixed != 6 or theta[0] != bottom[0][0]:
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` needs {6 - fixed} numbers for each of "
                f"{bottom[0][0]} images as its second bottom, not {theta}",
                field="bottom",
                index=1,
                help="the matrix has six entries; those that st_param fixes are left out",
            )

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        theta = caffe_layout(len(bottom[1]))
        return LayoutPlan([form.spatial(4), theta], [form.spatial(4)])

    def lower(self, k: Lowering) -> None:
        p, arguments = self.p, dict[str, Argument]()
        size = self._size(k.bottom[0])
        if size != k.bottom[0][2:]:
            arguments["size"] = size
        if any(p.has(entry) for entry in _ENTRIES):
            arguments["fixed"] = [
                getattr(p, entry) if p.has(entry) else None for entry in _ENTRIES
            ]
        if not p.to_compute_dU:
            arguments["learns_planes"] = False
        target = runtime("spatial_transformer", "SpatialTransformer")
        k.output(k.add(target, **arguments, **k.data_format()))
