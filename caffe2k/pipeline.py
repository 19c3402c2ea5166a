"""Every stage between a net's message and its Keras calls; nothing else knows them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from caffe2k.diagnostics import Diagnostics, did_you_mean
from caffe2k.ir.layout import DataFormat
from caffe2k.ir.net import Layer, Net, Phase, Shape
from caffe2k.ops import find_op
from caffe2k.ops.base import LayerOp
from caffe2k.ops.data import SourceOp
from caffe2k.ops.lowering import LoweredNet
from caffe2k.ops.plugins import blamed
from caffe2k.ops.stub import op_name
from caffe2k.passes.fuse import fuse_activations
from caffe2k.passes.in_place import join_in_place
from caffe2k.passes.lower import lower
from caffe2k.passes.merge import merge_phases
from caffe2k.passes.precision import warn_of_half_precision
from caffe2k.passes.resolve import Unresolved, report_unsupported, resolve
from caffe2k.passes.select import select_layers, state_of
from caffe2k.passes.shapes import infer_shapes
from caffe2k.passes.shared_recurrence import warn_of_shared_recurrence
from caffe2k.passes.sharing import share_params
from caffe2k.passes.weight_plan import weight_plan
from caffe2k.schema.message import Message
from caffe2k.sources.data_files import DataFiles, FirstRecord
from caffe2k.sources.database import first_record
from caffe2k.weights.plan import WeightPlan


@dataclass(frozen=True)
class Options:
    """What a user may choose about a translation."""

    phase: Phase | None = None
    """One phase alone; None for what the net is made for."""
    data_format: str = "channels_last"
    input_shapes: Mapping[str, Shape] = field(default_factory=dict)
    """Blob -> shape in Caffe's order, batch included; instead of what the data says."""
    strict: bool = False
    """Whether a difference from Caffe is an error."""
    stub_unknown: bool = False
    """Whether a layer of a type that has no op becomes a class that the user writes."""
    tfrecord: Path | None = None
    """The folder of the shards that stand for the databases of Data layers."""


class BlobShapes:
    """The shapes of data layers: the user's, the data's, or what the layer itself tells."""

    def __init__(
        self,
        root: Path,
        given: Mapping[str, Shape],
        diagnostics: Diagnostics,
        first: FirstRecord = first_record,
    ) -> None:
        self._files = DataFiles(root, diagnostics, first)
        self._given = given

    def of(self, layer: Layer) -> tuple[Shape, ...] | None:
        op_type = find_op(layer.type)
        assert op_type is not None
        assert issubclass(op_type, SourceOp)
        op = op_type(layer)
        given = [self.given(top.name) for top in layer.tops]
        if given[0] is not None:
            rest = [shape or (given[0][0],) for shape in given[1:]]
            return (given[0], *rest)
        found = self._files.of(layer)
        if found is not None:
            return found
        records = op.record_shapes()
        if records is None:
            return None
        batch = op.p.batch_size
        return tuple((batch, *record) for record in records[: len(layer.tops)])

    def given(self, blob: str) -> Shape | None:
        return self._given.get(blob)


@dataclass(frozen=True, eq=False)
class TranslatedNet:
    """A net as Keras calls, with the nets of its phases as Caffe has them."""

    message: Message
    phases: Mapping[Phase, Net]
    whole: LoweredNet

    @property
    def net(self) -> Net:
        return self.whole.net

    @cached_property
    def plan(self) -> WeightPlan:
        """Where the parameters of the whole net go."""
        return weight_plan(self.whole)


@blamed()
def analyse(
    message: Message,
    root: Path,
    options: Options,
    diagnostics: Diagnostics,
    states: Mapping[Phase, Message] | None = None,
) -> dict[Phase, Net]:
    """The nets of the phases, with the shapes that Caffe gives their blobs.

    `root` is the folder that data is looked up in; `states` what a solver adds to the
    net's own state. Problems are added to `diagnostics`.
    """
    first = _first_record(options)
    data = BlobShapes(root, options.input_shapes, diagnostics, first)
    nets: dict[Phase, Net] = {}
    unresolved = Unresolved(stub_unknown=options.stub_unknown)
    states = states or {}
    for phase in _phases(message, options, states):
        state = state_of(message, phase, states.get(phase))
        layers = select_layers(message, state, diagnostics)
        net = resolve(message, layers, phase, unresolved, diagnostics)
        nets[phase] = infer_shapes(net, data, diagnostics)
    report_unsupported(unresolved, diagnostics)
    if not diagnostics.has_errors and not any(net.layers for net in nets.values()):
        _report_empty(message, diagnostics)
    return nets


