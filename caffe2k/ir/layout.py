"""Where Caffe's axes stand in the Keras tensor of a blob."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2k.ir.net import Shape


@dataclass(frozen=True)
class Segment:
    """A run along a flattened axis: values of Caffe dims `dims`, stored as `perm` of them."""

    dims: tuple[int, ...]
    perm: tuple[int, ...]

    @property
    def size(self) -> int:
        size = 1
        for dim in self.dims:
            size *= dim
        return size

    @property
    def in_order(self) -> bool:
        moved = [axis for axis in self.perm if self.dims[axis] != 1]
        return moved == sorted(moved)


@dataclass(frozen=True)
class Layout:
    """Keras axis i of a tensor holds Caffe's axis `perm[i]` of the blob.

    `order`, where a channels-last blob was flattened, tells how the values along
    Caffe's axis `ordered_axis` are arranged; it is empty where they are in Caffe's order.
    """

    perm: tuple[int, ...]
    ordered_axis: int = 1
    order: tuple[Segment, ...] = ()

    @property
    def rank(self) -> int:
        return len(self.perm)

    @property
    def is_caffe(self) -> bool:
        """Whether the tensor is the blob as Caffe lays it out."""
        return not self.order and self.perm == tuple(range(self.rank))

    @property
    def plain(self) -> Layout:
        """The same axes with every value in Caffe's order."""
        return Layout(self.perm)

    def keras_axis(self, caffe_axis: int) -> int:
        """The Keras axis that holds a Caffe axis (negative ones count from the end)."""
        return self.perm.index(caffe_axis % self.rank)

    def keras_shape(self, shape: Shape) -> Shape:
        """A Caffe shape in the order of the Keras tensor."""
        return tuple(shape[axis] for axis in self.perm)


def common_layout(layouts: Sequence[Layout], liked: Layout) -> Layout:
    """The layout for blobs that must lie alike: most have it, or of equally many `liked`."""
    plain = [layout.plain for layout in layouts]
    return max(plain, key=lambda layout: (plain.count(layout), layout == liked))


def caffe_layout(rank: int) -> Layout:
    """N, C, H, W: Caffe's own order."""
    return Layout(tuple(range(rank)))


def channels_last(rank: int) -> Layout:
    """N, H, W, C: the second axis moved last."""
    if rank < 3:
        return caffe_layout(rank)
    return Layout((0, *range(2, rank), 1))


@dataclass(frozen=True)
class DataFormat:
    """Keras's `data_format` of the emitted model, as rules about layouts."""

    name: str  # "channels_last" or "channels_first"

    @property
    def is_channels_last(self) -> bool:
        return self.name == "channels_last"

    def spatial(self, rank: int) -> Layout:
        """The layout that convolution and pooling work in."""
        return channels_last(rank) if self.is_channels_last else caffe_layout(rank)

    def boundary(self, rank: int) -> Layout:
        """The layout in which a blob enters and leaves the model."""
        return self.spatial(rank) if rank in (4, 5) else caffe_layout(rank)
