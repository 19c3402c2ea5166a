"""ROIPooling and PSROIPooling: regions of an image, brought to one size."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayoutPlan, SpatialOp, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.upsampling import plane_size


class RegionPooling(SpatialOp):
    """What both have in common: planes, and rows (image, x1, y1, x2, y2)."""

    bottoms = exactly(2)

    def check(self, bottom: Sequence[Shape]) -> None:
        """Four axes of planes; five values a region."""
        plane_size(self.layer, bottom[0])
        regions = bottom[1]
        if len(regions) < 2 or regions[1] != 5 or set(regions[2:]) - {1}:
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` needs regions of shape (number, 5), not "
                f"{regions}",
                field="bottom",
                index=1,
                help="a region is the index of its image, x1, y1, x2 and y2",
            )

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        """Axes of size 1 behind the regions may lie anywhere."""
        regions = given[1].plain
        if regions.perm[0] != 0:
            regions = caffe_layout(len(bottom[1]))
        return LayoutPlan([form.spatial(4), regions], [form.spatial(4)])

    def bad_size(self, path: str, field: str, value: int) -> OpError:
        return OpError(
            "bad-size",
            f"`{field}` must be at least 1, not {value}",
            field=f"{path}.{field}",
            help="it is the number of bins or channels that a region becomes",
        )


@layer_op("ROIPooling")
class ROIPooling(RegionPooling):
    """The maximum in each bin (rbgirshick/caffe-fast-rcnn, roi_pooling_layer.cpp, .cu)."""

    keras = "caffe_runtime.regions.ROIPooling"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check(bottom)
        p = self.layer.message.roi_pooling_param
        for field in ("pooled_h", "pooled_w"):
            if getattr(p, field) < 1:
                raise self.bad_size("roi_pooling_param", field, getattr(p, field))
        return [(bottom[1][0], bottom[0][1], p.pooled_h, p.pooled_w)]

    def lower(self, k: Lowering) -> None:
        p, arguments = self.layer.message.roi_pooling_param, dict[str, Argument]()
        if p.spatial_scale != 1:
            arguments["spatial_scale"] = p.spatial_scale
        target = runtime("regions", "ROIPooling")
        k.output(k.add(target, p.pooled_h, p.pooled_w, **arguments, **k.data_format()))


@layer_op("PSROIPooling")
class PSROIPooling(RegionPooling):
    """The mean in each bin, of its own channels (daijifeng001/caffe-rfcn,
    psroi_pooling_layer.cpp and .cu)."""

    keras = "caffe_runtime.regions.PSROIPooling"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check(bottom)
        p = self.layer.message.psroi_pooling_param
        for field in ("output_dim", "group_size"):
            if getattr(p, field) < 1:
                raise self.bad_size("psroi_pooling_param", field, getattr(p, field))
        needed = p.output_dim * p.group_size**2
        if bottom[0][1] != needed:
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` needs {p.output_dim} x {p.group_size} x "
                f"{p.group_size} channels, not {bottom[0][1]}",
                field="bottom",
                help=f"set num_output: {needed} in the layer that writes them",
            )
        return [(bottom[1][0], p.output_dim, p.group_size, p.group_size)]

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.psroi_pooling_param
        target = runtime("regions", "PSROIPooling")
        args = (p.output_dim, p.group_size, p.spatial_scale)
        k.output(k.add(target, *args, **k.data_format()))
