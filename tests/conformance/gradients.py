"""Forward and backward of an emitted model on TensorFlow, as Caffe's io.npz has them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tests.conformance.emitted import Arrays, EmittedNet, Tensors


@dataclass
class Passes:
    """What one forward and one backward pass gave, in Caffe's axis order."""

    out: dict[str, np.ndarray] = field(default_factory=dict)
    din: dict[str, np.ndarray] = field(default_factory=dict)
    dparam: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    after: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)


def run(
    net: EmittedNet, inputs: Arrays, douts: Arrays, *, compiled: bool = False
) -> Passes:
    """Feeds `inputs`; `douts` are the gradients that Caffe was fed at its outputs.

    `compiled` runs it through XLA, which fit() does by itself, and without which
    TensorFlow's CPU kernels know no channels_first convolution.
    """
    tensors = net.tensors(inputs)

    def step(tensors: dict[str, tf.Tensor]) -> tuple[Tensors, Tensors, list]:
        return _forward_backward(net, tensors, douts)

    if compiled:
        step = tf.function(step, jit_compile=True, autograph=False)
    outputs, losses, (din, dweights) = step(tensors)
    passes = Passes(out=net.tops(tensors, outputs, losses))
    for name, grad in zip(tensors, din, strict=True):
        passes.din[name] = net.to_caffe(np.asarray(grad))
    _sort_by_blob(net, dweights, passes)
    return passes


def _forward_backward(
    net: EmittedNet, tensors: dict[str, tf.Tensor], douts: Arrays
) -> tuple[Tensors, Tensors, list]:
    """Outputs, losses, and the objective's gradients by the inputs and the weights."""
    with tf.GradientTape() as tape:
        for tensor in tensors.values():
            tape.watch(tensor)
        outputs, losses = net.call(tensors)
        objective = net.objective(outputs, losses, douts)
    grads = tape.gradient(
        objective,
        [list(tensors.values()), [v.value for v in net.model.trainable_variables]],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    # An embedding's gradient holds the rows that were read, as that of taken samples.
    return outputs, losses, tf.nest.map_structure(tf.convert_to_tensor, grads)


def _sort_by_blob(net: EmittedNet, dweights: list[tf.Tensor], passes: Passes) -> None:
    """The gradients and the values of the weights, as those of Caffe's blobs."""
    pairs = zip(net.model.trainable_variables, dweights, strict=True)
    by_path = {variable.path: np.asarray(grad) for variable, grad in pairs}
    gradients, values = {}, {}
    for layer in net.net.plan.layers:
        weights = _in_order(net.model.get_layer(layer.keras_name))
        values[layer.keras_name] = [np.asarray(w) for w in weights]
        gradients[layer.keras_name] = [
            by_path.get(w.path, np.zeros(w.shape, np.float32)) for w in weights
        ]
    passes.dparam = net.params(gradients)
    passes.after = net.params(values)


def _in_order(layer: object) -> list:
    return [*layer.trainable_weights, *layer.non_trainable_weights]  # type: ignore[attr-defined]
