"""What a prototxt says and nothing used: never dropped in silence."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.schema.message import Message

_NET = ("name", "state", "force_backward", "debug_info")
_LAYER = (
    "name",
    "type",
    "bottom",
    "top",
    "param",
    "include",
    "exclude",
    # Losses and metrics for compile() have no inputs that it could stop.
    "propagate_down",
    # What a caffemodel carries beside the definition.
    "blobs",
)


def report_unread(
    net: Message, layers: list[Message], diagnostics: Diagnostics
) -> None:
    """A diagnostic for each setting of the net and of `layers` that nothing read.

    Layers that no translated phase contains are not looked at.
    """
    net.mark_read(*_NET)
    for layer in layers:
        layer.mark_read(*_LAYER)
        for path, entry in layer.unread():
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
