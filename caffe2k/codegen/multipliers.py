"""lr_mult and decay_mult, in the short form that train.py says them in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from caffe2k.codegen.program import Call, runtime

Multipliers = Mapping[tuple[str, str], tuple[float, float]]
"""(Keras layer, weight) -> lr_mult and decay_mult."""

_DEFAULT = (1.0, 1.0)


def compact_multipliers(multipliers: Multipliers) -> dict[str, Call | dict[str, Call]]:
    """What resolve_multipliers takes: the usual values by weight, then the exceptions.

    A weight that is called like a layer has no usual value: the keys would be the same.
    """
    layers = {layer for layer, _ in multipliers}
    values: dict[str, Counter[tuple[float, float]]] = {}
    for (_, weight), value in multipliers.items():
        values.setdefault(weight, Counter())[value] += 1
    usual = {
        weight: max(counts, key=lambda value: (counts[value], value == _DEFAULT))
        for weight, counts in values.items()
        if weight not in layers
    }
    compact: dict[str, Call | dict[str, Call]] = {
        weight: _multiplier(*value)
        for weight, value in usual.items()
        if value != _DEFAULT
    }
    exceptions: dict[str, dict[str, Call]] = {}
    for (layer, weight), value in multipliers.items():
        if value != usual.get(weight, _DEFAULT):
            exceptions.setdefault(layer, {})[weight] = _multiplier(*value)
    return compact | exceptions


def _multiplier(lr: float, decay: float) -> Call:
    settings = {"lr": lr, "decay": decay}
    return Call(
        runtime("multipliers", "Multiplier"),
        kwargs=tuple((k, _short(v)) for k, v in settings.items() if v != 1),
    )


def _short(number: float) -> float:
    """2 rather than 2.0."""
    return int(number) if number == int(number) else number
