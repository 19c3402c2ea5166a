"""What a plug-in uses: the declarations that the built-in ops are made of."""

from caffe2k.codegen.program import Call, keras_layer, runtime
from caffe2k.ir.layout import DataFormat, Layout
from caffe2k.ir.net import Shape
from caffe2k.ops.base import (
    Count,
    DataShapes,
    ElementwiseOp,
    LayerOp,
    LayoutPlan,
    SpatialOp,
    at_least,
    exactly,
)
from caffe2k.ops.data import SourceOp
from caffe2k.ops.errors import OpError
from caffe2k.ops.fillers import initializer
from caffe2k.ops.joining import UnorderedOp
from caffe2k.ops.losses import NormalizedLossOp
from caffe2k.ops.lowering import Lowering
from caffe2k.ops.registry import layer_op
from caffe2k.ops.reshaping import axis_within
from caffe2k.schema.custom import layer_param
from caffe2k.schema.message import message_type
from caffe2k.weights.transforms import IDENTITY, Reshape, Transpose, reorder_axis

__all__ = [
    "IDENTITY",
    "Call",
    "Count",
    "DataFormat",
    "DataShapes",
    "ElementwiseOp",
    "LayerOp",
    "Layout",
    "LayoutPlan",
    "Lowering",
    "NormalizedLossOp",
    "OpError",
    "Reshape",
    "Shape",
    "SourceOp",
    "SpatialOp",
    "Transpose",
    "UnorderedOp",
    "at_least",
    "axis_within",
    "exactly",
    "initializer",
    "keras_layer",
    "layer_op",
    "layer_param",
    "message_type",
    "reorder_axis",
    "runtime",
]
