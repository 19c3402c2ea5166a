"""Ops that lay blobs beside each other: a prediction and its labels, two features."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import LayerOp, LayoutPlan, exactly
from caffe2k.ops.errors import OpError
from caffe2k.ops.lowering import Lowering


def product(shape: Shape) -> int:
    """The number of values, where an unknown size counts 1."""
    size = 1
    for dim in shape:
        size *= 1 if dim is None else dim
    return size


def legacy_shape(shape: Shape) -> Shape:
    """num, channels, height and width (Blob::LegacyShape, blob.hpp), or OpError."""
    if len(shape) > 4:
        raise OpError(
            "too-many-axes",
            f"the layer takes blobs of at most 4 axes, not of shape {shape}",
            field="bottom",
            help="a Reshape layer can join some of them",
        )
    return (*shape, *[1] * (4 - len(shape)))


def meet(shapes: Sequence[Shape], layouts: Sequence[Layout]) -> bool:
    """Whether blobs that meet value by value in Caffe's order also do so in `layouts`."""
    orders = [_order(s, layout) for s, layout in zip(shapes, layouts, strict=True)]
    if all(order == sorted(order) for order in orders):
        return True
    sizes = [[d for d in shape[1:] if d != 1] for shape in shapes]
    return all(o == orders[0] for o in orders) and all(s == sizes[0] for s in sizes)


def _order(shape: Shape, layout: Layout) -> list[int]:
    """The axes in a layout, as positions among those that hold more than one value."""
    axes = [i for i, dim in enumerate(shape) if i == 0 or dim != 1]
    return [axes.index(axis) for axis in layout.perm if axis in axes]


class PairOp(LayerOp):
    """An op whose bottoms meet value by value, in Caffe's order."""

    bottoms = exactly(2)

    def compared(self, bottom: Sequence[Shape]) -> list[Shape]:
        """The bottoms as they meet: 1 where a bottom has an axis that others lack."""
        return list(bottom)

    def layouts(
        self,
        given: Sequence[Layout],
        bottom: Sequence[Shape],
        top: Sequence[Shape],
        form: DataFormat,
    ) -> LayoutPlan:
        """As the blobs enter and leave the model if they meet so, else as in Caffe."""
        inputs = [form.boundary(len(s)) for s in bottom]
        if not meet(self.compared(bottom), inputs):
            inputs = [caffe_layout(len(s)) for s in bottom]
        outputs = [
            inputs[0] if len(s) == len(bottom[0]) else form.boundary(len(s))
            for s in top
        ]
        return LayoutPlan(inputs, outputs)

    def moved(self, k: Lowering) -> bool:
        """Whether the blobs had to be brought into Caffe's order to meet."""
        return any(given != k.form.boundary(given.rank) for given in k.in_layouts)

    def check_batches(self, bottom: Sequence[Shape]) -> None:
        """LossLayer::Reshape (loss_layer.cpp)."""
        if bottom[0][:1] != bottom[1][:1]:
            raise OpError(
                "bottom-shapes",
                f"layer `{self.layer.name}` needs bottoms with the same first size, not "
                f"{bottom[0]} and {bottom[1]}",
                field="bottom",
                index=1,
                help="the first size is the batch: compare the layers that write the two",
            )

    def check_one_label(self, bottom: Sequence[Shape]) -> None:
        """One label for each sample."""
        self.check_batches(bottom)
        if product(bottom[1]) != product(bottom[1][:1]):
            raise OpError(
                "label-count",
                f"layer `{self.layer.name}` needs one label for each sample, not "
                f"{bottom[1]}",
                field="bottom",
                index=1,
                help="a label is the number of a class",
            )

    def check_weights(self) -> None:
        """A loss weighs in by its first top alone, which is what carries a gradient."""
        # LossLayer::LayerSetUp adds one weight, then Layer::SetLossWeights counts them.
        weights = list(self.layer.message.loss_weight) or [1.0]
        if len(weights) != len(self.layer.tops):
            raise OpError(
                "loss-weight-count",
                f"layer `{self.layer.name}` has {len(self.layer.tops)} tops and "
                f"{len(weights)} loss_weight",
                field="loss_weight",
                help="Caffe wants one for each top, such as loss_weight: 1 loss_weight: 0",
            )
        if any(weights[1:]):
            raise OpError(
                "loss-weight",
                f"only the first top of layer `{self.layer.name}` can be a loss",
                field="loss_weight",
                index=1,
                help="write loss_weight: 0 for the others",
            )
