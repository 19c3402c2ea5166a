"""Brings nets and solvers of every age to today's form, as Caffe does when it reads them."""

from __future__ import annotations

from collections.abc import Sequence

from caffe2k.diagnostics import Diagnostics
from caffe2k.prototxt.deprecated import replace_deprecated
from caffe2k.prototxt.upgrade_v0 import is_v0, upgrade_v0
from caffe2k.prototxt.upgrade_v1 import upgrade_data_transformation, upgrade_v1
from caffe2k.schema.message import Entry, Message

_SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}
_NETS_OF_SOLVER = ("net_param", "train_net_param", "test_net_param")
_OLD_BATCH_NORM_PARAMS = 3
_LEGACY_AXES = 4


def upgrade(message: Message, diagnostics: Diagnostics) -> Message:
    """A net or solver in today's form; the message that was given is used up.

    Places and comments stay. After it, ops see current fields only: V0 and V1 layers,
    inputs of the net, and deprecated fields are gone (UpgradeNetAsNeeded and
    UpgradeSolverAsNeeded, util/upgrade_proto.cpp).
    """
    if message.schema.name == "SolverParameter":
        return _upgrade_solver(message, diagnostics)
    return _upgrade_net(message, diagnostics)


def _upgrade_net(net: Message, diagnostics: Diagnostics) -> Message:
    if is_v0(net):
        net = upgrade_v0(net, diagnostics)
    upgrade_data_transformation(net)
    if net.entries_of("layers"):
        net = upgrade_v1(net, diagnostics)
    if net.entries_of("input"):
        _upgrade_input(net, diagnostics)
    for entry in net.entries_of("layer"):
        _upgrade_batch_norm(entry.value)
        replace_deprecated(entry.value, diagnostics)
    return net


def _upgrade_input(net: Message, diagnostics: Diagnostics) -> None:
    """Inputs with shapes become an Input layer; inputs without are dropped.

    UpgradeNetInput (util/upgrade_proto.cpp).
    """
    inputs = net.clear("input")
    shapes = net.clear("input_shape")
    dims = net.clear("input_dim")
    if not _shapes_suffice(inputs, shapes, dims, net.lost, diagnostics):
        return
    first = inputs[0]
    layer = Message("LayerParameter", first.span, first.comments)
    layer.set("name", Entry("input", first.span))
    layer.set("type", Entry("Input", first.span))
    layer.set("top", Entry(first.value, first.span), *inputs[1:])
    holder = layer.child("input_param", first.span)
    for i, entry in enumerate(inputs):
        if shapes:
            holder.add("shape", shapes[i])
            continue
        shape = Message("BlobShape", entry.span)
        shape.set("dim", *dims[_LEGACY_AXES * i : _LEGACY_AXES * (i + 1)])
        holder.add("shape", Entry(shape, entry.span))
    new = Entry(layer, first.span, first.comments, first.detached, first.trailing)
    net.set("layer", new, *net.entries_of("layer"))


def _shapes_suffice(
    inputs: Sequence[Entry],
    shapes: Sequence[Entry],
    dims: Sequence[Entry],
    lost: set[str],
    diagnostics: Diagnostics,
) -> bool:
    first, number = inputs[0], len(inputs)
    if lost & {"input", "input_shape", "input_dim"}:
        return False
    if shapes and len(shapes) < number:
        lost.add("input")
        diagnostics.error(
            "input-shape",
            f"the net has {number} `input`, but {len(shapes)} `input_shape`",
            shapes[-1].span,
            help="write one for each, in the same order",
        )
        return False
    if dims and not shapes and len(dims) < _LEGACY_AXES * number:
        lost.add("input")
        diagnostics.error(
            "input-shape",
            f"the net has {number} `input`, but {len(dims)} `input_dim`",
            dims[-1].span,
            help="write four for each (N, C, H, W), or an `input_shape` with any number "
            "of sizes",
        )
        return False
    if not shapes and not dims and first.span is not None:
        diagnostics.warning(
            "input-without-shape",
            f"Caffe drops the input `{first.value}`, which has no shape",
            first.span,
            help="give it with `input_shape` or in an Input layer",
        )
    return bool(shapes or dims)


def _upgrade_batch_norm(layer: Message) -> None:
    """The three `param` of an old BatchNorm layer no longer train its statistics.

    UpgradeNetBatchNorm (util/upgrade_proto.cpp).
    """
    specs = layer.entries_of("param")
    if layer.peek("type") == "BatchNorm" and len(specs) == _OLD_BATCH_NORM_PARAMS:
        for spec in specs:
            spec.value.set("lr_mult", Entry(0.0, spec.span))
            spec.value.set("decay_mult", Entry(0.0, spec.span))


def _upgrade_solver(solver: Message, diagnostics: Diagnostics) -> Message:
    """UpgradeSolverType; Caffe itself leaves nets inside a solver as they are."""
    if old := solver.entries_of("solver_type"):
        if solver.entries_of("type"):
            diagnostics.error(
                "both-forms",
                "`solver_type` and `type` can't both be set",
                old[0].span,
                help="`solver_type` is the older form; remove it",
            )
        solver.clear("solver_type")
        solver.set("type", old[0].with_value(_SOLVER_TYPES[old[0].value]))
    for name in _NETS_OF_SOLVER:
        if nets := solver.entries_of(name):
            upgraded = (e.with_value(_upgrade_net(e.value, diagnostics)) for e in nets)
            solver.set(name, *upgraded)
    return solver
