"""From V0 nets, whose layers name their type in small letters, to V1 nets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from caffe2k.diagnostics import Diagnostics, SourceSpan, did_you_mean
from caffe2k.schema.layer_types import V0_LAYER_TYPES
from caffe2k.schema.message import Entry, Message

_KEPT_NET_FIELDS = ("name", "input", "input_dim", "force_backward")
_KEPT_FIELDS = ("name", "blobs", "blobs_lr", "weight_decay")

_CONVOLUTION = {"conv": "convolution_param"}
_POOLING = {"pool": "pooling_param"}
_INNER_PRODUCT = {"innerproduct": "inner_product_param"}
_LRN = {"lrn": "lrn_param"}
_IMAGES = {"images": "image_data_param"}
_WINDOWS = {"window_data": "window_data_param"}
_DATA = {"data": "data_param"}
_BATCHES = {**_DATA, **_IMAGES, **_WINDOWS, "hdf5_data": "hdf5_data_param"}
_SOURCES = {**_BATCHES, "infogain_loss": "infogain_loss_param"}
_LEARNED = {**_CONVOLUTION, **_INNER_PRODUCT}
_WINDOWED = {**_CONVOLUTION, **_POOLING}

_MOVES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "num_output": ("num_output", _LEARNED),
    "biasterm": ("bias_term", _LEARNED),
    "weight_filler": ("weight_filler", _LEARNED),
    "bias_filler": ("bias_filler", _LEARNED),
    "pad": ("pad", _WINDOWED),
    "kernelsize": ("kernel_size", _WINDOWED),
    "stride": ("stride", _WINDOWED),
    "group": ("group", _CONVOLUTION),
    "pool": ("pool", _POOLING),
    "dropout_ratio": ("dropout_ratio", {"dropout": "dropout_param"}),
    "local_size": ("local_size", _LRN),
    "alpha": ("alpha", _LRN),
    "beta": ("beta", _LRN),
    "k": ("k", _LRN),
    "source": ("source", _SOURCES),
    "batchsize": ("batch_size", _BATCHES),
    "rand_skip": ("rand_skip", {**_DATA, **_IMAGES}),
    "shuffle_images": ("shuffle", _IMAGES),
    "new_height": ("new_height", _IMAGES),
    "new_width": ("new_width", _IMAGES),
    "concat_dim": ("concat_dim", {"concat": "concat_param"}),
    "det_fg_threshold": ("fg_threshold", _WINDOWS),
    "det_bg_threshold": ("bg_threshold", _WINDOWS),
    "det_fg_fraction": ("fg_fraction", _WINDOWS),
    "det_context_pad": ("context_pad", _WINDOWS),
    "det_crop_mode": ("crop_mode", _WINDOWS),
}
"""V0 field -> its name today, and the message that it moves to, by V0 layer type."""

_TRANSFORMATIONS = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}
"""V0 field -> field of transform_param, whatever the layer type."""


def is_v0(net: Message) -> bool:
    """Whether any layer is a V0 layer (NetNeedsV0ToV1Upgrade)."""
    return any(e.value.peek("layer") is not None for e in net.entries_of("layers"))


def upgrade_v0(net: Message, diagnostics: Diagnostics) -> Message:
    """The net with V1 layers (UpgradeV0Net, util/upgrade_proto.cpp).

    What Caffe loses on the way is reported as a warning, or as an error where whole
    layers would be lost.
    """
    return _Upgrade(diagnostics).net(net)


class _Upgrade:
    def __init__(self, diagnostics: Diagnostics) -> None:
        self._diagnostics = diagnostics

    def net(self, net: Message) -> Message:
        result = Message(net.schema, net.span, net.comments, net.closing_comments)
        result.lost |= net.lost
        for name, entry in net.entries():
            if name in _KEPT_NET_FIELDS:
                result.add(name, entry)
            elif name == "layer":
                self._mixed("layer", entry)
            elif name != "layers":
                self._ignored(name, "of a net with V0 layers", entry.span)
        for entry in self._merge_padding(net):
            if entry.value.peek("layer") is None:
                self._mixed("layers", entry)
            else:
                result.add("layers", self._layer(entry))
        return result

    def _mixed(self, name: str, entry: Entry) -> None:
        self._diagnostics.error(
            "mixed-format",
            f"this `{name}` is of another format than the V0 layers of the net",
            entry.span,
            help="write all layers in one format",
        )

    def _ignored(self, name: str, where: str, span: SourceSpan | None) -> None:
        message = f"Caffe ignores `{name}` {where}"
        self._diagnostics.warning("ignored-field", message, span, help="remove it")

    def _merge_padding(self, net: Message) -> list[Entry]:
        """Padding layers become the `pad` of what reads them (UpgradeV0PaddingLayers)."""
        layers = net.entries_of("layers")
        kept: list[Entry] = []
        writers: dict[str, Entry | None] = {
            e.value: None for e in net.entries_of("input")
        }
        for entry in layers:
            connection: Message = entry.value
            if _type(connection) != "padding":
                kept.append(entry)
            for i, bottom in enumerate(connection.entries_of("bottom")):
                if bottom.value not in writers:
                    self._unknown_bottom(connection, bottom, writers)
                    continue
                writer = writers[bottom.value]
                if writer is not None and _type(writer.value) == "padding":
                    self._merge(connection, i, writer.value)
            for top in connection.entries_of("top"):
                writers[top.value] = entry
        return kept

    def _unknown_bottom(
        self, connection: Message, bottom: Entry, writers: Iterable[str]
    ) -> None:
        connection.lost.add("bottom")
        layer: Message | None = connection.peek("layer")
        name = (layer.peek("name") if layer is not None else None) or ""
        self._diagnostics.error(
            "unknown-bottom",
            f"layer `{name}` reads `{bottom.value}`, which no layer before it writes",
            bottom.span,
            help=did_you_mean(bottom.value, writers)
            or "the layer that writes it must stand above this one",
        )

    def _merge(self, connection: Message, bottom_index: int, padding: Message) -> None:
        bottoms = connection.entries_of("bottom")
        blobs = padding.entries_of("bottom")
        type = _type(connection)
        if (
            type not in _WINDOWED
            or len(bottoms) != 1
            or len(blobs) != 1
            or len(padding.entries_of("top")) != 1
        ):
            connection.lost.add("bottom")
            self._diagnostics.error(
                "padding-layer",
                "a padding layer has one bottom and one top, for one `conv` or `pool`",
                bottoms[bottom_index].span,
                help="set `pad` in the layer that needs it",
            )
            return
        pad = padding.peek("layer").entries_of("pad")
        if not pad:
            pad = [Entry(0, padding.span)]
        connection.peek("layer").set("pad", *pad)
        bottoms[bottom_index] = Entry(blobs[0].value, bottoms[bottom_index].span)
        connection.set("bottom", *bottoms)

    def _layer(self, entry: Entry) -> Entry:
        """UpgradeV0LayerParameter."""
        connection: Message = entry.value
        comments = entry.comments
        closing = connection.closing_comments
        result = Message(connection.schema, connection.span)
        result.lost |= connection.lost
        for name, inner in connection.entries():
            if name in ("bottom", "top"):
                result.add(name, inner)
            elif name == "layer":
                comments += inner.comments
                closing = inner.value.closing_comments + closing
                self._settings(inner.value, result)
            else:
                self._ignored(name, "beside a V0 `layer`", inner.span)
        result.comments, result.closing_comments = comments, closing
        return Entry(result, entry.span, comments, entry.detached, entry.trailing)

    def _settings(self, layer: Message, result: Message) -> None:
        type = layer.peek("type") or ""
        result.lost |= layer.lost
        for name, entry in layer.entries():
            if name in _KEPT_FIELDS:
                result.add(name, entry)
            elif name == "type":
                self._set_type(type, entry, result)
            elif name in _TRANSFORMATIONS:
                transform = result.child("transform_param", entry.span)
                transform.set(_TRANSFORMATIONS[name], entry)
            elif name == "hdf5_output_param" and type == "hdf5_output":
                result.set(name, entry)
            elif name in _MOVES and type in _MOVES[name][1]:
                new_name, owners = _MOVES[name]
                result.child(owners[type], entry.span).set(new_name, entry)
            elif type in V0_LAYER_TYPES:
                self._ignored(name, f"of a `{type}` layer", entry.span)

    def _set_type(self, type: str, entry: Entry, result: Message) -> None:
        if type in V0_LAYER_TYPES:
            result.set("type", Entry(V0_LAYER_TYPES[type], entry.span))
            return
        result.lost.add("type")
        self._diagnostics.error(
            "unknown-layer-type",
            f"a V0 layer can't be of type `{type}`",
            entry.span,
            help=did_you_mean(type, V0_LAYER_TYPES)
            or f"it is one of {', '.join(V0_LAYER_TYPES)}",
        )


def _type(connection: Message) -> str:
    layer: Message | None = connection.peek("layer")
    return "" if layer is None else layer.peek("type") or ""
