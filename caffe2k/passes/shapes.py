"""The shape of every blob and parameter of one phase, as Caffe's layers derive them."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Blob, Net, Shape
from caffe2k.ops import find_op
from caffe2k.ops.base import DataShapes, OpError


def infer_shapes(net: Net, data: DataShapes, diagnostics: Diagnostics) -> Net:
    """Fills `shapes` and `param_shapes`; a layer that fails leaves its tops unknown."""
    shapes: dict[Blob, Shape] = {}
    param_shapes: dict[int, tuple[Shape, ...]] = {}
    for layer in net.layers:
        op_type = find_op(layer.type)
        if op_type is None or any(b not in shapes for b in layer.bottoms):
            continue
        if (
            len(layer.bottoms) not in op_type.bottoms
            or len(layer.tops) not in op_type.tops
        ):
            continue
        op = op_type(layer)
        bottom = [shapes[b] for b in layer.bottoms]
        try:
            tops = op.infer_shapes(bottom, data)
            params = tuple(op.param_shapes(bottom))
        except OpError as e:
            diagnostics.error(e.code, e.message, e.span(layer), help=e.help)
            continue
        shapes.update(zip(layer.tops, tops, strict=True))
        if params:
            param_shapes[layer.index] = params
    return net.replace(shapes=shapes, param_shapes=param_shapes)
