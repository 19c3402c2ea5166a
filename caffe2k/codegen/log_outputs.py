"""Which blobs Caffe's log prints, and what Keras calls them."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.codegen.program import Call, MetricTerm, Program, Tensor, runtime
from caffe2k.ir.net import Net

_METRIC_NAMES = {
    "Accuracy": "accuracy",
    "PerClassAccuracy": "per_class_accuracy",
    "SegAccuracy": "seg_accuracy",
}
"""What metrics of the runtime are called that were given no name."""

_ENDPOINTS = ("LossEndpoint", "MultiBoxLoss")
"""Layers of the runtime whose output is the loss that they add."""

_REARRANGING = ("Permute", "Transpose", "Identity")
"""Layers that may stand between a blob and the output of the model that it is."""


def log_outputs(net: Net, program: Program, *, channels_last: bool) -> tuple[Call, ...]:
    """An Output for each blob that a net prints, in Caffe's order: by name.

    `net` is that of one phase. Left out are data that no layer reads: nothing reads them
    here either (net.cpp, Net::Init: the blobs that no layer consumes).
    """
    known = {
        **_model_outputs(net, program, channels_last=channels_last),
        **_compiled(program),
        **_only_inner(program),
    }
    return tuple(known[name] for name in output_blobs(net) if name in known)


def needs_forward(outputs: Sequence[Call]) -> bool:
    """Whether Keras's logs lack some of the outputs, which the model itself has."""
    return any(len(output.args) == 1 for output in outputs)


def output_blobs(net: Net) -> list[str]:
    """The blobs that no layer consumes, in the order of their names."""
    available: set[str] = set()
    for layer in net.layers:
        available.difference_update(blob.name for blob in layer.bottoms)
        available.update(blob.name for blob in layer.tops)
    return sorted(available, key=lambda name: name.encode("utf-8", "surrogateescape"))


def _model_outputs(
    net: Net, program: Program, *, channels_last: bool
) -> dict[str, Call]:
    """Of the blobs that the model itself gives."""
    shapes = {top.name: net.shapes[top] for layer in net.layers for top in layer.tops}
    makers = _makers(program)
    found = {}
    for output in program.outputs:
        if output.key not in shapes:
            continue
        shape, call = shapes[output.key], makers.get(output.tensor)
        name = call.target.name if call is not None else ""
        found[output.key] = _output(
            output.key,
            loss_weight=_weight(call),
            repeated=shape == () or name == "BatchAccuracy",
            channels_last=channels_last and len(shape) in (4, 5),
        )
    return found


def _makers(program: Program) -> dict[Tensor, Call]:
    """What computes each tensor, however it was rearranged since."""
    makers: dict[Tensor, Call] = {}
    for step in program.steps:
        call = step.layer.call
        if call.target.name in _REARRANGING and step.inputs[0] in makers:
            call = makers[step.inputs[0]]
        makers.update(dict.fromkeys(step.outputs, call))
    return makers


def _weight(call: Call | None) -> float:
    """The loss_weight of what a layer inside the model adds to the loss."""
    if call is None:
        return 0.0
    if call.target.name == "WeightedOutput":
        return float(call.args[0])
    if call.target.name in _ENDPOINTS:
        return float(dict(call.kwargs).get("loss_weight", 1.0))
    return 0.0


def _inner_losses(program: Program) -> int:
    """How many losses are trained inside the model."""
    return sum(1 for step in program.steps if _weight(step.layer.call))


def _only_inner(program: Program) -> dict[str, Call]:
    """Of the only loss that is trained, inside the model: Keras's logs have it."""
    if _inner_losses(program) + len(program.losses) != 1:
        return {}
    makers = _makers(program)
    return {
        output.key: _total(output.key, weight)
        for output in program.outputs
        if (call := makers.get(output.tensor)) is not None
        and call.target.name in _ENDPOINTS
        and (weight := _weight(call))
    }


def _compiled(program: Program) -> dict[str, Call]:
    """Of the losses and metrics that compile() takes.

    A single loss that Keras's own number does not tell has a metric of its own.
    """
    found, weights = {}, {loss.top: loss.weight for loss in program.losses}
    for loss in program.losses:
        if len(program.losses) > 1:
            key = f"{loss.output}_loss"
            found[loss.top] = _output(loss.top, key, loss.weight)
        elif loss.weight and not _inner_losses(program):
            found[loss.top] = _total(loss.top, loss.weight)
    for metric in program.metrics:
        name = _name(metric)
        key = name if len(program.outputs) == 1 else f"{metric.output}_{name}"
        found[metric.top] = _output(metric.top, key, weights.get(metric.top, 0.0))
    return found


def _total(top: str, weight: float) -> Call:
    """The one loss of a net, which Keras shows with its weight."""
    return _output(top, "loss", weight, weighted=weight != 1)


def _name(metric: MetricTerm) -> str:
    """What a metric is called without its output."""
    default = _METRIC_NAMES.get(metric.call.target.name, metric.top)
    return str(dict(metric.call.kwargs).get("name", default))


def _output(top: str, key: str = "", loss_weight: float = 0.0, **flags: bool) -> Call:
    """The call of Output, with the arguments that aren't its defaults."""
    kwargs = {"loss_weight": loss_weight, **flags}
    given = tuple((k, v) for k, v in kwargs.items() if v)
    return Call(runtime("training_log", "Output"), (top, key) if key else (top,), given)
