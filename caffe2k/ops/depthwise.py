"""Forks' own layers for a convolution with one group a channel."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, exactly
from caffe2k.ops.convolution import Convolution
from caffe2k.ops.errors import not_images
from caffe2k.ops.registry import layer_op


@layer_op("DepthwiseConvolution")
class DepthwiseConvolution(Convolution):
    """A Convolution, as its CPU code is; without `group`, one group a channel.

    yonghenglh6/DepthwiseConvolution, depthwise_conv_layer.cpp. Its GPU code takes one
    group a channel whatever `group` says, and leaves out `dilation`.
    """

    keras = "DepthwiseConv2D"

    def group(self, bottom: Shape) -> int:
        return super().group(bottom) if self.p.has("group") else bottom[1] or 1


@layer_op("ConvolutionDepthwise")
class ConvolutionDepthwise(Convolution):
    """One filter a channel, whatever `num_output` and `group` say.

    farmingyard/caffe-mobilenet, conv_dw_layer.cpp (LayerSetUp, Reshape).
    """

    keras = "DepthwiseConv2D"
    bottoms = exactly(1)
    tops = exactly(1)

    def num_output(self, bottom: Shape) -> int:
        return bottom[1] or 1

    def group(self, bottom: Shape) -> int:
        return bottom[1] or 1

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        self.p.mark_read("num_output", "group")
        if len(bottom[0]) != 4:
            raise not_images(self.layer, bottom[0])
        return super().infer_shapes(bottom, data)
