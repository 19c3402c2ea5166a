"""The emitted model as data: calls, the tensors between them, losses and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from caffe2k.ir.net import Shape
from caffe2k.weights.plan import PlannedWeight


@dataclass(frozen=True)
class Target:
    """What is called: `layers.Conv2D`, or a class of the runtime."""

    module: str
    name: str

    @property
    def is_runtime(self) -> bool:
        return self.module.startswith("caffe_runtime.")


def keras_layer(name: str) -> Target:
    """A layer of Keras itself."""
    return Target("keras.layers", name)


def runtime(module: str, name: str) -> Target:
    """A class of a runtime module, which is copied into the emitted project."""
    return Target(f"caffe_runtime.{module}", name)


Argument = Any
"""A Python literal, a tuple or list of them, or a Call."""


@dataclass(frozen=True)
class Call:
    """A constructor with its arguments; equal calls build equal objects."""

    target: Target
    args: tuple[Argument, ...] = ()
    kwargs: tuple[tuple[str, Argument], ...] = ()

    def runtime_modules(self) -> Iterator[str]:
        """The runtime modules that the call and its arguments need."""
        for target in self.targets():
            if target.is_runtime:
                yield target.module.removeprefix("caffe_runtime.")

    def targets(self) -> Iterator[Target]:
        """Everything that is called: the target, and those of arguments."""
        yield self.target
        for value in (*self.args, *(v for _, v in self.kwargs)):
            if isinstance(value, Call):
                yield from value.targets()


@dataclass(frozen=True, eq=False)
class Tensor:
    """A Keras tensor: one value between two calls; `hint` is a name for it."""

    hint: str


@dataclass(frozen=True, eq=False)
class KerasLayer:
    """One Keras layer: its call, its unique name, and where its weights come from.

    `caffe_name` and `caffe_index` are those of the Caffe layer that it was made for.
    """

    name: str | None
    call: Call
    weights: tuple[PlannedWeight, ...] = ()
    caffe_name: str = ""
    caffe_index: int = -1


@dataclass(frozen=True, eq=False)
class Step:
    """A layer applied to tensors. Two steps with the same layer share its weights.

    `arguments` are what else the layer is called with, by keyword.
    """

    layer: KerasLayer
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    comments: tuple[str, ...] = ()
    arguments: tuple[tuple[str, Argument], ...] = ()


@dataclass(frozen=True, eq=False)
class ModelInput:
    """An input of the model, named after the blob; `shape` is Keras's, with the batch."""

    blob: str
    name: str
    shape: Shape
    tensor: Tensor
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """An output of the model, keyed by the blob's name."""

    key: str
    tensor: Tensor


@dataclass(frozen=True, eq=False)
class Term:
    """A loss or metric that compile() takes: what it reads, and the top that it fills."""

    caffe_name: str
    top: str
    output: str
    target_blob: str
    call: Call
    comments: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class LossTerm(Term):
    """A loss, and how much it weighs in the objective."""

    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class MetricTerm(Term):
    """A metric; its number is averaged over batches, as Caffe's test loop does."""


@dataclass(eq=False)
class Program:
    """All that model.py says, and what the weights and data files need to know."""

    name: str
    inputs: list[ModelInput] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    outputs: list[ModelOutput] = field(default_factory=list)
    losses: list[LossTerm] = field(default_factory=list)
    metrics: list[MetricTerm] = field(default_factory=list)

    def layers(self) -> Iterator[KerasLayer]:
        """Every Keras layer once, in the order of first use."""
        seen: set[int] = set()
        for step in self.steps:
            if id(step.layer) not in seen:
                seen.add(id(step.layer))
                yield step.layer

    @property
    def terms(self) -> list[Term]:
        """Losses, then metrics."""
        return [*self.losses, *self.metrics]

    def calls(self) -> Iterator[Call]:
        """Every call of the model, its losses and metrics."""
        for layer in self.layers():
            yield layer.call
        for term in self.terms:
            yield term.call

    @property
    def is_chain(self) -> bool:
        """Whether a Sequential model says it all."""
        if len(self.inputs) != 1 or len(self.outputs) != 1 or not self.steps:
            return False
        tensor = self.inputs[0].tensor
        for step in self.steps:
            if step.inputs != (tensor,) or len(step.outputs) != 1:
                return False
            tensor = step.outputs[0]
        unshared = len(list(self.layers())) == len(self.steps)
        return unshared and self.outputs[0].tensor is tensor
