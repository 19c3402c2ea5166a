"""Which layout every blob has in the Keras model, with as few transposes as possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from caffe2k.ir.layout import DataFormat, Layout, Segment
from caffe2k.ir.net import Blob, Layer, Net
from caffe2k.ir.regrouping import regrouped
from caffe2k.ops import find_op
from caffe2k.ops.base import ElementwiseOp, LayerOp
from caffe2k.ops.reshaping import ReshapingOp


@dataclass(frozen=True)
class Layouts:
    """The layout of each blob, and the one in which each layer reads its bottoms."""

    blobs: Mapping[Blob, Layout]
    reads: Mapping[int, tuple[Layout, ...]]


@dataclass
class _Choices:
    """What earlier walks have taught: by the index of a layer."""

    straight: set[int] = field(default_factory=set)
    """Layers whose top has to lie in Caffe's order."""
    orders: dict[int, tuple[Segment, ...]] = field(default_factory=dict)
    """Layers that make their top's last axis in an order that a reshape wants."""


def choose_layouts(net: Net, form: DataFormat, boundary: set[Blob]) -> Layouts:
    """Walks the net until nobody is unhappy; `boundary` leaves in the model's layout.

    A channels-last blob that is flattened is first left in its order: an InnerProduct
    permutes its kernel instead. If some reader can't take that order, the layer that
    made it gives Caffe's. Where an InnerProduct's top becomes an image, it permutes its
    outputs, so that they are channels last by themselves.
    """
    choices = _Choices()
    while True:
        layouts = _walk(net, form, choices)
        culprits = _scramblers(net, layouts, boundary) - choices.straight
        if culprits:
            choices.straight |= culprits
            continue
        wishes = dict(_wishes(net, form, layouts, boundary))
        news = wishes.keys() - choices.orders.keys() - choices.straight
        if not news:
            return layouts
        choices.orders |= {index: wishes[index] for index in news}


def _walk(net: Net, form: DataFormat, choices: _Choices) -> Layouts:
    blobs: dict[Blob, Layout] = {}
    reads: dict[int, tuple[Layout, ...]] = {}
    for layer in net.layers:
        op = _op(layer)
        if op.is_source:
            for top in layer.tops:
                blobs[top] = form.boundary(len(net.shapes[top]))
            continue
        bottom = [net.shapes[b] for b in layer.bottoms]
        top_shapes = [net.shapes[t] for t in layer.tops]
        given = [blobs[b] for b in layer.bottoms]
        straight = layer.index in choices.straight
        choose = op.ordered_layouts if straight else op.layouts
        plan = choose(given, bottom, top_shapes, form)
        reads[layer.index] = tuple(plan.inputs)
        blobs.update(zip(layer.tops, plan.outputs, strict=True))
        if layer.index in choices.orders and not straight:
            (top,) = layer.tops
            perm, order = blobs[top].perm, choices.orders[layer.index]
            blobs[top] = Layout(perm, len(perm) - 1, order)
    return Layouts(blobs, reads)


def _op(layer: Layer) -> LayerOp:
    op_type = find_op(layer.type)
    assert op_type is not None
    return op_type(layer)


def _readings(
    net: Net, form: DataFormat, layouts: Layouts, boundary: set[Blob]
) -> Iterator[tuple[Blob, Layout]]:
    """Every blob with the layout that a reader, or the model's end, wants it in."""
    for layer in net.layers:
        yield from zip(layer.bottoms, layouts.reads.get(layer.index, ()), strict=False)
    for blob in boundary:
        yield blob, form.boundary(layouts.blobs[blob].rank)


def _scramblers(net: Net, layouts: Layouts, boundary: set[Blob]) -> set[int]:
    """The layers whose flattened order somebody after them can't take."""
    producers = net.producers()
    unhappy = [b for b in boundary if layouts.blobs[b].order]
    for layer in net.layers:
        for bottom, read in zip(
            layer.bottoms, layouts.reads.get(layer.index, ()), strict=False
        ):
            given = layouts.blobs[bottom]
            if given.order and given.order != read.order:
                unhappy.append(bottom)
    found: set[int] = set()
    while unhappy:
        maker = producers[unhappy.pop()]
        ordered = [b for b in maker.bottoms if layouts.blobs[b].order]
        if ordered:
            unhappy.extend(ordered)
        else:
            found.add(maker.index)
    return found


def _wishes(
    net: Net, form: DataFormat, layouts: Layouts, boundary: set[Blob]
) -> Iterator[tuple[int, tuple[Segment, ...]]]:
    """Layers whose top becomes a blob that is transposed, and the order that helps it."""
    producers = net.producers()
    shared = {i for keys in net.owners.items() for i, _ in keys}
    for blob, wanted in _readings(net, form, layouts, boundary):
        reshape = producers[blob]
        if wanted.order or layouts.blobs[blob].perm == wanted.perm:
            continue
        if not isinstance(_op(reshape), ReshapingOp):
            continue
        (flat,) = reshape.bottoms
        shape = net.shapes[flat]
        source = regrouped(wanted, net.shapes[blob], shape, ())
        if source is None or source.ordered_axis != len(shape) - 1:
            continue
        maker = _maker(producers, flat)
        if source.order and _op(maker).orders_output and maker.index not in shared:
            yield maker.index, source.order


def _maker(producers: Mapping[Blob, Layer], blob: Blob) -> Layer:
    """The layer whose values a blob holds, one by one."""
    maker = producers[blob]
    while isinstance(_op(maker), ElementwiseOp) and len(maker.bottoms) == 1:
        maker = producers[maker.bottoms[0]]
    return maker
