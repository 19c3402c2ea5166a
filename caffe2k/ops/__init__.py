"""Every Caffe layer that we know: one file per layer or close family."""

from caffe2k.ops.base import LayerOp
from caffe2k.ops.registry import find_op, layer_op, registered_ops

__all__ = ["LayerOp", "find_op", "layer_op", "registered_ops"]
