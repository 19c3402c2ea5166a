"""Forward and backward of an emitted model on TensorFlow, as Caffe's io.npz has them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tests.conformance.emitted import Arrays, EmittedNet


@dataclass
class Passes:
    """What one forward and one backward pass gave, in Caffe's axis order."""

    out: dict[str, np.ndarray] = field(default_factory=dict)
    din: dict[str, np.ndarray] = field(default_factory=dict)
    dparam: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    after: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)


def run(net: EmittedNet, inputs: Arrays, douts: Arrays) -> Passes:
    """Feeds `inputs`; `douts` are the gradients that Caffe was fed at its outputs."""
    passes = Passes()
    tensors = {k: tf.constant(net.to_keras(v)) for k, v in inputs.items()}
    with tf.GradientTape() as tape:
        for tensor in tensors.values():
            tape.watch(tensor)
        result = net.model(net.model_inputs(tensors), training=net.training)
        outputs = net.outputs(result)
        objective = tf.add_n([tf.constant(0.0), *net.model.losses])
        for term in net.program.losses:
            value = net.losses[term.output](
                tensors[term.target_blob], outputs[term.output]
            )
            passes.out[term.top] = np.asarray(value)
            objective += net.loss_weight(term.output) * value
        for name, dout in douts.items():
            if name in outputs:
                seed = tf.constant(
                    net.to_keras(dout.reshape(_caffe_shape(net, outputs[name])))
                )
                objective += tf.reduce_sum(seed * outputs[name])
    for metric, term in zip(net.metrics, net.program.metrics, strict=True):
        metric.update_state(tensors[term.target_blob], outputs[term.output])
        passes.out[term.top] = np.asarray(metric.result())
    for name, value in outputs.items():
        array = net.to_caffe(np.asarray(value))
        passes.out.setdefault(name, array.mean() if net.is_loss_top(name) else array)
    _backward(net, tape, objective, tensors, passes)
    return passes


def _caffe_shape(net: EmittedNet, output: tf.Tensor) -> tuple[int, ...]:
    return net.to_caffe(np.empty(output.shape, np.int8)).shape


def _backward(
    net: EmittedNet,
    tape: tf.GradientTape,
    objective: tf.Tensor,
    tensors: dict[str, tf.Tensor],
    passes: Passes,
) -> None:
    variables = net.model.trainable_variables
    grads = tape.gradient(
        objective,
        [list(tensors.values()), [v.value for v in variables]],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    for name, grad in zip(tensors, grads[0], strict=True):
        passes.din[name] = net.to_caffe(np.asarray(tf.convert_to_tensor(grad)))
    # An embedding's gradient holds the rows that were read, as that of taken samples.
    dense = [np.asarray(tf.convert_to_tensor(g)) for g in grads[1]]
    by_path = {v.path: g for v, g in zip(variables, dense, strict=True)}
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
