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


def gradients(model, batch, net, zeros):
    """The gradients of a batch's loss, as arrays: a list and a dict.

    The list is for the model's trainable variables, the dict for `zeros`, arrays by the
    name of the input of `net` that takes them. `net` is made of the model's layers and
    gives what the model gives; x of the batch is a dict. The loss is the model's,
    without the solver's weight decay.
    """
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    x = {name: ops.convert_to_tensor(value) for name, value in x.items()}
    values = [v.value for v in model.trainable_variables]
    added = [ops.convert_to_tensor(zero) for zero in zeros.values()]

    def loss(added):
        predicted = net({**x, **dict(zip(zeros, added, strict=True))}, training=True)
        return model.compute_loss(x, y, predicted, weights, training=True)

    with _untouched([*model.variables, *model.metrics_variables]):
        differentiate = _DIFFERENTIATE[keras.backend.backend()]
        found = differentiate(loss, model.trainable_variables, added)
    found = [
        ops.convert_to_numpy(ops.zeros_like(v) if g is None else g)
        for g, v in zip(found, [*values, *added], strict=True)
    ]
    of_zeros = dict(zip(zeros, found[len(values) :], strict=True))
    return found[: len(values)], of_zeros


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


def _tensorflow(loss, variables, added):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(added)
        value = loss(added)
    gradients = tape.gradient(value, [*(v.value for v in variables), *added])
    # A table lookup's is a list of rows.
    return [g if g is None else tf.convert_to_tensor(g) for g in gradients]


def _torch(loss, variables, added):
    import torch

    added = [tensor.requires_grad_() for tensor in added]
    sources = [*(v.value for v in variables), *added]
    return torch.autograd.grad(loss(added), sources, allow_unused=True)


def _jax(loss, variables, added):
    import jax

    def of_values(values, added):
        state = list(zip(variables, values, strict=True))
        # Else the losses that layers add are lost.
        with keras.StatelessScope(state, collect_losses=True):
            return loss(added)

    values = [v.value for v in variables]
    of_variables, of_added = jax.grad(of_values, argnums=(0, 1))(values, added)
    return [*of_variables, *of_added]


_DIFFERENTIATE = {"tensorflow": _tensorflow, "torch": _torch, "jax": _jax}
