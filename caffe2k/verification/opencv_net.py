"""The TEST net as OpenCV's dnn module reads it, and where the blobs are found in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from caffe2k.codegen.names import Names
from caffe2k.ir.net import Layer, Net, Shape
from caffe2k.ops import find_op
from caffe2k.prototxt import to_prototxt
from caffe2k.schema.message import Entry, Message


class OpenCVNet:
    """A deploy net: inputs stand for data layers, losses and metrics are left out.

    `shapes` are those of the blobs that data layers give.
    """

    def __init__(self, net: Net, shapes: Mapping[str, Shape]) -> None:
        self._net = net
        self._layers = tuple(_computed(net))
        read = {blob.name for layer in self._layers for blob in layer.bottoms}
        self.inputs = {name: shape for name, shape in shapes.items() if name in read}

    @cached_property
    def _names(self) -> dict[Layer, str]:
        """What OpenCV calls the layers: it numbers those that share a name."""
        seen: Counter[str] = Counter(self.inputs)
        names = {}
        for layer in self._layers:
            count = seen[layer.name]
            names[layer] = f"{layer.name}_{count}" if count else layer.name
            seen[layer.name] += 1
        return names

    @cached_property
    def makers(self) -> dict[str, str]:
        """Blob -> the layer whose first top it is at the end, in the net's order."""
        makers = {
            top.name: self._names[layer] if index == 0 else None
            for layer in self._layers
            for index, top in enumerate(layer.tops)
        }
        names = Names({*self._names.values(), *makers})
        return {
            name: maker or names.claim(f"{name}/copy") for name, maker in makers.items()
        }

    @cached_property
    def prototxt(self) -> str:
        """The text of the net. Only first tops can be asked for: others get a copy."""
        deploy = Message("NetParameter")
        messages = [_input(name, shape) for name, shape in self.inputs.items()]
        for layer in self._layers:
            written = _WRITTEN_ANEW.get(layer.type)
            messages += written(layer) if written else [layer.message]
        own = set(self._names.values())
        for name, maker in self.makers.items():
            if maker not in own:
                messages.append(_layer("Power", maker, [name], maker))
        for message in messages:
            deploy.add("layer", Entry(message))
        return to_prototxt(deploy)

    @cached_property
    def detections(self) -> dict[str, int]:
        """The blobs of DetectionOutput layers -> the number of images in a batch."""
        return {
            layer.tops[0].name: self._net.shapes[layer.bottoms[0]][0] or 1
            for layer in self._layers
            if layer.type == "DetectionOutput"
        }


def _computed(net: Net) -> Iterator[Layer]:
    for layer in net.layers:
        op = find_op(layer.type)
        assert op is not None
        if not (op.is_source or op.is_loss or op.is_metric) and layer.tops:
            yield layer


def _input(name: str, shape: Shape) -> Message:
    layer = _layer("Input", name, [], name)
    sizes = layer.child("input_param", None).child("shape", None)
    for size in shape:
        sizes.add("dim", Entry(size))
    return layer


def _axpy(layer: Layer) -> list[Message]:
    """a * x + y in two layers, for OpenCV's own Axpy multiplies `y` by `a`."""
    a, x, y = layer.bottoms
    (top,) = layer.tops
    product = f"{layer.name}/product"
    scale = _layer("Scale", product, [x.name, a.name], product)
    scale.child("scale_param", None).add("axis", Entry(0))
    return [scale, _layer("Eltwise", layer.name, [product, y.name], top.name)]


def _lrn(layer: Layer) -> list[Message]:
    """OpenCV's own LRN takes `k` for 1: what it makes of alpha / k is scaled then."""
    p = layer.message.lrn_param
    if p.k == 1 or p.norm_region == "WITHIN_CHANNEL":
        return [layer.message]
    (bottom,), (top,) = layer.bottoms, layer.tops
    relative = f"{layer.name}/relative"
    lrn = _layer("LRN", relative, [bottom.name], relative)
    for field, value in (
        ("local_size", p.local_size),
        ("alpha", p.alpha / p.k),
        ("beta", p.beta),
    ):
        lrn.child("lrn_param", None).add(field, Entry(value))
    scaled = _layer("Power", layer.name, [relative], top.name)
    scaled.child("power_param", None).add("scale", Entry(p.k**-p.beta))
    return [lrn, scaled]


def _convolution(layer: Layer) -> list[Message]:
    """With pad_h and pad_w, for OpenCV ignores the one where the other is not set."""
    p = layer.message.convolution_param
    if p.has("pad_h") == p.has("pad_w"):
        return [layer.message]
    copy, padded = _copied(layer.message), _copied(p)
    for field in ("pad_h", "pad_w"):
        padded.set(field, Entry(getattr(p, field)))
    copy.set("convolution_param", Entry(padded))
    return [copy]


def _copied(message: Message) -> Message:
    copy = Message(message.schema)
    for field, entry in message.entries():
        copy.add(field, entry)
    return copy


_WRITTEN_ANEW = {
    "Axpy": _axpy,
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "LRN": _lrn,
}
"""Types that OpenCV computes in another way than Caffe."""


def _layer(type: str, name: str, bottoms: Sequence[str], top: str) -> Message:
    layer = Message("LayerParameter")
    layer.add("name", Entry(name))
    layer.add("type", Entry(type))
    for bottom in bottoms:
        layer.add("bottom", Entry(bottom))
    layer.add("top", Entry(top))
    return layer
