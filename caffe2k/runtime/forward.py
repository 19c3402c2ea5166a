"""Passes through a model as the next update will make them, which it does not notice."""

import contextlib

import keras
from keras import ops


def forward(model, x, net=None):
    """What `net`, by default the model itself, gives for the batch `x` in training.

    `net` is made of the model's layers. The numbers are those that the update computes.
    """
    with _untouched(model.variables):
        outputs = (net or model)(x, training=True)
    return keras.tree.map_structure(ops.convert_to_numpy, outputs)


def batch_loss(model, batch, predicted):
    """The loss of a batch (x, y, sample_weight) for which `model` has just `predicted`."""
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    with _untouched(model.metrics_variables):
        loss = model.compute_loss(x, y, predicted, weights, training=True)
    return float(ops.convert_to_numpy(loss))


def weight_gradients(model, batch):
    """The gradient of a batch's loss for each trainable variable, as arrays.

    The loss is the model's, without the solver's weight decay.
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    variables = model.trainable_variables

    def loss():
        predicted = model(x, training=True)
        return model.compute_loss(x, y, predicted, weights, training=True)

    with _untouched([*model.variables, *model.metrics_variables]):
        gradients = _GRADIENTS[keras.backend.backend()](loss, variables)
    return [
        ops.convert_to_numpy(ops.zeros_like(v) if g is None else g)
        for g, v in zip(gradients, variables, strict=True)
    ]


@contextlib.contextmanager
def _untouched(variables):
    """Gives running statistics, sums and random states their values back afterwards."""
    changing = [variable for variable in variables if not variable.trainable]
    held = [(v, ops.convert_to_numpy(v).copy()) for v in changing]
    try:
        with _torch_draws():
            yield
    finally:
        for variable, value in held:
            variable.assign(value)


def _torch_draws():
    """On torch, Keras's Dropout draws from torch's own random state."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()
    import torch

    return torch.random.fork_rng()


def _tensorflow_gradients(loss, variables):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, [v.value for v in variables])
    # A table lookup's is a list of rows.
    return [g if g is None else tf.convert_to_tensor(g) for g in gradients]


def _torch_gradients(loss, variables):
    import torch

    return torch.autograd.grad(loss(), [v.value for v in variables], allow_unused=True)


def _jax_gradients(loss, variables):
    import jax

    def of_values(values):
        with keras.StatelessScope(list(zip(variables, values, strict=True))):
            return loss()

    return jax.grad(of_values)([v.value for v in variables])


_GRADIENTS = {
    "tensorflow": _tensorflow_gradients,
    "torch": _torch_gradients,
    "jax": _jax_gradients,
}
