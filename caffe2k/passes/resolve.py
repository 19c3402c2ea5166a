"""From layer messages to a Net: blobs are versioned, so that in-place layers are plain."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from caffe2k.diagnostics import Diagnostics, did_you_mean, nearest
from caffe2k.ir.net import Blob, Layer, Net, ParamSpec, Phase
from caffe2k.ops import find_op, registered_ops
from caffe2k.ops.base import Count
from caffe2k.ops.stub import op_name
from caffe2k.schema.message import Message

_NAMELESS = ""
"""A field that a mistake took away together with its name."""

_WIRING = ("bottom", "top", "include", "exclude", "phase", "type", _NAMELESS)
_NO_WIRING = {"name", "force_backward", "debug_info", "state"}


@dataclass
class Unresolved:
    """What is wrong in any phase, and to be told once for all of them."""

    missing: set[str] = field(default_factory=set)
    """Blobs that no layer writes, all reported."""
    unsupported: dict[int, Message] = field(default_factory=dict)
    """Layers of types that have no op, by their place in the file; not yet reported."""
    stub_unknown: bool = False
    """Whether a layer of such a type becomes a class that the user writes."""

    def op_name(self, message: Message) -> str:
        """The name under which the op of a layer is registered; its type if there's none."""
        stub = self.stub_unknown and not _meant(message.type)
        return op_name(message, stub_unknown=stub)


def resolve(
    whole: Message,
    messages: Iterable[tuple[int, Message]],
    phase: Phase,
    unresolved: Unresolved,
    diagnostics: Diagnostics,
) -> Net:
    """The net of one phase, with the connections that Net::Init (net.cpp) makes.

    `messages` are those layers of the `whole` net that the phase has. A layer that can't
    be connected is left out; what it writes is not missed by others.
    """
    layers: list[Layer] = []
    newest: dict[str, Blob] = {}
    unknown = set(unresolved.missing)
    all_known = whole.lost <= _NO_WIRING
    for index, message in messages:
        if message.has_lost(*_WIRING):
            all_known = all_known and not message.has_lost("top", _NAMELESS)
            unknown.update(message.top)
            continue
        missing = _missing(message, newest, unknown) if all_known else []
        for i in missing:
            name = message.bottom[i]
            _report_missing(i, message, index, newest, whole, diagnostics)
            unresolved.missing.add(name)
            unknown.update((name, *_written_with(name, whole)))
        connected = all(name in newest for name in message.bottom)
        if connected:
            _report_duplicates(message, newest, diagnostics)
        kind = unresolved.op_name(message)
        if not message.type:
            _report_untyped(message, diagnostics)
        elif find_op(kind) is None:
            unresolved.unsupported[index] = message
        if find_op(message.type) is None and not _meant(message.type):
            _accept_unknown_fields(message, diagnostics)
        if not connected:
            unknown.update(message.top)
            continue
        bottoms = tuple(newest[name] for name in message.bottom)
        tops = _tops(message, kind, newest)
        layer = _layer(index, message, kind, bottoms, tops, phase)
        _report_in_place(layer, diagnostics)
        if not _counts_fit(layer, diagnostics):
            unknown.update(message.top)
            continue
        newest.update({top.name: top for top in layer.tops})
        layers.append(layer)
    return Net(whole.name, frozenset({phase}), tuple(layers))


def _missing(message: Message, newest: dict[str, Blob], unknown: set[str]) -> list[int]:
    """Which bottoms of a layer nobody has written before it."""
    names = enumerate(message.bottom)
    return [i for i, name in names if name not in newest and name not in unknown]


def _written_with(name: str, whole: Message) -> set[str]:
    """All that the layers of the file that write a blob write."""
    return {top for layer in whole.layer if name in layer.top for top in layer.top}


def _report_missing(
    i: int,
    message: Message,
    index: int,
    newest: dict[str, Blob],
    whole: Message,
    diagnostics: Diagnostics,
) -> None:
    name = message.bottom[i]
    diagnostics.error(
        "unknown-bottom",
        f"layer `{message.name}` reads `{name}`, which no layer before it writes",
        message.span_of("bottom", i),
        help=_why_missing(name, index, whole)
        or did_you_mean(name, newest)
        or _newest_few(newest),
    )


