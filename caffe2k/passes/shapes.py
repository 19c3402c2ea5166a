"""The shape of every blob and parameter of one phase, as Caffe's layers derive them."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Blob, Layer, Net, Shape
from caffe2k.ops import find_op
from caffe2k.ops.base import UNKNOWN, DataShapes
from caffe2k.ops.errors import OpError
from caffe2k.schema.message import Message
from caffe2k.sources.errors import SourceError

_SHAPELESS = ("name", "param", "loss_weight", "propagate_down")
"""What a layer's shapes do not depend on, beside its fillers."""


def infer_shapes(net: Net, data: DataShapes, diagnostics: Diagnostics) -> Net:
    """Fills `shapes` and `param_shapes`.

    A layer that fails is left out, with all that reads what it would have written.
    """
    shapes: dict[Blob, Shape] = {}
    param_shapes: dict[int, tuple[Shape, ...]] = {}
    kept: list[Layer] = []
    for layer in net.layers:
        op_type = find_op(layer.type)
        if op_type is None or any(b not in shapes for b in layer.bottoms):
            continue
        if _lacks_shape(layer.message):
            continue
        op = op_type(layer)
        bottom = [shapes[b] for b in layer.bottoms]
        if not op.is_stub and any(shape is UNKNOWN for shape in bottom):
            _report_unknown(layer, bottom, diagnostics)
            continue
        try:
            tops = op.infer_shapes(bottom, data)
            params = tuple(op.param_shapes(bottom))
        except OpError as e:
            diagnostics.error(e.code, e.message, e.span(layer), help=e.help)
            continue
        except SourceError as e:
            diagnostics.error(e.code, e.message, e.span, help=e.help)
            continue
        kept.append(layer)
        shapes.update(zip(layer.tops, tops, strict=True))
        if params:
            param_shapes[layer.index] = params
    return net.replace(layers=tuple(kept), shapes=shapes, param_shapes=param_shapes)


def _report_unknown(
    layer: Layer, bottom: list[Shape], diagnostics: Diagnostics
) -> None:
    """The first layer that needs a shape that only the author of a stub knows."""
    for i, blob in enumerate(layer.bottoms):
        if bottom[i] is UNKNOWN:
            diagnostics.error(
                "unknown-shape",
                f"layer `{layer.name}` needs the shape of `{blob.name}`, which only the "
                "layer that writes it knows",
                layer.message.span_of("bottom", i),
                help=f"pass --input-shape {blob.name}=N,C,H,W",
            )


def _lacks_shape(message: Message) -> bool:
    """Whether a mistake in the text took away what shapes may depend on."""
    lost = {name for name in message.lost if not _is_shapeless(name)}
    return bool(lost) or any(
        _lacks_shape(entry.value)
        for name, entry in message.entries()
        if isinstance(entry.value, Message) and not _is_shapeless(name)
    )


def _is_shapeless(field: str) -> bool:
    return field in _SHAPELESS or field.endswith("filler")
