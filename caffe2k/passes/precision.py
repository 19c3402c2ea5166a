"""A warning where a net of NVIDIA's Caffe computes in half precision."""

from __future__ import annotations

from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Net
from caffe2k.schema.message import Message

_TYPES = ("forward_type", "backward_type", "forward_math", "backward_math")
_NET_TYPES = tuple(f"default_{name}" for name in _TYPES)

_WITHOUT_EFFECT = (
    # Gradients are scaled up in losses and down before the update (NVIDIA/caffe, net.cpp
    # Net::ReduceAndUpdate), so that small ones survive in half precision.
    "global_grad_scale",
    "global_grad_scale_adaptive",
    # How fast it is, and in how much memory.
    "default_conv_algos_override",
    "default_cudnn_math_override",
    "eltwise_mem_sharing",
    "reduce_buckets",
)


def warn_of_half_precision(
    message: Message, net: Net, diagnostics: Diagnostics
) -> None:
    """Reads the types that NVIDIA's Caffe computes in; the Keras model has its own."""
    message.mark_read(*_WITHOUT_EFFECT)
    owners = [(message, _NET_TYPES)]
    owners += [(layer.message, _TYPES) for layer in net.layers]
    halves = []
    for owner, fields in owners:
        owner.mark_read(*fields, "cudnn_math_override")
        halves += [(owner, f) for f in fields if owner.peek(f) == "FLOAT16"]
    for owner, field in halves[:1]:
        diagnostics.warning(
            "half-precision",
            f"`{field}: FLOAT16` is left to Keras, which computes in float32",
            owner.span_of(field),
            help='keras.config.set_dtype_policy("mixed_float16") in front of '
            "build_model() computes in half precision",
        )
