"""A bias in a layer of its own, where the Keras layer before it can't add it."""

from __future__ import annotations

from collections.abc import Mapping

from caffe2k.codegen.program import Argument, Tensor, keras_layer, runtime
from caffe2k.ops.lowering import Lowering
from caffe2k.weights.plan import PlannedWeight


def add_bias(
    k: Lowering,
    x: Tensor,
    axis: int,
    bias: PlannedWeight,
    start: Mapping[str, Argument],
) -> Tensor:
    """`x` plus a bias along a Keras axis, through the layer's activation.

    `start` is the bias's initializer, as a keyword argument.
    """
    target = runtime("elementwise", "Bias")
    x = k.add(target, [axis], inputs=[x], suffix="bias", weights=[bias], **start)
    if not k.activation:
        return x
    target = keras_layer("Activation")
    return k.add(target, k.activation, inputs=[x], suffix="activation")
