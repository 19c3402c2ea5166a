"""From layer messages to a Net: blobs are versioned, so that in-place layers are plain."""

from __future__ import annotations

from collections.abc import Iterable

from caffe2k.diagnostics import Diagnostics, did_you_mean
from caffe2k.ir.net import Blob, Layer, Net, ParamSpec, Phase
from caffe2k.ops import find_op, registered_ops
from caffe2k.schema.message import Message


def resolve(
    name: str,
    messages: Iterable[tuple[int, Message]],
    phase: Phase,
    diagnostics: Diagnostics,
) -> Net:
    """The net of one phase, with the connections that Net::Init (net.cpp) makes."""
    layers: list[Layer] = []
    unsupported: list[Message] = []
    newest: dict[str, Blob] = {}
    unknown: set[str] = set()
    for index, message in messages:
        bottoms = _bottoms(message, newest, unknown, diagnostics)
        tops = _tops(message, newest, diagnostics)
        if find_op(message.type) is None:
            unsupported.append(message)
        if bottoms is None:
            unknown.update(message.top)
            continue
        newest.update({top.name: top for top in tops})
        layers.append(_layer(index, message, bottoms, tops, phase, diagnostics))
    _report_unsupported(unsupported, diagnostics)
    return Net(name, frozenset({phase}), tuple(layers))


def _bottoms(
    message: Message,
    newest: dict[str, Blob],
    unknown: set[str],
    diagnostics: Diagnostics,
) -> tuple[Blob, ...] | None:
    """The blobs that a layer reads, or None if one of them does not exist."""
    found: list[Blob] = []
    complete = True
    for i, name in enumerate(message.bottom):
        if name in newest:
            found.append(newest[name])
            continue
        complete = False
        if name not in unknown:
            diagnostics.error(
                "unknown-bottom",
                f"layer `{message.name}` reads `{name}`, which no layer before it writes",
                message.span_of("bottom", i),
                help=did_you_mean(name, newest),
            )
    return tuple(found) if complete else None


def _tops(
    message: Message, newest: dict[str, Blob], diagnostics: Diagnostics
) -> tuple[Blob, ...]:
    """The blobs that a layer writes; see Net::AppendTop (net.cpp)."""
    bottoms = message.bottom
    names = list(message.top)
    op = find_op(message.type)
    if op is not None and op.is_loss and not names:
        names = [_automatic_top(message.name, newest)]
    tops: list[Blob] = []
    for i, name in enumerate(names):
        in_place = i < len(bottoms) and bottoms[i] == name
        if (name in newest and not in_place) or name in names[:i]:
            diagnostics.error(
                "duplicate-top",
                f"layer `{message.name}` writes `{name}`, which another layer wrote",
                message.span_of("top", i),
                help="give the top a name of its own, or make it the bottom at the same "
                "position to work in place",
            )
        version = newest[name].version + 1 if name in newest else 0
        tops.append(Blob(name, version))
    return tuple(tops)


def _automatic_top(name: str, newest: dict[str, Blob]) -> str:
    """A loss layer may leave out its top (LayerBase::AutoTopBlobs)."""
    while name in newest:
        name += "_loss"
    return name


def _layer(
    index: int,
    message: Message,
    bottoms: tuple[Blob, ...],
    tops: tuple[Blob, ...],
    phase: Phase,
    diagnostics: Diagnostics,
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
    layer = Layer(
        index,
        message.name,
        message.type,
        bottoms,
        tops,
        message,
        params,
        frozenset({phase}),
        comments=message.comments,
    )
    _check_counts(layer, diagnostics)
    return layer


def _check_counts(layer: Layer, diagnostics: Diagnostics) -> None:
    """How many bottoms and tops a type takes (Layer::CheckBlobCounts, layer.hpp)."""
    op = find_op(layer.type)
    if op is None:
        return
    for word, blobs, count in (
        ("bottom", layer.bottoms, op.bottoms),
        ("top", layer.tops, op.tops),
    ):
        if len(blobs) not in count:
            diagnostics.error(
                f"{word}-count",
                f"layer `{layer.name}` has {len(blobs)} {word}s; {layer.type} takes {count}",
                layer.span,
            )
    if op.same_count and len(layer.bottoms) != len(layer.tops):
        diagnostics.error(
            "top-count",
            f"layer `{layer.name}` has {len(layer.bottoms)} bottoms and "
            f"{len(layer.tops)} tops; {layer.type} needs one top for each bottom",
            layer.span,
        )


def _report_unsupported(messages: list[Message], diagnostics: Diagnostics) -> None:
    """One diagnostic for all layers of types that have no op."""
    if not messages:
        return
    first = messages[0]
    names = ", ".join(f"`{m.name}` ({m.type})" for m in messages)
    what = "a layer" if len(messages) == 1 else f"{len(messages)} layers"
    diagnostics.error(
        "unsupported-layer",
        f"the net has {what} of a type that is not supported: {names}",
        first.span_of("type"),
        help=did_you_mean(first.type, registered_ops())
        or "`caffe2k layers` lists the types that are",
    )
