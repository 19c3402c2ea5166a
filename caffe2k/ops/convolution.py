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
                help="a Reshape layer can bring the blob to such axes",
            )
        axes = len(bottom) - 2
        return Geometry(
            per_axis(self.p, "kernel_size", axes, None, _PATH),
            per_axis(self.p, "stride", axes, 1, _PATH),
            per_axis(self.p, "pad", axes, 0, _PATH),
            per_axis(self.p, "dilation", axes, 1, _PATH),
        )

    def num_output(self, bottom: Shape) -> int:
        """The channels of the top."""
        return int(self.p.num_output)

    def group(self, bottom: Shape) -> int:
        """How many parts the channels fall into, each convolved on its own."""
        return int(self.p.group)

    def check_groups(self, bottom: Sequence[Shape]) -> None:
        """num_output, and how it divides among groups."""
        name, first = self.layer.name, bottom[0]
        outputs, group = self.num_output(first), self.group(first)
        if outputs < 1:
            raise OpError(
                "missing-num-output",
                f"layer `{name}` has no `num_output`",
                field=_PATH,
                help=f"add it to `{_PATH}`",
            )
        for index, shape in enumerate(bottom):
            if shape[1:] == first[1:]:
                continue
            raise OpError(
                "bottom-shapes",
                f"layer `{name}` has bottoms of different shapes, {first} and {shape}",
                field="bottom",
                index=index,
                help="its filters are made for the first; give the other a layer of its own",
            )
        if group < 1 or (first[1] or 0) % group or outputs % group:
            raise OpError(
                "group",
                f"`group` {group} does not divide both {first[1]} channels and "
                f"{outputs} outputs evenly",
                field=f"{_PATH}.group",
                help="take a number that divides both, or change num_output",
            )

    def with_bias(self, weights: tuple[int, ...], bottom: Shape) -> list[Shape]:
        """The shapes of the kernel, and of the bias if there is one."""
        return [weights, (self.num_output(bottom),)] if self.p.bias_term else [weights]

    def mark_speed_read(self) -> None:
        """Settings that choose between ways to compute the same."""
        self.p.mark_read(
            "engine",
            "force_nd_im2col",
            "cudnn_convolution_algo_seeker",
            "conv_algos_override",
            "conv_algorithm",
        )

    def filter_arguments(self, k: Lowering) -> dict[str, Argument]:
        """Initializers, bias and activation: what every convolution of Keras takes."""
        arguments: dict[str, Argument] = {}
        if k.activation:
            arguments["activation"] = k.activation
        if not self.p.bias_term:
            self.p.mark_read("bias_filler")
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
                    f"the padded input has {(size or 0) + 2 * pad}",
                    field=f"{_PATH}.kernel_size",
                    help="make the kernel smaller, or the `pad` larger",
                )
            sizes.append(out)
        return (bottom[0], self.num_output(bottom), *sizes)

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        first = bottom[0]
        inputs = (first[1] or 0) // self.group(first)
        kernel = self.geometry(first).kernel
        return self.with_bias((self.num_output(first), inputs, *kernel), first)

    def lower(self, k: Lowering) -> None:
        self.mark_speed_read()
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
            self.group(k.bottom[0]) == channels > 1
            and rank == 2
            and len(set(g.stride)) == 1
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
        rank = len(g.kernel)
        outputs, group = self.num_output(k.bottom[0]), self.group(k.bottom[0])
        steps = conv_kernel(rank)
        kernel, target = "kernel", keras_layer(f"Conv{rank}D")
        args: tuple[Argument, ...] = (outputs, one_or_each(g.kernel))
        if depthwise:
            kernel, target = "depthwise", keras_layer("DepthwiseConv2D")
            args = args[1:]
            if outputs != group:
                arguments["depth_multiplier"] = outputs // group
            shape = tuple(d or 0 for d in k.params[0])
            steps = depthwise_kernel(group, shape)
        elif group > 1:
            arguments["groups"] = group
        weights = [k.weight("depthwise_kernel" if depthwise else kernel, 0, steps)]
        if self.p.bias_term:
            weights.append(k.weight("bias", 1, IDENTITY))
        arguments |= self.filter_arguments(k) | self.initializers(k, kernel)
        return k.add(
            target, *args, inputs=[x], weights=weights, **arguments, **k.data_format()
        )
