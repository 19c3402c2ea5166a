"""From the net to the program: every layer's op writes its Keras calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from caffe2k.codegen.names import keras_name
from caffe2k.codegen.program import (
    Call,
    KerasLayer,
    LossTerm,
    MetricTerm,
    ModelInput,
    ModelOutput,
    Program,
    Step,
    Tensor,
    keras_layer,
    runtime,
)
from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.layout import DataFormat
from caffe2k.ir.net import Blob, Layer, Net
from caffe2k.ops import find_op
from caffe2k.ops.base import LayerOp
from caffe2k.ops.errors import OpError
from caffe2k.ops.in_place import lower_run
from caffe2k.ops.lowering import LoweredNet, Lowering
from caffe2k.passes.layouts import Layouts, choose_layouts


def lower(
    net: Net,
    form: DataFormat,
    diagnostics: Diagnostics,
    root: Path = Path(),
    prefix: str = "",
) -> LoweredNet:
    """The net as Keras calls; a layer that can't be said in Keras is a diagnostic.

    `root` is the folder that files are named from, `prefix` begins the names of those
    that are written. After a diagnostic the net that is
    returned has the layers that were lowered.
    """
    layouts = choose_layouts(net, form, set(_boundary_blobs(net)))
    whole = LoweredNet(net, form, Program(net.name), root=root, prefix=prefix)
    failed: set[int] = set()
    for layer in _sources_first(net.layers):
        if failed and _hinges_on(layer, failed, whole):
            failed.add(layer.index)
            continue
        try:
            _lower_layer(whole, layer, layouts)
        except OpError as e:
            diagnostics.error(e.code, e.message, e.span(layer), help=e.help)
            failed.add(layer.index)
    for layer, difference in whole.warnings:
        span, help = difference.span(layer), difference.help
        diagnostics.warning(difference.code, difference.message, span, help=help)
    if not failed:
        _close(whole)
    lowered = tuple(layer for layer in net.layers if layer.index not in failed)
    whole.net = net.replace(layers=lowered)
    return whole


def _sources_first(layers: Sequence[Layer]) -> list[Layer]:
    """Data layers in front: wherever they stand, they are the inputs of the model."""

    def is_computed(layer: Layer) -> bool:
        op = find_op(layer.type)
        return op is None or not op.is_source

    return sorted(layers, key=is_computed)


def _hinges_on(layer: Layer, failed: set[int], whole: LoweredNet) -> bool:
    """Whether a layer reads from a failed one, or shares its parameters."""
    owners = whole.net.owners
    shares = any(
        owner in failed for (i, _), (owner, _) in owners.items() if i == layer.index
    )
    return shares or any(blob not in whole.tensors for blob in layer.bottoms)


def _boundary_blobs(net: Net) -> list[Blob]:
    """What may leave the model: blobs under a loss or metric, and those nobody reads."""
    consumers = net.consumers()
    found = _kept_blobs(net)
    for layer in net.layers:
        op = find_op(layer.type)
        assert op is not None
        if op.is_loss or op.is_metric:
            found.append(layer.bottoms[0])
        if not op.is_source:
            found.extend(t for t in layer.tops if t not in consumers)
    return list(dict.fromkeys(found))


def _kept_blobs(net: Net) -> list[Blob]:
    """What must leave the model, whoever reads it too."""
    keepers = (layer for layer in net.layers if _keeps_bottoms(layer))
    return [blob for layer in keepers for blob in layer.bottoms]


def _keeps_bottoms(layer: Layer) -> bool:
    op = find_op(layer.type)
    return op is not None and op.keeps_bottoms


def _add_source(whole: LoweredNet, layer: Layer) -> None:
    for top in layer.tops:
        if top not in whole.tensors:
            whole.tensors[top] = Tensor(top.name)
            whole.layouts[top] = whole.form.boundary(len(whole.net.shapes[top]))
            whole.sources[top] = whole.names.claim(keras_name(top.name))
            whole.source_comments[top] = layer.comments


def _lower_layer(whole: LoweredNet, layer: Layer, layouts: Layouts) -> None:
    op = _op(layer)
    if op.is_source:
        _add_source(whole, layer)
        return
    k = Lowering(
        whole, layer, layouts.reads[layer.index], [layouts.blobs[t] for t in layer.tops]
    )
    if layer.run:
        lower_run(k)
        op = _op(layer.run[-1])
    else:
        op.lower(k)
    for top, weight in zip(layer.tops, op.loss_weights, strict=False):
        if weight != 0 and top in whole.tensors:
            if not op.is_loss:
                _weigh(whole, layer, top, weight)
            whole.inner_losses.append(top)


def _op(layer: Layer) -> LayerOp:
    op_type = find_op(layer.type)
    assert op_type is not None
    return op_type(layer)


def _weigh(whole: LoweredNet, layer: Layer, top: Blob, weight: float) -> None:
    """A loss_weight on a layer that is no loss: its top's sum joins the objective."""
    if any(whole.net.shapes[blob] == () for blob in layer.bottoms):
        # One number, which a loss before it may repeat for each sample.
        mean = Call(runtime("reductions", "Reduction"), ([0], "MEAN"))
        _apply(whole, top, mean, "mean")
    _apply(whole, top, Call(runtime("endpoint", "WeightedOutput"), (weight,)), "loss")


