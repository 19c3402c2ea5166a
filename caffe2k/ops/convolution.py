"""Convolution and what it becomes: Conv1D to Conv3D, depthwise where it is that."""

from __future__ import annotations

import math
from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Target, Tensor, keras_layer
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Dim, Layer, Shape, count
from caffe2k.ops.base import DataShapes, LayerOp, LayoutPlan, at_least
from caffe2k.ops.bias_apart import add_bias
from caffe2k.ops.errors import OpError, missing_num_output
from caffe2k.ops.fillers import initializer
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within, reshape_to
from caffe2k.ops.spatial import Geometry, one_or_each
from caffe2k.weights.plan import PlannedWeight
from caffe2k.weights.transforms import IDENTITY, conv_kernel, depthwise_kernel

_PATH = "convolution_param"


class ConvolutionLike(LayerOp):
    """What Convolution and Deconvolution have in common (base_conv_layer.cpp)."""

    messages = ("convolution_param",)
    bottoms = at_least(1)
    tops = at_least(1)
    same_count = True
    takes_activation = True

    def __init__(self, layer: Layer) -> None:
        super().__init__(layer)
        self.p = layer.message.convolution_param

    def axis(self, bottom: Shape) -> int:
        """The axis of the channels; those behind it are filtered."""
        axis = axis_within(self.p.axis, bottom, self.layer, f"{_PATH}.axis")
        if axis == 0 or len(bottom) - axis - 1 not in (1, 2, 3):
            raise OpError(
                "convolution-axis",
                f"layer `{self.layer.name}` convolves a blob of {len(bottom)} axes along "
                f"the axes after {self.p.axis}; Keras needs a batch, channels, and one to "
                "three axes more",
                field=f"{_PATH}.axis",
                help="a Reshape layer can bring the blob to such axes",
            )
        return axis

    def images(self, shape: Shape) -> Shape:
        """A blob as (N, C, ...): all axes before the channels count samples."""
        axis = self.axis(shape)
        lead = shape[:axis]
        samples = None if None in lead else math.prod(d or 0 for d in lead)
        return (samples, *shape[axis:])

    def _layout(self, shape: Shape, form: DataFormat) -> Layout:
        axis = self.axis(shape)
        image = form.spatial(len(shape) - axis + 1)
        return Layout((*range(axis), *(axis - 1 + a for a in image.perm[1:])))

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        layout = self._layout(bottom[0], form)
        return LayoutPlan([layout] * len(bottom), [layout] * len(top))

    def geometry(self, bottom: Shape) -> Geometry:
        """The settings for (N, C, ...); raises OpError where Caffe refuses them."""
        return Geometry.of(self.layer, len(bottom) - 2)

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
            raise missing_num_output(self.layer, _PATH)
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

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        images = [self.images(shape) for shape in bottom]
        self.check_groups(images)
        return [
            (
                *shape[: self.axis(shape)],
                self.num_output(image),
                *self.top_sizes(image),
            )
            for shape, image in zip(bottom, images, strict=True)
        ]

    def top_sizes(self, bottom: Shape) -> list[Dim]:
        """The sizes behind the channels for (N, C, ...)."""
        raise NotImplementedError

    def with_bias(self, weights: tuple[int, ...], bottom: Shape) -> list[Shape]:
        """The shapes of the kernel, and of the bias if there is one."""
        return [weights, (self.num_output(bottom),)] if self.p.bias_term else [weights]

    def lower(self, k: Lowering) -> None:
        # Ways to compute the same.
        self.p.mark_read(
            "engine",
            "force_nd_im2col",
            "cudnn_convolution_algo_seeker",
            "conv_algos_override",
            "conv_algorithm",
        )
        k.output(*(self._lower_one(k, x) for x in k.inputs))

    def _lower_one(self, k: Lowering, x: Tensor) -> Tensor:
        """One bottom, its samples along one axis in between."""
        bottom, top = k.bottom[0], k.top[0]
        layout = k.form.spatial(len(self.images(bottom)))

        x = reshape_to(
            k,
            x,
            k.in_layouts[0].keras_shape(bottom),
            layout.keras_shape(self.images(bottom)),
            suffix="images",
        )
        x = self.convolved(k, x, self.images(bottom))
        return reshape_to(
            k,
            x,
            layout.keras_shape(self.images(top)),
            k.out_layouts[0].keras_shape(top),
            suffix="samples",
        )

    def convolved(self, k: Lowering, x: Tensor, bottom: Shape) -> Tensor:
        """What the layer makes of (N, C, ...)."""
        raise NotImplementedError

    def convolve(
        self,
        k: Lowering,
        x: Tensor,
        target: Target,
        args: tuple[Argument, ...],
        kernel: PlannedWeight,
        arguments: dict[str, Argument],
        width: Dim,
    ) -> Tensor:
        """`x` through a convolution as Keras has them; what comes out is `width` wide."""
        bias, bias_start = list[PlannedWeight](), dict[str, Argument]()
        if self.p.bias_term:
            bias, bias_start = [k.weight("bias", 1, IDENTITY)], self._bias_start(k)
        else:
            self.p.mark_read("bias_filler")
        # Where the last axis is as long as the channels are many, Keras takes it for
        # them and adds the bias along it (`add` of its TensorFlow backend).
        alike = width in (k.top[0][self.axis(k.top[0])], None)
        ambiguous = alike and not k.form.is_channels_last
        apart = bool(bias) and (ambiguous or k.shares_partly)
        if k.activation and not apart:
            arguments["activation"] = k.activation
        if apart or not bias:
            arguments["use_bias"] = False
        arguments |= self._kernel_start(k, kernel.name)
        if not apart:
            arguments |= bias_start
        weights = [kernel] if apart else [kernel, *bias]
        arguments |= k.data_format()
        x = k.add(target, *args, inputs=[x], weights=weights, **arguments)
        if not apart:
            return x
        channels = k.form.spatial(len(k.params[0])).keras_axis(1)
        return add_bias(k, x, channels, bias[0], bias_start)

    def _kernel_start(self, k: Lowering, name: str) -> dict[str, Argument]:
        """The kernel's initializer, where the net trains or names one."""
        if not k.trains and not self.p.has("weight_filler"):
            return {}
        start = initializer(
            self.p.weight_filler,
            k.params[0],
            f"{_PATH}.weight_filler",
            axis=-1 if name == "kernel" else (2, 3),
        )
        return {f"{name.removesuffix('_kernel')}_initializer": start}

    def _bias_start(self, k: Lowering) -> dict[str, Argument]:
        path = f"{_PATH}.bias_filler"
        bias = initializer(self.p.bias_filler, k.params[1], path)
        return {} if bias == "zeros" else {"bias_initializer": bias}


