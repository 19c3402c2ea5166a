"""Deconvolution: Conv1DTranspose to Conv3DTranspose, or the runtime's with groups."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, Target, Tensor, keras_layer, runtime
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, OpError
from caffe2k.ops.convolution import ConvolutionLike, Geometry
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.spatial import one_or_each
from caffe2k.weights.transforms import IDENTITY, conv_kernel


@layer_op("Deconvolution")
class Deconvolution(ConvolutionLike):
    """A convolution's backward pass as a forward one (deconv_layer.cpp).

    `pad` is cut off the result. Keras has no groups and no dilation here.
    """

    keras = "Conv1DTranspose to Conv3DTranspose, caffe_runtime.deconvolution"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.check_groups(bottom)
        return [self._top(shape) for shape in bottom]

    def _top(self, bottom: Shape) -> Shape:
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
        return (bottom[0], self.num_output(bottom), *sizes)

    def param_shapes(self, bottom: Sequence[Shape]) -> list[Shape]:
        first = bottom[0]
        outputs = self.num_output(first) // self.group(first)
        kernel = self.geometry(first).kernel
        return self.with_bias((first[1] or 0, outputs, *kernel), first)

    def lower(self, k: Lowering) -> None:
        self.mark_speed_read()
        k.output(*(self._convolve(k, x) for x in k.inputs))

    def _convolve(self, k: Lowering, x: Tensor) -> Tensor:
        g = self.geometry(k.bottom[0])
        group, rank = self.group(k.bottom[0]), len(g.kernel)
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
            return self._crop(k, self._add(k, x, target, arguments), crops)
        if any(g.pad):
            arguments["padding"] = one_or_each(g.pad)
        if max(g.dilation) > 1:
            arguments["dilation_rate"] = one_or_each(g.dilation)
        if group > 1:
            arguments["groups"] = group
        return self._add(k, x, runtime("deconvolution", "ConvTranspose"), arguments)

    def _add(
        self, k: Lowering, x: Tensor, target: Target, arguments: dict[str, Argument]
    ) -> Tensor:
        kernel = self.geometry(k.bottom[0]).kernel
        weights = [k.weight("kernel", 0, conv_kernel(len(kernel)))]
        if self.p.bias_term:
            weights.append(k.weight("bias", 1, IDENTITY))
        arguments |= self.filter_arguments(k) | self.initializers(k, "kernel")
        return k.add(
            target,
            self.num_output(k.bottom[0]),
            one_or_each(kernel),
            inputs=[x],
            weights=weights,
            **arguments,
            **k.data_format(),
        )

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
