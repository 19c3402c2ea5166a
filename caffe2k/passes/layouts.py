"""Which layout every blob has in the Keras model, with as few transposes as possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from caffe2k.ir.layout import DataFormat, Layout, caffe_layout
from caffe2k.ir.net import Blob, Net
from caffe2k.ops import find_op


@dataclass(frozen=True)
class Layouts:
    """The layout of each blob, and the one in which each layer reads its bottoms."""

    blobs: Mapping[Blob, Layout]
    reads: Mapping[int, tuple[Layout, ...]]


def choose_layouts(net: Net, form: DataFormat, boundary: set[Blob]) -> Layouts:
    """Walks the net once; blobs in `boundary` must leave the model in its layout.

    A channels-last blob that is flattened is first left in its order: an InnerProduct
    permutes its kernel instead. If some reader can't take that order, the layer that
    made it gets its input in Caffe's order, and the walk starts again.
    """
    straight: set[int] = set()
    while True:
        layouts = _walk(net, form, straight)
        culprits = _scramblers(net, layouts, boundary) - straight
        if not culprits:
            return layouts
        straight |= culprits


def _walk(net: Net, form: DataFormat, straight: set[int]) -> Layouts:
    blobs: dict[Blob, Layout] = {}
    reads: dict[int, tuple[Layout, ...]] = {}
    for layer in net.layers:
        op_type = find_op(layer.type)
        assert op_type is not None
        if op_type.is_source:
            for top in layer.tops:
                blobs[top] = form.boundary(len(net.shapes[top]))
            continue
        bottom = [net.shapes[b] for b in layer.bottoms]
        top_shapes = [net.shapes[t] for t in layer.tops]
        given = [blobs[b] for b in layer.bottoms]
        if layer.index in straight:
            given = [caffe_layout(layout.rank) for layout in given]
        plan = op_type(layer).layouts(given, bottom, top_shapes, form)
        reads[layer.index] = tuple(plan.inputs)
        blobs.update(zip(layer.tops, plan.outputs, strict=True))
    return Layouts(blobs, reads)


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
