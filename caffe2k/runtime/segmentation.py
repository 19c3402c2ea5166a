"""SegAccuracy: PSPNet's three measures of a segmentation, from its confusion matrix."""

import keras
from keras import ops

from . import labels


def _ratio(part, whole, otherwise):
    """Returns part / whole, and `otherwise` where whole is 0."""
    return ops.where(whole == 0, otherwise, part / ops.where(whole == 0, 1.0, whole))


def _measures(confusion):
    """Returns (accuracy, mean recall, mean Jaccard index) as a vector (3,)."""
    confusion = ops.cast(confusion, "float32")
    right = ops.diagonal(confusion)
    actual, predicted = ops.sum(confusion, axis=1), ops.sum(confusion, axis=0)
    accuracy = _ratio(ops.sum(right), ops.sum(confusion), 0.0)
    seen = ops.cast(actual > 0, "float32")
    recall = _ratio(ops.sum(_ratio(right, actual, 0.0)), ops.sum(seen), 0.0)
    # A class that is neither there nor predicted counts as found.
    jaccard = ops.mean(_ratio(right, actual + predicted - right, 1.0))
    return ops.stack([accuracy, recall, jaccard])


def _last_best(y_pred, axis):
    """Returns the class of the largest score, the last of equals, with 1 at `axis`."""
    from_behind = ops.argmax(ops.flip(y_pred, axis), axis, keepdims=True)
    return y_pred.shape[axis] - 1 - ops.cast(from_behind, "int32")


def _by_class(marks, axis):
    """Returns marks as (pixels, classes) of zeros and ones."""
    last = ops.moveaxis(marks, axis, -1)
    return ops.cast(ops.reshape(last, (-1, marks.shape[axis])), "float32")


def _confusion(y_true, y_pred, axis, ignore_labels):
    """Returns the matrix (label, prediction), and whether a label is no class."""
    axis = labels.class_axis(y_pred, axis)
    wanted = labels.align(y_true, y_pred, axis)
    counted = ops.ones_like(wanted, dtype="bool")
    for label in ignore_labels:
        counted = ops.logical_and(counted, wanted != label)
    actual = labels.one_hot(ops.where(counted, wanted, -1), y_pred, axis)
    predicted = labels.one_hot(_last_best(y_pred, axis), y_pred, axis)
    actual, predicted = (_by_class(x, axis) for x in (actual, predicted))
    confusion = ops.cast(ops.matmul(ops.transpose(actual), predicted), "int32")
    known = ops.any(labels.one_hot(wanted, y_pred, axis), axis, keepdims=True)
    return confusion, ops.any(ops.logical_and(counted, ~known))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class SegAccuracy(keras.metrics.Metric):
    """The vector (3,) of pixel accuracy, mean recall and mean Jaccard index (IoU).

    Each is the mean over batches of the batch's measure; with reset=False, of the measure
    of all pixels so far. A class without pixels is left out of the recall, and counts as 1
    in the Jaccard index if it was not predicted either. Of equal scores the last class is
    the prediction. A label that is neither a class nor ignored, with which Caffe ends,
    makes the result NaN. PSPNet's Caffe: seg_accuracy_layer.cpp, confusion_matrix.cpp.

    Args:
        num_classes: the size of the prediction's class axis.
        ignore_labels: pixels with these labels are not counted.
        axis: the class axis of the prediction.
        reset: whether every batch begins with an empty confusion matrix. Without, it
            grows until the metric is reset, which Keras does before each test; Caffe
            never does.
    Raises:
        ValueError: if shapes do not match, or for sample weights.
    """

    def __init__(
        self,
        num_classes,
        ignore_labels=(),
        axis=-1,
        reset=True,
        name="seg_accuracy",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.ignore_labels = tuple(ignore_labels)
        self.axis = axis
        self.reset = reset
        self.confusion = self.add_variable(
            (num_classes, num_classes), "zeros", dtype="int32", name="confusion"
        )
        self.total = self.add_variable((3,), "zeros", name="total")
        self.batches = self.add_variable((), "zeros", name="batches")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds one batch: scores (batch, ...) and their integer labels."""
        if sample_weight is not None:
            raise ValueError("SegAccuracy counts pixels, and takes no sample_weight")
        y_true, y_pred = map(ops.convert_to_tensor, (y_true, y_pred))
        confusion, bad = _confusion(y_true, y_pred, self.axis, self.ignore_labels)
        if not self.reset:
            confusion = confusion + self.confusion
            self.confusion.assign(confusion)
        measures = ops.where(bad, float("nan"), _measures(confusion))
        self.total.assign_add(measures)
        self.batches.assign_add(1.0)

    def result(self):
        return self.total / ops.maximum(self.batches, 1.0)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "ignore_labels": self.ignore_labels,
            "axis": self.axis,
            "reset": self.reset,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class BatchSegAccuracy(keras.layers.Layer):
    """The batch's three measures for [scores, labels], where the net computes the labels.

    Returns them as often as there are samples: (batch, *measures_shape). There is no
    gradient. PSPNet's Caffe: seg_accuracy_layer.cpp with `reset`.

    Args:
        ignore_labels, axis: as in SegAccuracy.
        measures_shape: how the three lie in the output, (1, 1, 3) in Caffe's order.
    Raises:
        ValueError: if shapes do not match.
    """

    def __init__(self, ignore_labels=(), axis=-1, measures_shape=(1, 3, 1), **kwargs):
        # Labels must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)
        self.ignore_labels = tuple(ignore_labels)
        self.axis = axis
        self.measures_shape = tuple(measures_shape)

    def call(self, inputs):
        y_pred, y_true = map(ops.stop_gradient, inputs)
        confusion, bad = _confusion(y_true, y_pred, self.axis, self.ignore_labels)
        measures = ops.where(bad, float("nan"), _measures(confusion))
        measures = ops.reshape(measures, self.measures_shape)
        return ops.broadcast_to(measures, [ops.shape(y_pred)[0], *measures.shape])

    def get_config(self):
        return {
            **super().get_config(),
            "ignore_labels": self.ignore_labels,
            "axis": self.axis,
            "measures_shape": self.measures_shape,
        }