def _newest_few(newest: dict[str, Blob]) -> str:
    """The blobs that were written last."""
    names = ", ".join(f"`{name}`" for name in list(newest)[:-6:-1])
    return f"it can read {names}" if names else "no layer before it writes anything"


def _why_missing(name: str, index: int, whole: Message) -> str | None:
    """What keeps a blob away that some layer of the file writes."""
    for other, layer in enumerate(whole.layer):
        if name not in layer.top:
            continue
        writes = f"layer `{layer.name}` writes it, but"
        if not layer.include and not layer.exclude:
            return f"{writes} stands below" if other > index else None
        rules = "include" if layer.include else "exclude"
        if any(_needs_state(rule) for rule in (*layer.include, *layer.exclude)):
            return (
                f"{writes} its `{rules}` asks for a stage or level, which the solver "
                "sets: give the solver with --solver"
            )
        return (
            f"{writes} its `{rules}` leaves it out of this phase: give this phase such "
            "a layer too, or translate the other one with --phase"
        )
    return None


def _needs_state(rule: Message) -> bool:
    fields = ("stage", "not_stage", "min_level", "max_level")
    return any(rule.entries_of(field) for field in fields)


def _report_duplicates(
    message: Message, newest: dict[str, Blob], diagnostics: Diagnostics
) -> None:
    """Blobs with two writers, of which the second is not in place (Net::AppendTop)."""
    bottoms, names = message.bottom, message.top
    for i, name in enumerate(names):
        in_place = i < len(bottoms) and bottoms[i] == name
        if (name not in newest or in_place) and name not in names[:i]:
            continue
        help = (
            "give the top a name of its own, or make it the bottom at the same "
            "position to work in place"
        )
        if not bottoms:
            help = (
                "give the top a name of its own, or each of the layers an "
                "`include { phase: ... }`"
            )
        diagnostics.error(
            "duplicate-top",
            f"layer `{message.name}` writes `{name}`, which another layer wrote",
            message.span_of("top", i),
            help=help,
        )


def _accept_unknown_fields(message: Message, diagnostics: Diagnostics) -> None:
    """Fields that the schema lacks are no mistake in a layer that becomes a stub."""
    for unknown in message.unknown:
        diagnostics.withdraw("unknown-field", unknown.span)
        message.lost -= unknown.meant


def _tops(message: Message, kind: str, newest: dict[str, Blob]) -> tuple[Blob, ...]:
    """The blobs that a layer writes, each a new version of its name."""
    names = list(message.top)
    op = find_op(kind)
    if op is not None and op.is_loss and not names:
        names = [_automatic_top(message.name, newest)]
    return tuple(
        Blob(name, newest[name].version + 1 if name in newest else 0) for name in names
    )


def _automatic_top(name: str, newest: dict[str, Blob]) -> str:
    """A loss layer may leave out its top (LayerBase::AutoTopBlobs)."""
    while name in newest:
        name += "_loss"
    return name


def _layer(
    index: int,
    message: Message,
    kind: str,
    bottoms: tuple[Blob, ...],
    tops: tuple[Blob, ...],
    phase: Phase,
) -> Layer:
    params = tuple(
        ParamSpec(
            name=p.name,
            lr_mult=p.lr_mult if p.has("lr_mult") else None,
            decay_mult=p.decay_mult if p.has("decay_mult") else None,
            permissive=p.share_mode == "PERMISSIVE",
            span=message.span_of("param", i),
        )
        for i, p in enumerate(message.param)
    )
    return Layer(
        index,
        message.name,
        kind,
        bottoms,
        tops,
        message,
        params,
        frozenset({phase}),
        comments=message.comments,
    )


def _report_in_place(layer: Layer, diagnostics: Diagnostics) -> None:
    op = find_op(layer.type)
    if op is not None and not op.works_in_place and layer.in_place:
        diagnostics.error(
            "in-place",
            f"layer `{layer.name}` writes over its own bottom, which {layer.type} refuses",
            layer.message.span_of("top"),
            help="give the top a name of its own",
        )


