"""Convolution and what it becomes: Conv1D to Conv3D, depthwise where it is that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2k.codegen.program import Argument, Tensor, keras_layer
from caffe2k.ir.net import Layer, Shape
from caffe2k.ops.base import DataShapes, OpError, SpatialOp, at_least
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.spatial import Sizes, one_or_each, per_axis
from caffe2k.weights.transforms import IDENTITY, conv_kernel, depthwise_kernel

_PATH = "convolution_param"


@dataclass(frozen=True)
class Geometry:
    """The settings of a convolution over an input of known rank, one number an axis."""

    kernel: Sizes
    stride: Sizes
    pad: Sizes
    dilation: Sizes

    @property
    def extent(self) -> Sizes:
        """What a dilated kernel covers."""
        pairs = zip(self.kernel, self.dilation, strict=True)
        return tuple(d * (k - 1) + 1 for k, d in pairs)

    @property
    def keeps_size(self) -> bool:
        """Whether this is Keras's padding="same"."""
        pairs = zip(self.pad, self.extent, strict=True)
        return set(self.stride) == {1} and all(2 * p == e - 1 for p, e in pairs)


class ConvolutionLike(SpatialOp):
    """What Convolution and Deconvolution have in common (base_conv_layer.cpp)."""

    bottoms = at_least(1)
    tops = at_least(1)
    same_count = True
    takes_activation = True

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.convolution_param

    def geometry(self, bottom: Shape) -> Geometry:
        """The settings for this input; raises OpError where Caffe refuses them."""
        if self.p.axis % len(bottom) != 1 or len(bottom) not in (3, 4, 5):
            raise OpError(
                "convolution-axis",
                f"layer `{self.layer.name}` convolves a blob of {len(bottom)} axes along "
                f"the axes after {self.p.axis}; Keras knows (N, C) and one to three more",
                field=f"{_PATH}.axis",
            )
        axes = len(bottom) - 2
        return Geometry(
            per_axis(self.p, "kernel_size", axes, None, _PATH),
            per_axis(self.p, "stride", axes, 1, _PATH),
            per_axis(self.p, "pad", axes, 0, _PATH),
            per_axis(self.p, "dilation", axes, 1, _PATH),
        )

    def check_groups(self, bottom: Sequence[Shape]) -> None:
        """num_output, and how it divides among groups."""
        p, name = self.p, self.layer.name
        if p.num_output < 1:
            raise OpError(
                "missing-num-output", f"layer `{name}` has no `num_output`", field=_PATH
            )
        if any(shape[1:] != bottom[0][1:] for shape in bottom):
            raise OpError(
                "bottom-shapes", f"the bottoms of layer `{name}` have different shapes"
            )
        if p.group < 1 or (bottom[0][1] or 0) % p.group or p.num_output % p.group:
            raise OpError(
                "group",
                f"`group` {p.group} divides neither {bottom[0][1]} channels nor "
                f"{p.num_output} outputs evenly",
                field=f"{_PATH}.group",
            )

    def filter_arguments(self, k: Lowering) -> dict[str, Argument]:
        """Initializers, bias and activation: what every convolution of Keras takes."""
        arguments: dict[str, Argument] = {}
        if k.activation:
            arguments["activation"] = k.activation
        if not self.p.bias_term:
            arguments["use_bias"] = False
        return arguments

    def initializers(self, k: Lowering, kernel: str) -> dict[str, Argument]:
        """How the weights start, where the net trains or says so."""
        p, found = self.p, dict[str, Argument]()
        if k.trains or p.has("weight_filler"):
            path = f"{_PATH}.weight_filler"
            found[f"{kernel}_initializer"] = initializer(
                p.weight_filler,
                k.params[0],
                path,
                axis=-1 if kernel == "kernel" else (2, 3),
            )
        if p.bias_term:
            bias = initializer(p.bias_filler, k.params[1], f"{_PATH}.bias_filler")
            if bias != "zeros":
                found["bias_initializer"] = bias
        return found


