"""Fields of today's layers that have a newer form, or that Caffe no longer reads."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.schema.message import Entry, Message

_AXES = (("concat_param", "concat_dim"), ("slice_param", "slice_dim"))
_NORMALIZING = ("SoftmaxWithLoss", "SigmoidCrossEntropyLoss")
_LEGACY_DIMS = ("num", "channels", "height", "width")

_NOT_READ = {
    "data_param": ("scale", "mean_file", "crop_size", "mirror"),
    "image_data_param": ("scale", "mean_file", "crop_size", "mirror"),
    "window_data_param": ("mean_file", "crop_size", "mirror"),
}
"""What a `layer` may set and Caffe upgrades in `layers` only; WindowData reads `scale`."""

_NO_TRANSFORMS = ("DummyData", "Input", "MemoryData")
_OTHER_TRANSFORMS = {
    "ImageData": ("force_color", "force_gray"),
    "WindowData": ("scale", "force_color", "force_gray"),
}
"""What layers of a type do not look at in their `transform_param`."""


def replace_deprecated(layer: Message, diagnostics: Diagnostics) -> None:
    """Rewrites a layer so that only current fields are set, in place."""
    for owner, old in _AXES:
        _replace_axis(layer, owner, old, diagnostics)
    _replace_normalize(layer)
    _replace_legacy_dims(layer, diagnostics)
    _drop_unread(layer, diagnostics)
    _drop_transforms(layer, diagnostics)


def _replace_axis(
    layer: Message, owner: str, old: str, diagnostics: Diagnostics
) -> None:
    """ConcatLayer::Reshape and SliceLayer::Reshape."""
    param: Message | None = layer.peek(owner)
    if param is None or not (dims := param.clear(old)):
        return
    if param.entries_of("axis"):
        _report_both(diagnostics, dims[0], old, "axis")
        return
    param.set("axis", *dims)


def _replace_normalize(layer: Message) -> None:
    """`normalization` wins over `normalize` (SoftmaxWithLossLayer::LayerSetUp).

    InfogainLoss refuses `normalize`; it is left for the op to report.
    """
    loss: Message | None = layer.peek("loss_param")
    if loss is None or layer.peek("type") not in _NORMALIZING:
        return
    for entry in loss.clear("normalize"):
        if not loss.entries_of("normalization"):
            mode = "VALID" if entry.value else "BATCH_SIZE"
            loss.set("normalization", entry.with_value(mode))


def _replace_legacy_dims(layer: Message, diagnostics: Diagnostics) -> None:
    """`num`, `channels`, `height`, `width` become shapes (DummyDataLayer::LayerSetUp)."""
    param: Message | None = layer.peek("dummy_data_param")
    if param is None:
        return
    dims = {name: param.clear(name) for name in _LEGACY_DIMS}
    given = [(name, entries[0]) for name, entries in dims.items() if entries]
    if not given:
        return
    name, first = given[0]
    if param.entries_of("shape"):
        _report_both(diagnostics, first, name, "shape")
        return
    tops = len(layer.entries_of("top"))
    for name, entries in dims.items():
        if len(entries) not in (1, tops):
            param.lost.add("shape")
            diagnostics.error(
                "dummy-data-shape",
                f"DummyData takes one `{name}`, or one for each top, not {len(entries)}",
                entries[0].span if entries else first.span,
                help="give a `shape` for each top instead",
            )
            return
    for i in range(max(len(entries) for entries in dims.values())):
        shape = Message("BlobShape", first.span)
        shape.set("dim", *(e[i if len(e) > 1 else 0] for e in dims.values()))
        param.add("shape", Entry(shape, first.span))


def _drop_unread(layer: Message, diagnostics: Diagnostics) -> None:
    for owner, names in _NOT_READ.items():
        param: Message | None = layer.peek(owner)
        if param is None:
            continue
        for name in names:
            for entry in param.clear(name):
                diagnostics.warning(
                    "ignored-field",
                    f"Caffe ignores `{name}` in the `{owner}` of a `layer`",
                    entry.span,
                    help=f"it takes effect in `transform_param {{ {name}: ... }}`",
                )


def _drop_transforms(layer: Message, diagnostics: Diagnostics) -> None:
    layer_type = layer.peek("type")
    if layer_type in _NO_TRANSFORMS:
        for entry in layer.clear("transform_param"):
            diagnostics.warning(
                "ignored-field",
                f"Caffe ignores the `transform_param` of {layer_type} layers",
                entry.span,
                help="transform what the layer gives before it gets there",
            )
    transform: Message | None = layer.peek("transform_param")
    if transform is None:
        return
    for name in _OTHER_TRANSFORMS.get(layer_type, ()):
        for entry in transform.clear(name):
            diagnostics.warning(
                "ignored-field",
                f"Caffe ignores `{name}` in the `transform_param` of {layer_type} layers",
                entry.span,
                help="remove it",
            )


def _report_both(diagnostics: Diagnostics, entry: Entry, old: str, new: str) -> None:
    diagnostics.error(
        "both-forms",
        f"`{old}` and `{new}` can't both be set",
        entry.span,
        help=f"`{old}` is the older form; remove it",
    )
