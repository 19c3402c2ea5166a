"""From V1 nets, whose `layers` name their type in capitals, to today's `layer`."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.schema.layer_types import V1_LAYER_TYPES
from caffe2k.schema.message import Entry, Message

_TRANSFORMATIONS = ("scale", "mean_file", "crop_size", "mirror")

_TRANSFORMING = {
    "DATA": "data_param",
    "IMAGE_DATA": "image_data_param",
    "WINDOW_DATA": "window_data_param",
}

_PARAM_FIELDS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}
"""What V1 lists by parameter blob, and the field of ParamSpec that it became."""


def upgrade_data_transformation(net: Message) -> None:
    """Moves the transformations of V1 data layers to `transform_param`, in place.

    UpgradeNetDataTransformation (util/upgrade_proto.cpp).
    """
    for entry in net.entries_of("layers"):
        layer: Message = entry.value
        owner = layer.peek(_TRANSFORMING.get(layer.peek("type"), ""))
        if owner is None:
            continue
        for name in _TRANSFORMATIONS:
            for moved in owner.clear(name):
                layer.child("transform_param", moved.span).set(name, moved)


def upgrade_v1(net: Message, diagnostics: Diagnostics) -> Message:
    """The net with `layer` instead of `layers` (UpgradeV1Net, util/upgrade_proto.cpp)."""
    new = net.entries_of("layer")
    if new:
        diagnostics.error(
            "mixed-format",
            "the net has both `layers` and `layer`",
            new[0].span,
            help="write all layers as `layer`, with a type in quotes",
        )
        return net
    result = Message(net.schema, net.span, net.comments, net.closing_comments)
    result.lost |= net.lost
    for name, entry in net.entries():
        if name == "layers":
            result.add("layer", _layer(entry))
        else:
            result.add(name, entry)
    return result


def _layer(old: Entry) -> Entry:
    """UpgradeV1LayerParameter."""
    layer: Message = old.value
    result = Message(
        "LayerParameter", layer.span, layer.comments, layer.closing_comments
    )
    result.lost |= {"param" if name in _PARAM_FIELDS else name for name in layer.lost}
    for name, entry in layer.entries():
        if name == "type":
            result.set("type", entry.with_value(V1_LAYER_TYPES[entry.value]))
        elif name not in _PARAM_FIELDS:
            result.add(name, entry)
        elif not result.entries_of("param"):
            for spec in _param_specs(layer):
                result.add("param", Entry(spec, spec.span))
    return old.with_value(result)


def _param_specs(layer: Message) -> list[Message]:
    specs: list[Message] = []
    for name, new_name in _PARAM_FIELDS.items():
        for i, entry in enumerate(layer.entries_of(name)):
            if i == len(specs):
                specs.append(Message("ParamSpec", entry.span))
            specs[i].set(new_name, entry)
    return specs