def _apply(whole: LoweredNet, top: Blob, call: Call, suffix: str) -> None:
    """Replaces a top's tensor by what a layer of our own makes of it."""
    name = whole.names.claim(f"{keras_name(top.name)}_{suffix}")
    made = Tensor(top.name)
    step = Step(KerasLayer(name, call), (whole.tensors[top],), (made,))
    whole.program.steps.append(step)
    whole.tensors[top] = made


def _close(whole: LoweredNet) -> None:
    """Settles inputs and outputs, and drops what no output needs."""
    program, net = whole.program, whole.net
    consumers = net.consumers()
    read = {term.output for term in program.terms}
    kept = _kept_blobs(net)
    for blob in _boundary_blobs(net):
        leaves = blob not in consumers or blob.name in read or blob in kept
        if blob in whole.tensors and leaves:
            _add_output(whole, blob)
    if not program.outputs:
        for blob in whole.sources:
            _add_output(whole, blob)
    for blob in whole.inner_losses:
        if whole.tensors[blob] not in _needed(program):
            _add_output(whole, blob)
    if len(program.losses) == 1 and (
        whole.inner_losses or not program.losses[0].weight
    ):
        program.metrics.append(_loss_value(program.losses[0]))
    needed = _needed(program)
    program.steps = [s for s in program.steps if needed.intersection(s.outputs)]
    used = {t for step in program.steps for t in step.inputs}
    told: tuple[str, ...] = ()
    for blob, name in whole.sources.items():
        tensor = whole.tensors[blob]
        if tensor in used:
            shape = whole.layouts[blob].keras_shape(net.shapes[blob])
            comments = whole.source_comments[blob]
            # A data layer with several tops says once what it is.
            new = () if comments == told else comments
            program.inputs.append(ModelInput(blob.name, name, shape, tensor, new))
            told = comments


def _loss_value(loss: LossTerm) -> MetricTerm:
    """A metric for the one loss of compile(): Keras tells its weighted sum with others."""
    call = Call(
        runtime("metrics", "LossValue"), (loss.call,), (("name", f"{loss.top}_value"),)
    )
    return MetricTerm(loss.caffe_name, loss.top, loss.output, loss.target_blob, call)


def _add_output(whole: LoweredNet, blob: Blob) -> None:
    layout = whole.form.boundary(whole.layouts[blob].rank)
    tensor = whole.read(blob, layout)
    program = whole.program
    taken = {o.tensor for o in program.outputs}
    is_input = any(whole.tensors[source] is tensor for source in whole.sources)
    if tensor in taken or is_input:
        layer = KerasLayer(
            whole.names.claim(f"{keras_name(blob.name)}_output"),
            Call(keras_layer("Identity")),
        )
        same = Tensor(blob.name)
        program.steps.append(Step(layer, (tensor,), (same,)))
        tensor = same
    if blob.name not in {o.key for o in program.outputs}:
        program.outputs.append(ModelOutput(blob.name, tensor))


def _needed(program: Program) -> set[Tensor]:
    """The tensors that the outputs depend on."""
    needed = {output.tensor for output in program.outputs}
    for step in reversed(program.steps):
        if needed.intersection(step.outputs):
            needed.update(step.inputs)
    return needed