def _check_input_shapes(
    message: Message, options: Options, diagnostics: Diagnostics
) -> None:
    """Shapes can be given for the blobs of data layers whose data holds them."""
    blobs = {
        top: op.is_stub or (issubclass(op, SourceOp) and op.shaped_by_data)
        for layer in message.layer
        if (op := _op(layer, options)) is not None
        and (op.is_stub or issubclass(op, SourceOp))
        for top in layer.top
    }
    for name in options.input_shapes:
        if name not in blobs:
            diagnostics.error(
                "unknown-input",
                f"--input-shape names `{name}`, which no data layer or stub writes",
                help=did_you_mean(name, blobs) or "remove the option",
            )
        elif not blobs[name]:
            diagnostics.error(
                "unknown-input",
                f"--input-shape names `{name}`, whose shape stands in the net",
                help="change it in the net",
            )


def _report_empty(message: Message, diagnostics: Diagnostics) -> None:
    if message.layer:
        text = "the net has no layers in this phase and state"
        help = "choose the phase with --phase, and the state with --solver"
    else:
        text, help = "the net has no layers", "is it the right file?"
    diagnostics.error("empty-net", text, message.span, help=help)


def _first_record(options: Options) -> FirstRecord:
    """What finds a database's first record: in its shards, where there are any."""
    if options.tfrecord is None:
        return first_record
    from caffe2k.datasets.shards import first_record_in

    return first_record_in(options.tfrecord)


def _phases(
    message: Message, options: Options, states: Mapping[Phase, Message]
) -> list[Phase]:
    """Both phases for a net that can be trained, TEST alone for one that can't.

    TRAIN alone for one whose layers have no data in TEST.
    """
    if options.phase is not None:
        return [options.phase]
    if not any(_is_for_training(layer, options) for layer in message.layer):
        return [Phase.TEST]
    lacks = {
        phase: _lacks_data(message, phase, options, states.get(phase))
        for phase in (Phase.TRAIN, Phase.TEST)
    }
    if lacks[Phase.TEST] and not lacks[Phase.TRAIN]:
        return [Phase.TRAIN]
    return [Phase.TRAIN, Phase.TEST]


def _lacks_data(
    message: Message, phase: Phase, options: Options, state: Message | None
) -> bool:
    """Whether a phase has layers, but none that brings data in."""
    chosen = select_layers(message, state_of(message, phase, state), Diagnostics())
    ops = [_op(layer, options) for _, layer in chosen]
    return bool(ops) and not any(op is not None and op.is_source for op in ops)


def _op(layer: Message, options: Options) -> type[LayerOp] | None:
    return find_op(op_name(layer, stub_unknown=options.stub_unknown))


def _is_for_training(layer: Message, options: Options) -> bool:
    op = _op(layer, options)
    if op is None:
        return False
    return (
        op.is_loss or (op.is_source and layer.type != "Input") or any(layer.loss_weight)
    )


@blamed()
def translate_net(
    message: Message,
    root: Path,
    options: Options,
    diagnostics: Diagnostics,
    states: Mapping[Phase, Message] | None = None,
    *,
    prefix: str = "",
) -> TranslatedNet:
    """A net as Keras calls; `prefix` begins the names of the files beside its script.

    After an error in `diagnostics` it is a part of the net, with the layers that were
    found right: what is wrong with those can still be said.
    """
    _check_input_shapes(message, options, diagnostics)
    nets = analyse(message, root, options, diagnostics, states)
    if len(nets) == 2:
        net = merge_phases(nets[Phase.TRAIN], nets[Phase.TEST], diagnostics)
    else:
        (net,) = nets.values()
    net = share_params(net, diagnostics)
    warn_of_shared_recurrence(net, diagnostics)
    warn_of_half_precision(message, net, diagnostics)
    force_backward = bool(message.force_backward)
    if Phase.TRAIN in net.phases or force_backward:
        net = join_in_place(net, diagnostics, force_backward=force_backward)
    net = fuse_activations(net)
    whole = lower(net, DataFormat(options.data_format), diagnostics, root, prefix)
    return TranslatedNet(message, nets, whole)
