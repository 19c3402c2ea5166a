"""How integer labels meet scores along a class axis, in losses and metrics alike."""

import math

import numpy as np
from keras import ops


def class_axis(y_pred, axis):
    """Returns `axis` as a positive axis of `y_pred`; raises ValueError if it isn't."""
    rank = len(y_pred.shape)
    if not -rank <= axis < rank or axis % rank == 0:
        raise ValueError(
            f"The class axis {axis} must be an axis of the prediction after the batch "
            f"axis. Received a prediction of shape {tuple(y_pred.shape)}"
        )
    return axis % rank


def align(y_true, y_pred, axis):
    """Returns the labels as int32, in the shape of `y_pred` with 1 at `axis`.

    Labels may have any shape with as many values per sample as the prediction has
    positions, in row-major order. As in Caffe fractions are cut off (static_cast).

    Raises:
        ValueError: if the numbers of labels and positions differ.
    """
    rest = [d for i, d in enumerate(y_pred.shape) if i not in (0, axis)]
    given = list(y_true.shape[1:])
    if None not in rest + given and math.prod(rest) != math.prod(given):
        raise ValueError(
            "There must be one label for each position of the prediction: "
            f"{math.prod(rest)} for each sample. Received labels of shape "
            f"{tuple(y_true.shape)} for a prediction of shape {tuple(y_pred.shape)} "
            f"with class axis {axis}"
        )
    shape = [1 if i == axis else d for i, d in enumerate(ops.shape(y_pred))]
    return ops.cast(ops.reshape(ops.stop_gradient(y_true), shape), "int32")


def along(values, y_pred, axis):
    """Returns one value for each class, in a shape that broadcasts against `y_pred`."""
    shape = [-1 if i == axis else 1 for i in range(len(y_pred.shape))]
    return ops.reshape(ops.convert_to_tensor(values), shape)


def one_hot(labels, y_pred, axis):
    """Returns booleans in the shape of `y_pred`; a label out of range marks nothing."""
    classes = ops.arange(y_pred.shape[axis], dtype="int32")
    return labels == along(classes, y_pred, axis)


def nan_unless_known(losses, hits, axis):
    """Returns the losses of labels that are a class, and NaN for others.

    Caffe reads outside its memory there.
    """
    return ops.where(ops.any(hits, axis=axis, keepdims=True), losses, np.nan)
