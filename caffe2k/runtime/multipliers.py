"""Caffe's `lr_mult` and `decay_mult`: how fast each weight learns and decays."""

from typing import NamedTuple


class Multiplier(NamedTuple):
    """`lr_mult` and `decay_mult` of one parameter blob; `lr=0` freezes it."""

    lr: float = 1.0
    decay: float = 1.0


def resolve_multipliers(model, multipliers):
    """The multiplier of each of `model.trainable_variables`, in their order.

    `multipliers` maps the name of a weight to its Multiplier in every layer, and the
    name of a layer to {name of a weight: Multiplier} where that layer differs. A weight
    that is not named has Multiplier(1, 1), as in Caffe (net.cpp, Net::AppendParam).
    Raises ValueError for a name that the model does not have.
    """
    everywhere = {k: v for k, v in multipliers.items() if isinstance(v, Multiplier)}
    exceptions = {k: v for k, v in multipliers.items() if k not in everywhere}
    _check_names(model, everywhere, exceptions)
    resolved = {}
    for layer in model.layers:
        rules = {**everywhere, **exceptions.get(layer.name, {})}
        for variable in layer.trainable_variables:
            resolved[id(variable)] = rules.get(variable.name, Multiplier())
    return [resolved[id(variable)] for variable in model.trainable_variables]


def _check_names(model, everywhere, exceptions):
    weights = {
        layer.name: {variable.name for variable in layer.trainable_variables}
        for layer in model.layers
    }
    unknown = [
        k for k in everywhere if not any(k in names for names in weights.values())
    ]
    for layer, rules in exceptions.items():
        if layer not in weights:
            unknown.append(layer)
        else:
            unknown += [
                f"{layer}: {name}" for name in rules if name not in weights[layer]
            ]
    if unknown:
        raise ValueError(
            f"the multipliers name {', '.join(map(repr, unknown))}, but no layer or "
            f"trainable weight of the model has that name; its layers are "
            f"{', '.join(name for name, names in weights.items() if names)}"
        )