@layer_op("Convolution")
class Convolution(ConvolutionLike):
    """Explicit `pad` becomes padding="same" where that is equal, else ZeroPadding."""

    keras = "Conv1D, Conv2D, Conv3D, DepthwiseConv2D"

    def top_sizes(self, bottom: Shape) -> list[Dim]:
        return self.geometry(bottom).windows(self.layer, bottom[2:])

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        first = self.images(bottom[0])
        inputs = (first[1] or 0) // self.group(first)
        kernel = self.geometry(first).kernel
        return self.with_bias((self.num_output(first), inputs, *kernel), first)

    def multiply_adds(self, bottom: Sequence[Shape], top: Sequence[Shape]) -> int:
        """Each value of the tops is a sum over one filter."""
        _, *kernel = self.param_shapes(bottom)[0]
        return sum(map(count, top)) * count(tuple(kernel))

    def convolved(self, k: Lowering, x: Tensor, bottom: Shape) -> Tensor:
        g = self.geometry(bottom)
        channels = bottom[1] or 0
        rank = len(g.kernel)
        arguments: dict[str, Argument] = {}
        if g.keeps_size and max(g.pad) > 0:
            arguments["padding"] = "same"
        else:
            x = self._padded(k, x, g, bottom[2:])
        subsample = max(g.stride) > 1 and max(g.dilation) > 1
        if max(g.stride) > 1 and not subsample:
            arguments["strides"] = one_or_each(g.stride)
        if max(g.dilation) > 1:
            arguments["dilation_rate"] = one_or_each(g.dilation)
        depthwise = (
            self.group(bottom) == channels > 1 and rank == 2 and len(set(g.stride)) == 1
        )
        x = self._filter(k, x, bottom, g, arguments, depthwise)
        if subsample:
            pool = keras_layer(f"MaxPooling{rank}D")
            strides = one_or_each(g.stride)
            x = k.add(
                pool, 1, inputs=[x], suffix="stride", strides=strides, **k.data_format()
            )
        return x

    def _padded(self, k: Lowering, x: Tensor, g: Geometry, sizes: Shape) -> Tensor:
        pads = g.padding(sizes)
        if not any(map(any, pads)):
            return x
        zeros: Argument = one_or_each(g.pad)
        if any(before != after for before, after in pads):
            zeros = pads if len(pads) > 1 else pads[0]
        padding = keras_layer(f"ZeroPadding{len(pads)}D")
        return k.add(padding, zeros, inputs=[x], suffix="pad", **k.data_format())

    def _filter(
        self,
        k: Lowering,
        x: Tensor,
        bottom: Shape,
        g: Geometry,
        arguments: dict[str, Argument],
        depthwise: bool,
    ) -> Tensor:
        rank, width = len(g.kernel), bottom[-1]
        outputs, group = self.num_output(bottom), self.group(bottom)
        kernel, target = k.weight("kernel", 0, conv_kernel(rank)), f"Conv{rank}D"
        args: tuple[Argument, ...] = (outputs, one_or_each(g.kernel))
        if depthwise:
            shape = tuple(d or 0 for d in k.params[0])
            steps = depthwise_kernel(group, shape)
            kernel, target = k.weight("depthwise_kernel", 0, steps), "DepthwiseConv2D"
            args = args[1:]
            if outputs != group:
                arguments["depth_multiplier"] = outputs // group
        elif group > 1:
            arguments["groups"] = group
        if width is not None:
            stride = 1 if "strides" not in arguments else g.stride[-1]
            width = (
                width + sum(g.padding(bottom[2:])[-1]) - g.extent[-1]
            ) // stride + 1
        return self.convolve(k, x, keras_layer(target), args, kernel, arguments, width)
