"""Which Caffe parameter becomes which Keras weight, for the whole net."""

from __future__ import annotations

import dataclasses

from caffe2k.codegen.program import KerasLayer
from caffe2k.ir.net import Net
from caffe2k.ops.lowering import LoweredNet
from caffe2k.weights.plan import PlannedBlob, PlannedLayer, PlannedWeight, WeightPlan


def weight_plan(whole: LoweredNet) -> WeightPlan:
    """The plan in the model's order, shared parameters with all their names."""
    aliases = _aliases(whole.net)
    layers: list[PlannedLayer] = []
    for layer in whole.program.layers():
        if layer.weights and layer.name is not None:
            weights = tuple(_with_aliases(w, aliases) for w in layer.weights)
            layers.append(PlannedLayer(layer.name, weights))
    return WeightPlan(tuple(layers))


def multipliers(whole: LoweredNet) -> dict[tuple[str, str], tuple[float, float]]:
    """(Keras layer, weight) -> lr_mult and decay_mult, for what can be learned."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for layer in whole.program.layers():
        for weight in _trainable(layer):
            key = (layer.caffe_index, weight.blob_index)
            found[layer.name or "", weight.name] = whole.net.multipliers[key]
    return found


def _trainable(layer: KerasLayer) -> list[PlannedWeight]:
    return [weight for weight in layer.weights if weight.trainable]


def _aliases(net: Net) -> dict[tuple[str, int], tuple[PlannedBlob, ...]]:
    names = {layer.index: layer.name for layer in net.layers}
    found: dict[tuple[str, int], tuple[PlannedBlob, ...]] = {}
    for (layer, i), (owner, j) in net.owners.items():
        shape = tuple(d or 0 for d in net.param_shapes[layer][i])
        key = (names[owner], j)
        found[key] = (*found.get(key, ()), PlannedBlob(names[layer], i, shape))
    return found


def _with_aliases(
    weight: PlannedWeight, aliases: dict[tuple[str, int], tuple[PlannedBlob, ...]]
) -> PlannedWeight:
    others = aliases.get((weight.caffe_layer, weight.blob_index), ())
    return dataclasses.replace(weight, aliases=others)
