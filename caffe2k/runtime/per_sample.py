"""From a loss's values to a vector (batch,) whose mean is the number that Caffe reports."""

import math

from keras import ops

NORMALIZATIONS = ("FULL", "VALID", "BATCH_SIZE", "NONE")


def check_normalization(normalization):
    """Returns one of NORMALIZATIONS, or a fixed divisor; raises ValueError for others."""
    if isinstance(normalization, (int, float)):
        return float(normalization)
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"`normalization` must be one of {NORMALIZATIONS}. "
            f"Received: {normalization}"
        )
    return normalization


def size(x, axes):
    """Returns the number of elements over `axes` as a float scalar."""
    shape = ops.shape(x)
    return ops.convert_to_tensor(math.prod(shape[a] for a in axes), dtype=x.dtype)


def flat(x):
    """Returns (batch, values): all that belongs to a sample in one axis."""
    rest = x.shape[1:]
    values = -1 if None in rest else math.prod(rest)
    return ops.reshape(x, (ops.shape(x)[0], values))


def sums(x):
    """Sums over all axes but the batch axis."""
    return ops.sum(flat(x), axis=-1)


def normalized(losses, valid, normalization, outer_axes=(0,)):
    """Returns the sums of the samples, scaled so that their mean is the total
    divided by Caffe's normalizer, which is never below 1."""
    if normalization == "FULL":
        normalizer = size(losses, range(len(losses.shape)))
    elif normalization == "VALID":
        normalizer = ops.sum(ops.cast(valid, losses.dtype))
    elif normalization == "BATCH_SIZE":
        normalizer = size(losses, outer_axes)
    else:
        divisor = 1.0 if normalization == "NONE" else normalization
        normalizer = ops.convert_to_tensor(divisor, dtype=losses.dtype)
    return sums(losses) * (size(losses, [0]) / ops.maximum(normalizer, 1.0))


def like(y_true, y_pred):
    """Returns targets in the shape of the prediction; raises ValueError if unequal."""
    given, wanted = y_true.shape[1:], y_pred.shape[1:]
    if None not in (*given, *wanted) and math.prod(given) != math.prod(wanted):
        raise ValueError(
            "Targets and prediction must have equally many values for each sample. "
            f"Received targets of shape {tuple(y_true.shape)} for a prediction of "
            f"shape {tuple(y_pred.shape)}"
        )
    return ops.reshape(y_true, ops.shape(y_pred))


def with_gradient_of(value, source):
    """Returns `value` with the gradient of `source`, of the same shape.

    For the layers whose Backward is not the derivative of their Forward.
    """
    return ops.stop_gradient(value) + (source - ops.stop_gradient(source))
