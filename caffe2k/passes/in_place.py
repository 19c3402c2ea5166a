"""In-place layers whose gradient Caffe computes from what others overwrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Blob, Layer, Net
from caffe2k.ops import find_op
from caffe2k.ops.base import BackwardReads, LayerOp


def join_in_place(
    net: Net, diagnostics: Diagnostics, *, force_backward: bool = False
) -> Net:
    """Joins runs of layers on one blob whose gradient in Caffe is not the chain rule's.

    A layer's Backward reads its blob after the last in-place layer has written it. Most
    nets don't notice: a ReLU asks for the sign alone, Dropout keeps its own mask. Where
    it shows, the run becomes one Keras layer with Caffe's gradient, and a warning says
    so; where a layer of the run has no such form, only the warning. Without
    `force_backward` blobs that no learned parameter leads to have no gradient at all.
    """
    reached = _with_gradient(net)
    joined: dict[int, Layer] = {}
    dropped: set[int] = set()
    for chain in _chains(net):
        ops = [_op(layer) for layer in chain]
        start = _first_affected(ops, None if force_backward else reached)
        if start is None:
            continue
        run = chain[start:]
        possible = all(
            op.in_place_step() is not None for op in ops[start:]
        ) and not any(layer.message.loss_weight for layer in run[:-1])
        _warn(run, possible, diagnostics)
        if possible:
            joined[run[0].index] = _joined(run)
            dropped.update(layer.index for layer in run[1:])
    layers = tuple(
        joined.get(layer.index, layer)
        for layer in net.layers
        if layer.index not in dropped
    )
    return net.replace(layers=layers)


def _op(layer: Layer) -> LayerOp:
    op = find_op(layer.type)
    assert op is not None
    return op(layer)


def _chains(net: Net) -> Iterator[list[Layer]]:
    """Each layer that others work in place behind, with those, in their order."""
    consumers, producers = net.consumers(), net.producers()
    for layer in net.layers:
        if _continues(layer, producers) or len(layer.tops) != 1:
            continue
        chain = [layer]
        while (after := _in_place_after(chain[-1], consumers)) is not None:
            chain.append(after)
        if len(chain) > 1 or layer.in_place:
            yield chain


def _continues(layer: Layer, producers: Mapping[Blob, Layer]) -> bool:
    """Whether a layer is inside the chain of the layer before it."""
    if not layer.in_place or len(layer.bottoms) != 1:
        return False
    producer = producers[layer.bottoms[0]]
    op = find_op(producer.type)
    return op is not None and not op.is_source and len(producer.tops) == 1


def _in_place_after(
    layer: Layer, consumers: Mapping[Blob, list[Layer]]
) -> Layer | None:
    readers = consumers.get(layer.tops[0], [])
    if len(readers) != 1 or not readers[0].in_place or len(readers[0].bottoms) != 1:
        return None
    return readers[0]


def _with_gradient(net: Net) -> set[Blob]:
    """The blobs that depend on something learned (Net::Init, net.cpp)."""
    found: set[Blob] = set()
    for layer in net.layers:
        if _learns(layer, net) or not found.isdisjoint(layer.bottoms):
            found.update(layer.tops)
    return found


def _learns(layer: Layer, net: Net) -> bool:
    keys = [(layer.index, i) for i in range(len(net.param_shapes.get(layer.index, ())))]
    return any(net.multipliers[net.owners.get(key, key)][0] != 0 for key in keys)


def _first_affected(ops: list[LayerOp], reached: set[Blob] | None) -> int | None:
    """The first op of a chain whose gradient is not the one of the chain rule.

    Of those that pass a gradient on: their bottoms are among `reached`, if that is given.
    """
    for index, op in enumerate(ops):
        if reached is not None and reached.isdisjoint(op.layer.bottoms):
            continue
        after = ops[index + 1 :]
        reads = op.backward_reads
        if (
            reads is BackwardReads.ALWAYS
            or (reads is BackwardReads.VALUE and after)
            or (reads is BackwardReads.SIGN and not all(o.keeps_sign for o in after))
        ):
            return index
    return None


def _joined(run: list[Layer]) -> Layer:
    comments = tuple(line for layer in run for line in layer.comments)
    return dataclasses.replace(
        run[0], tops=run[-1].tops, comments=comments, run=tuple(run)
    )


def _warn(run: list[Layer], followed: bool, diagnostics: Diagnostics) -> None:
    names = ", ".join(f"`{layer.name}`" for layer in run)
    if followed:
        what = "the Keras layer has Caffe's gradient, not the true one"
    else:
        what = "the Keras model has the true gradient, not Caffe's"
    diagnostics.warning(
        "in-place-gradient",
        f"in place, Caffe computes the gradient of {names} from overwritten values; {what}",
        run[0].span,
        help="give each top a name of its own for the true gradient on both sides",
    )
