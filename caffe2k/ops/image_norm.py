"""MVN and Normalize: every sample, or each of its channels, normalized by itself."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import (
    BackwardReads,
    DataShapes,
    ElementwiseOp,
    LayerOp,
    LayoutPlan,
)
from caffe2k.ops.errors import not_images
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import reshape_to
from caffe2k.weights.transforms import reorder_axis


def _check_rank(op: LayerOp, bottom: Shape, least: int) -> None:
    """Caffe asks such blobs for num, channels, height and width (Blob::LegacyShape)."""
    if not least <= len(bottom) <= 4:
        raise not_images(op.layer, bottom)


@layer_op("MVN")
class MVN(LayerOp):
    """Mean and variance of an image, or of each channel, taken out (mvn_layer.cpp)."""

    keras = "caffe_runtime.image_norm.MVN"

    @property
    def backward_reads(self) -> BackwardReads:
        if not self.layer.message.mvn_param.normalize_variance:
            return BackwardReads.NOTHING
        return BackwardReads.ALWAYS if self.layer.in_place else BackwardReads.VALUE

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        _check_rank(self, bottom[0], 1)
        return [(*bottom[0], *[1] * (4 - len(bottom[0])))]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        if len(bottom[0]) == 4:
            plain = given[0].plain
            return LayoutPlan([plain], [plain])
        return LayoutPlan([caffe_layout(len(bottom[0]))], [caffe_layout(4)])

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.mvn_param
        (x,), layout = k.inputs, k.out_layouts[0]
        x = reshape_to(
            k,
            x,
            k.in_layouts[0].keras_shape(k.bottom[0]),
            layout.keras_shape(k.top[0]),
            suffix="reshape",
        )
        caffe_axes = (1, 2, 3) if p.across_channels else (2, 3)
        axes = sorted(layout.keras_axis(axis) for axis in caffe_axes)
        settings: dict[str, Argument] = {}
        if not p.normalize_variance:
            settings["normalize_variance"] = False
            p.mark_read("eps")
        elif p.eps != 1e-9:
            settings["epsilon"] = p.eps
        k.output(k.add(runtime("image_norm", "MVN"), axes, inputs=[x], **settings))


@layer_op("Normalize")
class Normalize(ElementwiseOp):
    """The L2 norm of an image, or of each place, made a learned scale.

    weiliu89/caffe, branch ssd, normalize_layer.cpp.
    """

    messages = ("norm_param",)
    keras = "caffe_runtime.image_norm.Normalize"

    @property
    def backward_reads(self) -> BackwardReads:
        return BackwardReads.ALWAYS if self.layer.in_place else BackwardReads.VALUE

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        _check_rank(self, bottom[0], 2)
        return super().infer_shapes(bottom, data)

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        shared = self.layer.message.norm_param.channel_shared
        return [() if shared else (bottom[0][1],)]

    def lower(self, k: Lowering) -> None:
        p, layout = self.layer.message.norm_param, k.in_layouts[0]
        settings: dict[str, Argument] = {}
        axis = layout.keras_axis(1)
        if axis != layout.rank - 1:
            settings["axis"] = axis
        for name in ("across_spatial", "channel_shared"):
            if not getattr(p, name):
                settings[name] = False
        if p.eps != 1e-10:
            settings["epsilon"] = p.eps
        if p.has("scale_filler"):
            path = "norm_param.scale_filler"
            start = initializer(p.scale_filler, k.params[0], path, axis=())
            if start != "ones":
                settings["scale_initializer"] = start
        shape = tuple(d or 0 for d in k.params[0])
        steps = () if p.channel_shared else reorder_axis(shape, 0, layout.order)
        weights = [k.weight("scale", 0, steps)]
        k.output(k.add(runtime("image_norm", "Normalize"), weights=weights, **settings))
