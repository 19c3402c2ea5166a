"""Which blobs Caffe's log prints, and what Keras calls them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from caffe2k.codegen.program import Call, MetricTerm, Program, runtime
from caffe2k.ir.net import Net, Phase

_METRIC_NAMES = {
    "Accuracy": "accuracy",
    "PerClassAccuracy": "per_class_accuracy",
    "SegAccuracy": "seg_accuracy",
}
"""What metrics of the runtime are called that were given no name."""

_ENDPOINTS = ("LossEndpoint", "MultiBoxLoss")
"""Layers of the runtime whose output is the loss that they add."""


def log_outputs(net: Net, program: Program) -> tuple[Call, ...]:
    """An Output for each blob that a net prints, in Caffe's order: by name.

    `net` is that of one phase. What has a value for each sample is left out, and in TRAIN
    also what Keras's log does not hold (net.cpp, Net::Init: the blobs that no layer
    consumes).
    """
    inner = _inner_losses(program)
    tests = Phase.TEST in net.phases
    known = {**_compiled(program, inner), **_inner(program, inner, tests)}
    return tuple(known[name] for name in output_blobs(net) if name in known)


def output_blobs(net: Net) -> list[str]:
    """The blobs that no layer consumes, in the order of their names."""
    available: set[str] = set()
    for layer in net.layers:
        available.difference_update(blob.name for blob in layer.bottoms)
        available.update(blob.name for blob in layer.tops)
    return sorted(available, key=lambda name: name.encode("utf-8", "surrogateescape"))


def _compiled(program: Program, inner: _InnerLosses) -> dict[str, Call]:
    """Of the losses and metrics that compile() takes.

    A single loss among others inside the model has no number of its own in Keras.
    """
    found = {}
    for loss in program.losses:
        if len(program.losses) > 1:
            key = f"{loss.output}_loss"
            found[loss.top] = _output(loss.top, key, loss.weight)
        elif not inner.trained:
            found[loss.top] = _total(loss.top, loss.weight)
    for metric in program.metrics:
        name = _name(metric)
        key = name if len(program.outputs) == 1 else f"{metric.output}_{name}"
        found[metric.top] = _output(metric.top, key)
    return found


@dataclass(frozen=True)
class _InnerLosses:
    """The losses inside a model: those that are outputs with their weights, and how
    many are trained."""

    endpoints: Mapping[str, float]
    trained: int


def _inner_losses(program: Program) -> _InnerLosses:
    makers = {t: step.layer.call for step in program.steps for t in step.outputs}
    endpoints = {
        output.key: float(dict(call.kwargs).get("loss_weight", 1.0))
        for output in program.outputs
        if (call := makers.get(output.tensor)) is not None
        and call.target.name in _ENDPOINTS
    }
    others = [call for call in makers.values() if call.target.name == "WeightedOutput"]
    return _InnerLosses(endpoints, len(others) + sum(map(bool, endpoints.values())))


def _inner(program: Program, inner: _InnerLosses, tests: bool) -> dict[str, Call]:
    """Of the losses inside the model.

    The only one that is trained is Keras's loss; of others, tests get the values from
    the model's outputs.
    """
    found = {}
    for top, weight in inner.endpoints.items():
        if weight and inner.trained + len(program.losses) == 1:
            found[top] = _total(top, weight)
        elif tests and len(program.outputs) > 1:
            found[top] = _output(top, top, weight)
    return found


def _total(top: str, weight: float) -> Call:
    """The one loss of a net, which Keras shows with its weight."""
    return _output(top, "loss", weight, weighted=weight != 1)


def _name(metric: MetricTerm) -> str:
    """What a metric is called without its output."""
    default = _METRIC_NAMES.get(metric.call.target.name, metric.top)
    return str(dict(metric.call.kwargs).get("name", default))


def _output(top: str, key: str, weight: float = 0.0, *, weighted: bool = False) -> Call:
    kwargs = {"loss_weight": weight, "weighted": weighted}
    given = tuple((k, v) for k, v in kwargs.items() if v)
    return Call(runtime("training_log", "Output"), (top, key), given)
