"""In-place activations become the `activation` of the layer before them."""

from __future__ import annotations

import dataclasses

from caffe2k.ir.net import Layer, Net
from caffe2k.ops import find_op


def fuse_activations(net: Net) -> Net:
    """Drops each in-place activation whose producer can take it, and notes it there.

    Only in place: elsewhere the blob before the activation has a name that users know.
    Layers that share parameters are one Keras layer, so all of them fuse alike or none;
    none if they share the kernel alone, behind which each adds its bias.
    """
    candidates = _candidates(net)
    groups = _sharing_groups(net)
    chosen = {
        producer: layer
        for producer, layer in candidates.items()
        if _agree(groups.get(producer, {producer}), candidates)
    }
    dropped = {layer.index for layer in chosen.values()}
    layers = tuple(
        _fused(layer, chosen[layer.index]) if layer.index in chosen else layer
        for layer in net.layers
        if layer.index not in dropped
    )
    activations = {p: _activation(layer) or "" for p, layer in chosen.items()}
    return net.replace(layers=layers, activations=activations)


def _fused(producer: Layer, activation: Layer) -> Layer:
    comments = producer.comments + activation.comments
    return dataclasses.replace(producer, tops=activation.tops, comments=comments)


def _candidates(net: Net) -> dict[int, Layer]:
    """Index of a producer -> the activation layer that could be fused into it."""
    producers, consumers = net.producers(), net.consumers()
    found: dict[int, Layer] = {}
    for layer in net.layers:
        if _activation(layer) is None or not layer.in_place:
            continue
        (bottom,) = layer.bottoms
        producer = producers[bottom]
        op = find_op(producer.type)
        if (
            op is not None
            and op.takes_activation
            and len(producer.tops) == 1
            and producer.phases == layer.phases
            and len(consumers[bottom]) == 1
            and not net.shares_partly(producer)
            and not producer.message.loss_weight
            and not layer.message.loss_weight
        ):
            found[producer.index] = layer
    return found


def _activation(layer: Layer) -> str | None:
    op = find_op(layer.type)
    return op(layer).activation if op is not None and not layer.run else None


def _sharing_groups(net: Net) -> dict[int, set[int]]:
    groups: dict[int, set[int]] = {}
    for (layer, _), (owner, _) in net.owners.items():
        group = groups.setdefault(owner, {owner}) | groups.get(layer, {layer})
        for member in group:
            groups[member] = group
    return groups


def _agree(group: set[int], candidates: dict[int, Layer]) -> bool:
    kinds = {_activation(candidates[m]) if m in candidates else None for m in group}
    return len(kinds) == 1
