"""Upsample and Interp: forks' layers that make planes larger."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import Count, DataShapes, LayoutPlan, SpatialOp
from caffe2k.ops.errors import OpError, not_images
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.spatial import one_or_each


def plane_size(layer: Layer, bottom: Shape) -> tuple[int, int]:
    """Height and width of (N, C, H, W); raises OpError where they are not known."""
    if len(bottom) != 4:
        raise not_images(layer, bottom)
    height, width = bottom[2:]
    if height is None or width is None:
        raise OpError(
            "phase-shapes",
            f"layer `{layer.name}` gets images of one size in TRAIN and of another in "
            "TEST",
            field="bottom",
            help="translate one phase with --phase",
        )
    return height, width


@layer_op("Upsample")
class Upsample(SpatialOp):
    """Values put back where a Pooling layer's mask found them, or repeated.

    With a mask: alexgkendall/caffe-segnet, upsample_layer.cpp. Without: the layer of
    the same name of eric612/MobileNet-YOLO, upsample_layer.cpp.
    """

    keras = "caffe_runtime.upsampling.Unpooling2D, UpSampling2D"
    bottoms = Count(1, 2)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.upsample_param

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        plane_size(self.layer, bottom[0])
        if len(bottom) > 1 and bottom[1] != bottom[0]:
            raise OpError(
                "bottom-shapes",
                f"the mask of layer `{self.layer.name}` must have the shape of the "
                f"values, {bottom[0]}, not {bottom[1]}",
                field="bottom",
                index=1,
                help="take the second top of the Pooling layer whose plane is filled",
            )
        return [(*bottom[0][:2], *self._size(bottom))]

    def _size(self, bottom: Sequence[Shape]) -> tuple[int, int]:
        """Height and width of the top (UpsampleLayer::LayerSetUp, Reshape)."""
        height, width = plane_size(self.layer, bottom[0])
        if len(bottom) == 1:
            return height * self._repeats(), width * self._repeats()
        p = self.p
        if p.has("upsample_h") and p.has("upsample_w"):
            p.mark_read("scale", "scale_h", "scale_w", "pad_out_h", "pad_out_w")
            size = p.upsample_h, p.upsample_w
            if min(size) < 2:
                raise self._bad_size("upsample_h", f"{size[0]} x {size[1]}")
            return size
        if p.has("scale_h") != p.has("scale_w") or (
            p.has("scale_h") and p.has("scale")
        ):
            raise OpError(
                "conflicting-sizes",
                f"layer `{self.layer.name}` sets its size in two ways, or by half",
                field="upsample_param",
                help="give upsample_h and upsample_w",
            )
        scale_h, scale_w = (
            (p.scale_h, p.scale_w) if p.has("scale_h") else (p.scale, p.scale)
        )
        if min(scale_h, scale_w) < 2:
            field = "scale_h" if p.has("scale_h") else "scale"
            raise self._bad_size(field, f"{scale_h} x {scale_w}")
        return (
            height * scale_h - self._shortened("pad_out_h", scale_h),
            width * scale_w - self._shortened("pad_out_w", scale_w),
        )

    def _repeats(self) -> int:
        if not self.p.has("scale") or self.p.scale < 1:
            raise OpError(
                "bad-size",
                f"layer `{self.layer.name}` has no mask, and no `scale` that says how "
                "often a value is repeated",
                field="upsample_param",
                help="add `scale`, or the mask as a second bottom",
            )
        return int(self.p.scale)

    def _shortened(self, field: str, scale: int) -> int:
        """1 where the axis ends one earlier than it would."""
        shortened = bool(getattr(self.p, field))
        if shortened and scale != 2:
            raise OpError(
                "bad-size",
                f"`{field}` needs a scale of 2, not {scale}",
                field=f"upsample_param.{field}",
                help="give upsample_h and upsample_w instead",
            )
        return int(shortened)

    def _bad_size(self, field: str, size: str) -> OpError:
        return OpError(
            "bad-size",
            f"layer `{self.layer.name}` must make planes larger, not {size}",
            field=f"upsample_param.{field}",
            help="both numbers must be at least 2",
        )

    def lower(self, k: Lowering) -> None:
        form = k.data_format()
        if len(k.bottom) == 1:
            k.output(k.add(keras_layer("UpSampling2D"), self._repeats(), **form))
            return
        target = runtime("upsampling", "Unpooling2D")
        k.output(k.add(target, self._size(k.bottom), **form))


@layer_op("Interp")
class Interp(SpatialOp):
    """Bilinear interpolation (hszhao/PSPNet, interp_layer.cpp).

    A second bottom whose size is taken is an addition of maweifei/deeplab-ver2.
    """

    keras = "caffe_runtime.upsampling.Interpolation2D"
    bottoms = Count(1, 2)

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.interp_param

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        cropped = self._cropped(bottom[0])
        size = self._size(cropped, bottom)
        if min(*cropped, *size) < 1:
            raise OpError(
                "bad-size",
                f"layer `{self.layer.name}` would interpolate {cropped} values to {size}",
                field="interp_param",
                help="all sizes must be at least 1",
            )
        return [(*bottom[0][:2], *size)]

    def _cropped(self, bottom: Shape) -> tuple[int, int]:
        """Height and width after pad_beg and pad_end, which are 0 or negative."""
        height, width = plane_size(self.layer, bottom)
        for field in ("pad_beg", "pad_end"):
            if getattr(self.p, field) > 0:
                raise OpError(
                    "bad-size",
                    f"`{field}` can only cut off: it must be 0 or negative",
                    field=f"interp_param.{field}",
                    help="there is no padding in this layer",
                )
        cut = self.p.pad_beg + self.p.pad_end
        return height + cut, width + cut

    def _size(
        self, cropped: tuple[int, int], bottom: Sequence[Shape]
    ) -> tuple[int, int]:
        """Height and width of the top (InterpLayer::Reshape)."""
        p = self.p
        zooms, shrinks = p.has("zoom_factor"), p.has("shrink_factor")
        given = p.has("height") and p.has("width")
        if given and zooms == shrinks:
            return p.height, p.width
        if zooms or shrinks:
            height, width = (self._scaled(extent) for extent in cropped)
            p.mark_read("height", "width")
            return height, width
        if len(bottom) == 2:
            return plane_size(self.layer, bottom[1])
        raise OpError(
            "missing-size",
            f"layer `{self.layer.name}` says nowhere how large its top is",
            field="interp_param",
            help="give height and width, zoom_factor, shrink_factor, or a second bottom",
        )

    def _scaled(self, extent: int) -> int:
        """The extent after shrink_factor, and then zoom_factor."""
        for field in ("shrink_factor", "zoom_factor"):
            factor = getattr(self.p, field)
            if factor < 1:
                raise OpError(
                    "bad-size",
                    f"`{field}` must be at least 1, not {factor}",
                    field=f"interp_param.{field}",
                    help="1 leaves the size as it is",
                )
        shrunk = (extent - 1) // self.p.shrink_factor + 1
        return int((shrunk - 1) * self.p.zoom_factor + 1)

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        # Of a second bottom only the size is looked at.
        return LayoutPlan([form.spatial(4), *given[1:]], [form.spatial(4)])

    def lower(self, k: Lowering) -> None:
        p, arguments = self.p, dict[str, Argument]()
        if p.pad_beg or p.pad_end:
            arguments["cropping"] = one_or_each((-p.pad_beg, -p.pad_end))
        size = self._size(self._cropped(k.bottom[0]), k.bottom)
        target = runtime("upsampling", "Interpolation2D")
        inputs = [k.inputs[0]]
        k.output(k.add(target, size, inputs=inputs, **arguments, **k.data_format()))
