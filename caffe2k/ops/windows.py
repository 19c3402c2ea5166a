"""Im2col and SPP: windows of an image unfolded, or pooled on a pyramid of grids."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe2k.codegen.program import Argument, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan, SpatialOp
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.pooling import Windows
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within
from caffe2k.ops.spatial import Geometry, Sizes, one_or_each
from caffe2k.ops.upsampling import plane_size


@layer_op("Im2col")
class Im2col(LayerOp):
    """Each window as the channels of one place (im2col_layer.cpp)."""

    messages = ("convolution_param",)
    ignores = (
        "convolution_param.num_output",
        "convolution_param.group",
        "convolution_param.bias_term",
        "convolution_param.weight_filler",
        "convolution_param.bias_filler",
    )
    keras = "caffe_runtime.windows.Im2col"
    path = "convolution_param"

    def _axis(self, bottom: Shape) -> int:
        axis = self.layer.message.convolution_param.axis
        axis = axis_within(axis, bottom, self.layer, f"{self.path}.axis")
        if axis == len(bottom) - 1:
            raise OpError(
                "convolution-axis",
                f"layer `{self.layer.name}` has no axes behind the channels, axis {axis}",
                field=f"{self.path}.axis",
                help="name the axis before the ones that windows lie in",
            )
        return axis

    def _geometry(self, bottom: Shape) -> Geometry:
        return Geometry.of(self.layer, len(bottom) - self._axis(bottom) - 1)

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        (shape,), axis = bottom, self._axis(bottom[0])
        g = self._geometry(shape)
        sizes = g.windows(self.layer, shape[axis + 1 :])
        channels = shape[axis]
        columns = None if channels is None else channels * math.prod(g.kernel)
        return [(*shape[:axis], columns, *sizes)]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        layout = self._layout(bottom[0], form)
        return LayoutPlan([layout], [layout])

    def _layout(self, bottom: Shape, form: DataFormat) -> Layout:
        """The channels last or first; whatever lies before them stays in front."""
        rank, axis = len(bottom), self._axis(bottom)
        if not form.is_channels_last:
            return caffe_layout(rank)
        return Layout((*range(axis), *range(axis + 1, rank), axis))

    def lower(self, k: Lowering) -> None:
        p, g = self.layer.message.convolution_param, self._geometry(k.bottom[0])
        p.mark_read("engine", "force_nd_im2col")
        settings: dict[str, Argument] = {}
        for name, sizes, default in (
            ("strides", g.stride, 1),
            ("padding", g.pad, 0),
            ("dilation_rate", g.dilation, 1),
        ):
            if set(sizes) != {default}:
                settings[name] = one_or_each(sizes)
        target = runtime("windows", "Im2col")
        k.output(k.add(target, g.kernel, **settings, **k.data_format()))


@layer_op("SPP")
class SPP(SpatialOp):
    """Poolings over the whole image with 1, 4, 16, ... windows (spp_layer.cpp)."""

    keras = (
        "caffe_runtime.windows.SpatialPyramidPooling2D, MaxPooling2D, "
        "GlobalAveragePooling2D"
    )

    def _windows(self, bottom: Shape) -> list[Windows]:
        """The windows of each level (SPPLayer::GetPoolingParam)."""
        p, plane = self.layer.message.spp_param, plane_size(self.layer, bottom)
        if p.pyramid_height < 1:
            raise OpError(
                "bad-size",
                f"layer `{self.layer.name}` has no `pyramid_height`",
                field="spp_param.pyramid_height",
                help="it takes at least one level",
            )
        levels = []
        for level in range(p.pyramid_height):
            kernel = tuple(-(-size // 2**level) for size in plane)
            missing = (k * 2**level - n for k, n in zip(kernel, plane, strict=True))
            pad = tuple((m + 1) // 2 for m in missing)
            self._check(level, kernel, pad, plane)
            levels.append(Windows(plane, kernel, kernel, pad, True))
        return levels

    def _check(self, level: int, kernel: Sizes, pad: Sizes, plane: Sizes) -> None:
        """What PoolingLayer::LayerSetUp says to a level."""
        if any(p >= k for p, k in zip(pad, kernel, strict=True)):
            raise OpError(
                "kernel-too-large",
                f"the {plane[0]} x {plane[1]} input of layer `{self.layer.name}` is too "
                f"small for {2**level} x {2**level} windows",
                field="spp_param.pyramid_height",
                help=f"it is at most {level}",
            )
        if any(pad) and self.layer.message.spp_param.pool == "STOCHASTIC":
            raise OpError(
                "bad-size",
                f"the windows of layer `{self.layer.name}` reach over the border of its "
                f"{plane[0]} x {plane[1]} input, which STOCHASTIC pooling can't do",
                field="spp_param.pool",
                help="make height and width multiples of the windows, or use MAX",
            )

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        levels = self._windows(bottom[0])
        number, channels = bottom[0][:2]
        if len(levels) == 1:
            return [(number, channels, *levels[0].pooled)]
        places = sum(math.prod(level.pooled) for level in levels)
        return [(number, None if channels is None else channels * places)]

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        return LayoutPlan([form.spatial(4)], [form.spatial(len(top[0]))])

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.spp_param
        p.mark_read("engine")
        if p.pyramid_height == 1:
            self._lower_flat(k)
            return
        settings: dict[str, Argument] = {} if p.pool == "MAX" else {"pool": p.pool}
        target = runtime("windows", "SpatialPyramidPooling2D")
        k.output(k.add(target, p.pyramid_height, **settings, **k.data_format()))

    def _lower_flat(self, k: Lowering) -> None:
        """One level is one window, and the only one whose output stays an image."""
        pool = self.layer.message.spp_param.pool
        if pool == "AVE":
            target = keras_layer("GlobalAveragePooling2D")
            k.output(k.add(target, keepdims=True, **k.data_format()))
            return
        target = keras_layer("MaxPooling2D")
        if pool == "STOCHASTIC":
            target = runtime("pooling", "StochasticPooling2D")
        size = one_or_each(plane_size(self.layer, k.bottom[0]))
        k.output(k.add(target, size, **k.data_format()))
