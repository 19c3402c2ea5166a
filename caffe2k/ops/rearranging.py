"""ShuffleChannel, Reorg and Flip: the same values in other places."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Argument, runtime
from caffe2k.ir.net import Shape
from caffe2k.ops.base import DataShapes, SpatialOp
from caffe2k.ops.errors import OpError, no_channel_axis, not_images
from caffe2k.ops.joining import UnorderedOp
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.upsampling import plane_size


@layer_op("ShuffleChannel")
class ShuffleChannel(UnorderedOp):
    """Channels dealt out from groups (farmingyard/ShuffleNet, shuffle_channel_layer.cpp)."""

    keras = "caffe_runtime.rearranging.ShuffleChannel"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        group = self.layer.message.shuffle_channel_param.group
        if len(bottom[0]) < 2:
            raise no_channel_axis(self.layer, bottom[0])
        if group < 1 or (bottom[0][1] or 0) % group:
            raise OpError(
                "group",
                f"`group` {group} does not divide the {bottom[0][1]} channels evenly",
                field="shuffle_channel_param.group",
                help="it must be a divisor of the number of channels",
            )
        return [bottom[0]]

    def lower(self, k: Lowering) -> None:
        group, rank = self.layer.message.shuffle_channel_param.group, len(k.bottom[0])
        axis = k.keras_axis(1)
        settings: dict[str, Argument] = {} if axis == rank - 1 else {"axis": axis}
        target = runtime("rearranging", "ShuffleChannel")
        k.output(k.add(target, group, **settings))


@layer_op("Reorg")
class Reorg(SpatialOp):
    """Blocks of pixels as channels, or back (intel/caffe, reorg_layer.cpp).

    Its backward pass gives zeros: it reads a buffer that nothing writes.
    """

    keras = "caffe_runtime.rearranging.Reorg"
    works_in_place = False

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        p, (height, width) = self.layer.message.reorg_param, self._plane(bottom[0])
        stride, channels = p.stride, bottom[0][1] or 0
        if p.reverse:
            size = channels // stride**2, height * stride, width * stride
        else:
            size = channels * stride**2, height // stride, width // stride
        return [(bottom[0][0], *size)]

    def _plane(self, bottom: Shape) -> tuple[int, int]:
        """Height and width, if the blocks fit; Caffe reads beyond its memory if not."""
        p, (height, width) = (
            self.layer.message.reorg_param,
            plane_size(self.layer, bottom),
        )
        if p.stride < 1:
            raise OpError(
                "bad-size",
                f"layer `{self.layer.name}` has no `stride`",
                field="reorg_param.stride",
                help="it is the side of a block in pixels",
            )
        sides = () if p.reverse else (height, width)
        if (bottom[1] or 0) % p.stride**2 or any(side % p.stride for side in sides):
            raise OpError(
                "reorg-blocks",
                f"blocks of {p.stride} x {p.stride} don't fit into {bottom}",
                field="reorg_param.stride",
                help="the channels must be a multiple of its square"
                + ("" if p.reverse else ", height and width of itself"),
            )
        return height, width

    def lower(self, k: Lowering) -> None:
        p = self.layer.message.reorg_param
        settings: dict[str, Argument] = {"reverse": True} if p.reverse else {}
        target = runtime("rearranging", "Reorg")
        k.output(k.add(target, p.stride, **settings, **k.data_format()))


@layer_op("Flip")
class Flip(UnorderedOp):
    """Images mirrored (happynear/caffe-windows, flip_layer.cpp)."""

    keras = "caffe_runtime.rearranging.Flip"

    def infer_shapes(self, bottom: Sequence[Shape], data: DataShapes) -> list[Shape]:
        if len(bottom[0]) > 4:
            raise not_images(self.layer, bottom[0])
        return [bottom[0]]

    def lower(self, k: Lowering) -> None:
        p, rank = self.layer.message.flip_param, len(k.bottom[0])
        chosen = [
            axis for axis, flips in ((2, p.flip_height), (3, p.flip_width)) if flips
        ]
        # A blob of fewer axes is an image of height or width 1.
        axes = sorted(k.keras_axis(axis) for axis in chosen if axis < rank)
        if axes:
            k.output(k.add(runtime("rearranging", "Flip"), axes))
        else:
            k.output(k.inputs[0])