@layer_op("Convolution")
class Convolution(ConvolutionLike):
    """Explicit `pad` becomes padding="same" where that is equal, else ZeroPadding."""

    keras = "Conv1D, Conv2D, Conv3D, DepthwiseConv2D"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_groups(bottom)
        return [self._top(shape) for shape in bottom]

    def _top(self, bottom: Shape) -> Shape:
        g = self.geometry(bottom)
        sizes: list[int | None] = []
        for size, extent, stride, pad in zip(
            bottom[2:], g.extent, g.stride, g.pad, strict=True
        ):
            out = None if size is None else (size + 2 * pad - extent) // stride + 1
            if out is not None and out < 1:
                raise OpError(
                    "kernel-too-large",
                    f"the kernel of layer `{self.layer.name}` covers {extent} values, "
                    f"the padded input has {size or 0 + 2 * pad}",
                    field=_PATH,
                )
            sizes.append(out)
        return (bottom[0], self.p.num_output, *sizes)

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        channels = bottom[0][1] or 0
        kernel = self.geometry(bottom[0]).kernel
        weights = (self.p.num_output, channels // self.p.group, *kernel)
        return [weights, (self.p.num_output,)] if self.p.bias_term else [weights]

    def lower(self, k: Lowering) -> None:
        self.p.mark_read("engine", "force_nd_im2col")
        k.output(*(self._convolve(k, x) for x in k.inputs))

    def _convolve(self, k: Lowering, x: Tensor) -> Tensor:
        g = self.geometry(k.bottom[0])
        channels = k.bottom[0][1] or 0
        rank = len(g.kernel)
        arguments: dict[str, Argument] = {}
        if g.keeps_size and max(g.pad) > 0:
            arguments["padding"] = "same"
        elif max(g.pad) > 0:
            padding = keras_layer(f"ZeroPadding{rank}D")
            x = k.add(
                padding, one_or_each(g.pad), inputs=[x], suffix="pad", **k.data_format()
            )
        subsample = max(g.stride) > 1 and max(g.dilation) > 1
        if max(g.stride) > 1 and not subsample:
            arguments["strides"] = one_or_each(g.stride)
        if max(g.dilation) > 1:
            arguments["dilation_rate"] = one_or_each(g.dilation)
        depthwise = (
            self.p.group == channels > 1 and rank == 2 and len(set(g.stride)) == 1
        )
        x = self._filter(k, x, g, arguments, depthwise)
        if subsample:
            pool = keras_layer(f"MaxPooling{rank}D")
            strides = one_or_each(g.stride)
            x = k.add(
                pool, 1, inputs=[x], suffix="stride", strides=strides, **k.data_format()
            )
        return x

    def _filter(
        self,
        k: Lowering,
        x: Tensor,
        g: Geometry,
        arguments: dict[str, Argument],
        depthwise: bool,
    ) -> Tensor:
        p, rank = self.p, len(g.kernel)
        steps = conv_kernel(rank)
        kernel, target = "kernel", keras_layer(f"Conv{rank}D")
        args: tuple[Argument, ...] = (p.num_output, one_or_each(g.kernel))
        if depthwise:
            kernel, target = "depthwise", keras_layer("DepthwiseConv2D")
            args = args[1:]
            if p.num_output != p.group:
                arguments["depth_multiplier"] = p.num_output // p.group
            shape = tuple(d or 0 for d in k.params[0])
            steps = depthwise_kernel(p.group, shape)
        elif p.group > 1:
            arguments["groups"] = p.group
        weights = [k.weight("depthwise_kernel" if depthwise else kernel, 0, steps)]
        if p.bias_term:
            weights.append(k.weight("bias", 1, IDENTITY))
        arguments |= self.filter_arguments(k) | self.initializers(k, kernel)
        return k.add(
            target, *args, inputs=[x], weights=weights, **arguments, **k.data_format()
        )
