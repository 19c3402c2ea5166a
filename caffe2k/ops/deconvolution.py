"""Deconvolution: Conv1DTranspose to Conv3DTranspose, or the runtime's with groups."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Target, Tensor, keras_layer, runtime
from caffe2k.ir.net import Dim, Shape, count
from caffe2k.ops.convolution import ConvolutionLike
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.spatial import Geometry, one_or_each
from caffe2k.weights.transforms import conv_kernel


@layer_op("Deconvolution")
class Deconvolution(ConvolutionLike):
    """A convolution's backward pass as a forward one (deconv_layer.cpp).

    `pad` is cut off the result. Keras has no groups and no dilation here.
    """

    keras = "Conv1DTranspose to Conv3DTranspose, caffe_runtime.deconvolution"

    def top_sizes(self, bottom: Shape) -> list[Dim]:
        g = self.geometry(bottom)
        sizes: list[int | None] = []
        for size, extent, stride, pad in zip(
            bottom[2:], g.extent, g.stride, g.pad, strict=True
        ):
            out = None if size is None else stride * (size - 1) + extent - 2 * pad
            if out is not None and out < 1:
                raise OpError(
                    "bad-size",
                    f"`pad` {pad} cuts off all that layer `{self.layer.name}` makes",
                    field="convolution_param.pad",
                    help="make it smaller, or the kernel larger",
                )
            sizes.append(out)
        return sizes

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        first = self.images(bottom[0])
        outputs = self.num_output(first) // self.group(first)
        kernel = self.geometry(first).kernel
        return self.with_bias((first[1] or 0, outputs, *kernel), first)

    def multiply_adds(self, bottom: Sequence[Shape], top: Sequence[Shape]) -> int:
        """Each value of the bottoms is multiplied by one filter."""
        _, *kernel = self.param_shapes(bottom)[0]
        return sum(map(count, bottom)) * count(tuple(kernel))

    def convolved(self, k: Lowering, x: Tensor, bottom: Shape) -> Tensor:
        g = self.geometry(bottom)
        group, rank = self.group(bottom), len(g.kernel)
        same = any(g.pad) and _is_same(g)
        crops = [(0, 0)] * rank if same else _crops(g)
        # Cropping1D knows no data format.
        croppable = not any(map(any, crops)) or rank > 1 or k.form.is_channels_last
        arguments: dict[str, Argument] = {}
        if max(g.stride) > 1:
            arguments["strides"] = one_or_each(g.stride)
        if group == max(g.dilation) == 1 and croppable:
            if same:
                arguments["padding"] = "same"
            target = keras_layer(f"Conv{rank}DTranspose")
            return self._crop(k, self._add(k, x, bottom, target, arguments), crops)
        if any(g.pad):
            arguments["padding"] = one_or_each(g.pad)
        if max(g.dilation) > 1:
            arguments["dilation_rate"] = one_or_each(g.dilation)
        if group > 1:
            arguments["groups"] = group
        target = runtime("deconvolution", "ConvTranspose")
        return self._add(k, x, bottom, target, arguments)

    def _add(
        self,
        k: Lowering,
        x: Tensor,
        bottom: Shape,
        target: Target,
        arguments: dict[str, Argument],
    ) -> Tensor:
        g, width = self.geometry(bottom), bottom[-1]
        kernel = k.weight("kernel", 0, conv_kernel(len(g.kernel)))
        args = (self.num_output(bottom), one_or_each(g.kernel))
        if width is not None:
            cut = g.extent[-1] - g.stride[-1]
            width = g.stride[-1] * width
            if arguments.get("padding") != "same":
                width += max(cut, 0)
        return self.convolve(k, x, target, args, kernel, arguments, width)

    def _crop(self, k: Lowering, x: Tensor, crops: list[tuple[int, int]]) -> Tensor:
        """`x` without (so many in front, behind) on each axis."""
        if not any(map(any, crops)):
            return x
        rank = len(crops)
        amount: Argument = tuple(crops)
        if all(front == behind for front, behind in crops):
            amount = one_or_each(tuple(front for front, _ in crops))
        elif rank == 1:
            (amount,) = crops
        target, form = keras_layer(f"Cropping{rank}D"), k.data_format()
        return k.add(target, amount, inputs=[x], suffix="crop", **form)


def _is_same(g: Geometry) -> bool:
    """Whether Keras's padding="same" cuts as much as `pad`, on both ends."""
    return all(
        2 * pad == extent - stride
        for pad, extent, stride in zip(g.pad, g.extent, g.stride, strict=True)
    )


def _crops(g: Geometry) -> list[tuple[int, int]]:
    """What Caffe's result lacks of Keras's, in front and behind.

    Keras makes `stride` values for each input, also where the kernel is smaller.
    """
    return [
        (pad, pad + max(stride - extent, 0))
        for pad, extent, stride in zip(g.pad, g.extent, g.stride, strict=True)
    ]