def _counts_fit(layer: Layer, diagnostics: Diagnostics) -> bool:
    """Whether a type takes so many bottoms and tops (Layer::CheckBlobCounts, layer.hpp)."""
    op = find_op(layer.type)
    if op is None:
        return True
    fit = True
    for word, blobs, count in (
        ("bottom", layer.bottoms, op.bottoms),
        ("top", layer.tops, op.tops),
    ):
        if len(blobs) not in count:
            fit = False
            _report_count(word, len(blobs), count, layer, diagnostics)
    if fit and op.same_count and len(layer.bottoms) != len(layer.tops):
        fit = False
        diagnostics.error(
            "top-count",
            f"layer `{layer.name}` has {_number(len(layer.bottoms), 'bottom')} and "
            f"{_number(len(layer.tops), 'top')}; {layer.type} needs a top for each bottom",
            layer.span,
            help="write as many `top` lines as `bottom` lines",
        )
    if len(layer.message.propagate_down) not in (0, len(layer.bottoms)):
        diagnostics.error(
            "propagate-down-count",
            f"layer `{layer.name}` has {len(layer.message.propagate_down)} "
            f"propagate_down for {len(layer.bottoms)} bottoms",
            layer.message.span_of("propagate_down"),
            help="give none, or one for each bottom",
        )
    return fit


def _report_count(
    word: str, number: int, count: Count, layer: Layer, diagnostics: Diagnostics
) -> None:
    missing = number < count.least
    span = layer.span if missing else layer.message.span_of(word, count.most or 0)
    diagnostics.error(
        f"{word}-count",
        f"layer `{layer.name}` has {_number(number, word)}; {layer.type} takes {count}",
        span,
        help=f'write a line such as {word}: "name" for each'
        if missing
        else f"remove the `{word}` lines that it can't use",
    )


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count or 'no'} {word}s"


def _report_untyped(message: Message, diagnostics: Diagnostics) -> None:
    diagnostics.error(
        "layer-without-type",
        f"layer `{message.name}` has no `type`",
        message.span,
        help='add a line such as type: "Convolution"',
    )


def report_unsupported(unresolved: Unresolved, diagnostics: Diagnostics) -> None:
    """One diagnostic for all layers of types that have no op, and one for each typo."""
    others: list[Message] = []
    for _, message in sorted(unresolved.unsupported.items()):
        near = _meant(message.type)
        if near is None:
            others.append(message)
            continue
        diagnostics.error(
            "unknown-layer-type",
            f"layer `{message.name}` has the unknown type `{message.type}`",
            message.span_of("type"),
            help=f"did you mean `{near}`?",
        )
    if others:
        _report_unknown(others, diagnostics)


def _meant(layer_type: str) -> str | None:
    """The known type that an unknown one is a misspelling of."""
    if find_op(layer_type) is not None:
        return None
    near = nearest(layer_type, registered_ops(), cutoff=0.8)
    return None if near is None or _is_variant(layer_type, near) else near


def _is_variant(layer_type: str, known: str) -> bool:
    """Whether a type is a fork's `Convolution3D` or `ImageSegData`, rather than a typo."""
    words = iter(re.findall("[A-Z][^A-Z]*", layer_type))
    with_others = all(word in words for word in re.findall("[A-Z][^A-Z]*", known))
    longer = len(layer_type) > len(known)
    return longer and (with_others or known.lower() in layer_type.lower())


_MOST_LETTERS = 300


def _report_unknown(others: list[Message], diagnostics: Diagnostics) -> None:
    first = others[0]
    what = "a layer" if len(others) == 1 else f"{len(others)} layers"
    names = _by_type(others, lambda m: f"`{m.name}`")
    if len(names) > _MOST_LETTERS:
        names = _by_type(others, lambda m: f"line {m.span.line if m.span else '?'}")
    near = did_you_mean(first.type, registered_ops())
    stubs = "--stub-unknown leaves them for you to write; --ops adds ops of your own"
    diagnostics.error(
        "unsupported-layer",
        f"the net has {what} of a type that is not supported: {names}",
        first.span_of("type"),
        help=f"{near} {stubs}" if near else stubs,
    )


def _by_type(layers: list[Message], text: Callable[[Message], str]) -> str:
    """`Wavelet` (`wave1`, `wave2`), `Fourier` (`fourier`)."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        found.setdefault(layer.type, []).append(text(layer))
    return ", ".join(f"{kind} ({', '.join(texts)})" for kind, texts in found.items())
