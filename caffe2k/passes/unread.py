"""What a prototxt says and nothing used: never dropped in silence."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.ops import find_op
from caffe2k.ops.base import WIRING, LayerOp
from caffe2k.schema.message import Message

_NET = ("name", "state", "force_backward", "debug_info")


def report_unread(
    net: Message, layers: list[Message], diagnostics: Diagnostics
) -> None:
    """A diagnostic for each setting of the net and of `layers` that nothing read.

    What Caffe does not look at either is a warning. Layers that no translated phase
    contains are not looked at.
    """
    net.mark_read(*_NET)
    for layer in layers:
        layer.mark_read(*WIRING)
        for path, entry in layer.unread():
            if _is_ignored(layer, path):
                diagnostics.warning(
                    "ignored-field",
                    f"Caffe ignores `{path}` in layers of type {layer.type}, such as "
                    f"`{layer.name}`",
                    entry.span,
                    help="remove it",
                )
                continue
            diagnostics.error(
                "unsupported-option",
                f"`{path}` of layer `{layer.name}` ({layer.type}) is not supported",
                entry.span,
                help="remove it if the layer does not need it",
            )
    for path, entry in net.unread():
        if path.partition(".")[0] != "layer":
            diagnostics.error(
                "unsupported-option",
                f"`{path}` of the net is not supported",
                entry.span,
                help="remove it if the net does not need it",
            )


def _is_ignored(layer: Message, path: str) -> bool:
    """Whether Caffe's layer of this type does not look at a setting.

    Of a fork's settings that is not known: the fork may have changed the layer.
    """
    op, owner = find_op(layer.type), path.partition(".")[0]
    if op is None or layer.schema.fork_of(owner) is not None:
        return False
    if path in op.ignores:
        return True
    known = _messages(layer, op)
    is_message = layer.schema.fields[owner].message is not None
    return is_message and known is not None and owner not in known


def _messages(layer: Message, op: type[LayerOp]) -> tuple[str, ...] | None:
    """The messages that layers of the type look at; None where that is not known."""
    if op.messages is not None:
        return op.messages
    name = layer.type.lower()
    called = (f for f in layer.schema.fields if f.endswith("_param"))
    own = tuple(f for f in called if f.replace("_", "") == f"{name}param")
    return own or None
