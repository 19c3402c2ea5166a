"""InfogainLoss: a softmax loss in which a matrix says what each mistake costs."""

import math
from pathlib import Path

import keras
import numpy as np
from keras import ops

from . import labels, per_sample

PROJECT = Path(__file__).resolve().parent.parent
SMALLEST_LOG = math.log(1e-20)


def _matrix(source):
    """Returns a matrix, or the one in a .npy file beside model.py, as nested lists."""
    if isinstance(source, str):
        path = PROJECT / source
        if not path.is_file():
            raise FileNotFoundError(f"no {path}: the matrix of an InfogainLoss")
        source = np.load(path)
    return None if source is None else np.asarray(source).tolist()


@keras.saving.register_keras_serializable(package="caffe_runtime")
class InfogainLoss(keras.losses.Loss):
    """Softmax, and minus the sum of all classes' log-probabilities times the label's row.

    The identity matrix makes it SoftmaxWithLoss, a diagonal one weighs the classes. No
    probability counts as less than 1e-20 (the gradient is not affected). A label that is
    neither a class nor `ignore_label` makes the loss NaN; Caffe reads outside its memory
    there. Caffe: infogain_loss_layer.cpp.

    Args:
        matrix: rows by label, columns by class; nested lists, or the name of a .npy file
            in the project's folder. None where it is a blob of the net: then the loss
            works inside a LossEndpoint.
        axis, ignore_label, normalization, outer_axes: as in SoftmaxWithLoss.
    Call arguments:
        y_true: labels, in the shape of `y_pred` without `axis` or with 1 there.
        y_pred: scores (batch, ...).
        matrix: in any shape, row by row; instead of the argument.
    Raises:
        ValueError: for an unknown normalization, or shapes that do not match.
        FileNotFoundError: if there is no such file.
    """

    def __init__(
        self,
        matrix=None,
        axis=-1,
        ignore_label=None,
        normalization="VALID",
        outer_axes=(0,),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.matrix = _matrix(matrix)
        self.axis = axis
        self.ignore_label = ignore_label
        self.normalization = per_sample.check_normalization(normalization)
        self.outer_axes = tuple(outer_axes)

    def call(self, y_true, y_pred, matrix=None):
        axis = labels.class_axis(y_pred, self.axis)
        wanted = labels.align(y_true, y_pred, axis)
        hits = labels.one_hot(wanted, y_pred, axis)
        logs = ops.log_softmax(y_pred, axis=axis)
        # The floor bounds the value only: Caffe's gradient does not see it.
        logs = per_sample.with_gradient_of(ops.maximum(logs, SMALLEST_LOG), logs)
        rows = self._rows(hits, y_pred.shape[axis], axis, matrix)
        losses = -ops.sum(rows * logs, axis=axis, keepdims=True)
        losses = labels.nan_unless_known(losses, hits, axis)
        valid = ops.ones_like(losses, dtype="bool")
        if self.ignore_label is not None:
            valid = wanted != self.ignore_label
            losses = ops.where(valid, losses, 0.0)
        return per_sample.normalized(losses, valid, self.normalization, self.outer_axes)

    def _rows(self, hits, classes, axis, matrix):
        """Returns each label's row of the matrix, along `axis`."""
        matrix = self.matrix if matrix is None else matrix
        matrix = ops.convert_to_tensor(matrix, dtype=self.dtype)
        if None not in matrix.shape and math.prod(matrix.shape) != classes**2:
            raise ValueError(
                f"The matrix must have {classes} rows and columns, one for each class. "
                f"Received: {tuple(matrix.shape)}"
            )
        matrix = ops.stop_gradient(ops.reshape(matrix, (classes, classes)))
        picked = ops.moveaxis(ops.cast(hits, self.dtype), axis, -1)
        return ops.moveaxis(ops.matmul(picked, matrix), -1, axis)

    def get_config(self):
        return {
            **super().get_config(),
            "matrix": self.matrix,
            "axis": self.axis,
            "ignore_label": self.ignore_label,
            "normalization": self.normalization,
            "outer_axes": self.outer_axes,
        }
