"""What the layer cases show, by layer type: the table of a test run and of the docs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from caffe2k.diagnostics import Diagnostics
from caffe2k.prototxt import read_net, upgrade
from tests.conformance.suite import LIMITS

FORWARD, GRADIENT = ("out", "after"), ("din", "dparam")

Errors = list[tuple[str, float]]
"""Of each array that Caffe recorded its kind, and how far ours is from it."""


@dataclass(frozen=True)
class TypeCoverage:
    """The cases with a layer type, and the worst errors in them; None without any."""

    type: str
    cases: int
    agree: int
    forward: float | None
    gradient: float | None


def types_in(net: Path) -> list[str]:
    """The layer types of a net; a case counts for each."""
    diagnostics = Diagnostics()
    message = upgrade(read_net(net, diagnostics), diagnostics)
    return sorted({layer.type for layer in message.layer} - {"Input"})


def by_type(cases: Iterable[tuple[list[str], Errors | None]]) -> Iterator[TypeCoverage]:
    """A row for each type of (types, errors) pairs; a case that did not run has None."""
    found: dict[str, list[Errors | None]] = {}
    for types, errors in cases:
        for name in types:
            found.setdefault(name, []).append(errors)
    for name in sorted(found):
        ran = [errors for errors in found[name] if errors is not None]
        yield TypeCoverage(
            name,
            len(found[name]),
            sum(all(e <= LIMITS[kind] for kind, e in errors) for errors in ran),
            _worst(ran, FORWARD),
            _worst(ran, GRADIENT),
        )


def _worst(cases: list[Errors], kinds: tuple[str, ...]) -> float | None:
    errors = (e for case in cases for kind, e in case if kind in kinds)
    return max(errors, default=None)


def shown(error: float | None) -> str:
    return "-" if error is None else f"{error:.1e}"
