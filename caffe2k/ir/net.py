"""Net, Layer, Blob and ParamSpec: a Caffe net with its in-place layers resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from caffe2k.diagnostics import SourceSpan
from caffe2k.schema.message import Message

Dim = int | None
"""A size, or None where TRAIN and TEST differ."""

Shape = tuple[Dim, ...]
"""The sizes of a blob in Caffe's axis order, the batch included."""


class Phase(Enum):
    """Caffe's two phases."""

    TRAIN = "TRAIN"
    TEST = "TEST"


BOTH_PHASES = frozenset(Phase)


@dataclass(frozen=True)
class Blob:
    """The blob `name` as its `version`-th writer left it; in-place layers write again."""

    name: str
    version: int = 0


@dataclass(frozen=True)
class ParamSpec:
    """What a layer's `param { }` says of one parameter blob; None where it is silent."""

    name: str = ""
    lr_mult: float | None = None
    decay_mult: float | None = None
    permissive: bool = False
    span: SourceSpan | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer; its typed message keeps all that the prototxt said.

    `index` is its place in the file: the one name that is certainly unique.
    `test_message` is set where TRAIN and TEST each have a version of their own. `run`
    holds the layers that one Keras layer stands for, where in-place layers were joined.
    """

    index: int
    name: str
    type: str
    bottoms: tuple[Blob, ...]
    tops: tuple[Blob, ...]
    message: Message
    params: tuple[ParamSpec, ...] = ()
    phases: frozenset[Phase] = BOTH_PHASES
    test_message: Message | None = None
    comments: tuple[str, ...] = ()
    run: tuple[Layer, ...] = ()

    @property
    def span(self) -> SourceSpan | None:
        """The place of the layer's type, or of the layer where it has none."""
        return self.message.span_of("type") or self.message.span

    def param(self, index: int) -> ParamSpec:
        """The index-th `param { }`, or Caffe's defaults."""
        return self.params[index] if index < len(self.params) else ParamSpec()

    @property
    def in_place(self) -> bool:
        """Whether the layer writes over the blob that it reads."""
        return any(b.name == t.name for b in self.bottoms for t in self.tops)


ParamKey = tuple[int, int]
"""The i-th parameter blob of the layer with an index: (index, i)."""


@dataclass(frozen=True, eq=False)
class Net:
    """The layers of one phase, or of both after merging, and what passes found out."""

    name: str
    phases: frozenset[Phase]
    layers: tuple[Layer, ...]
    shapes: Mapping[Blob, Shape] = field(default_factory=dict)
    param_shapes: Mapping[int, tuple[Shape, ...]] = field(default_factory=dict)
    """Layer index -> the shapes of its parameter blobs."""
    owners: Mapping[ParamKey, ParamKey] = field(default_factory=dict)
    """Shared parameter -> the parameter that it is."""
    multipliers: Mapping[ParamKey, tuple[float, float]] = field(default_factory=dict)
    """Owned parameter -> its lr_mult and decay_mult."""
    activations: Mapping[int, str] = field(default_factory=dict)
    """Layer index -> activation of the in-place layer that was fused into it."""
    largest_shapes: Mapping[Blob, Shape] = field(default_factory=dict)
    """The shapes of a merged net with the larger size where TRAIN and TEST differ."""

    def replace(self, **changes: object) -> Net:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def producers(self) -> dict[Blob, Layer]:
        """Which layer writes each blob."""
        return {top: layer for layer in self.layers for top in layer.tops}

    def consumers(self) -> dict[Blob, list[Layer]]:
        """Which layers read each blob."""
        readers: dict[Blob, list[Layer]] = {}
        for layer in self.layers:
            for bottom in layer.bottoms:
                readers.setdefault(bottom, []).append(layer)
        return readers

    def param_owners(self, layer: Layer) -> tuple[ParamKey, ...]:
        """Who owns each of the layer's parameters."""
        shapes = self.param_shapes.get(layer.index, ())
        keys = [(layer.index, i) for i in range(len(shapes))]
        return tuple(self.owners.get(key, key) for key in keys)

    def shares_partly(self, layer: Layer) -> bool:
        """Whether another layer has some of the layer's parameters, but not just those."""
        if not self.owners:
            return False
        own = self.param_owners(layer)
        others = map(self.param_owners, self.layers)
        return any(other != own and not set(own).isdisjoint(other) for other in others)


def merge_dims(a: Shape, b: Shape) -> Shape:
    """The shape that holds in both phases: None where they differ."""
    if a == b:
        return a
    return tuple(x if x == y else None for x, y in zip(a, b, strict=True))


def larger_dims(a: Shape, b: Shape) -> Shape:
    """The larger of both phases' sizes, axis by axis."""
    return tuple(max(x or 0, y or 0) for x, y in zip(a, b, strict=True))


def count(shape: Shape) -> int:
    """The number of values in a shape without unknown sizes."""
    product = 1
    for dim in shape:
        assert dim is not None
        product *= dim
    return product
