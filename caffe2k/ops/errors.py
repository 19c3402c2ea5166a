"""What ops say of layers that Caffe would refuse, or that can't be translated."""

from __future__ import annotations

from caffe2k.diagnostics import SourceSpan
from caffe2k.ir.net import Layer, Shape
from caffe2k.schema.message import Message


class OpError(Exception):
    """A layer that Caffe would refuse, or that cannot be translated.

    `field` names the setting that is at fault, as a dotted path below the layer's
    message; the diagnostic's caret points there, at the `index`-th if there are several.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str = "type",
        index: int = 0,
        help: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.index = index
        self.help = help

    def span(self, layer: Layer) -> SourceSpan | None:
        """The place of the field in the layer's text, or of the nearest thing around it."""
        message, span = layer.message, layer.span
        for name in self.field.split("."):
            entries = message.entries_of(name)
            if not entries:
                break
            entry = entries[self.index if self.index < len(entries) else 0]
            span = entry.span or span
            if not isinstance(entry.value, Message):
                break
            message = entry.value
        return span


def missing_num_output(layer: Layer, path: str) -> OpError:
    """What every layer with a `num_output` says where it is 0 or not set."""
    return OpError(
        "missing-num-output",
        f"layer `{layer.name}` has no `num_output`",
        field=path,
        help=f"add it to `{path}`",
    )


def not_images(layer: Layer, bottom: Shape) -> OpError:
    """What a layer says that takes (N, C, H, W) alone."""
    return OpError(
        "bottom-rank",
        f"layer `{layer.name}` needs (N, C, H, W), not {len(bottom)} axes",
        field="bottom",
        help="a Reshape layer can give the blob four axes",
    )


def no_channel_axis(layer: Layer, bottom: Shape) -> OpError:
    """What a layer says whose bottom has no axis 1."""
    return OpError(
        "bottom-rank",
        f"layer `{layer.name}` needs a channel axis, but its bottom is {bottom}",
        field="bottom",
        help="a Reshape layer can give the blob two axes",
    )
