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
        axis = labels.class_axis(y_pred, self.axis)
        wanted = labels.align(y_true, y_pred, axis)
        counted = ops.ones_like(wanted, dtype="bool")
        for label in self.ignore_labels:
            counted = ops.logical_and(counted, wanted != label)
        actual = labels.one_hot(ops.where(counted, wanted, -1), y_pred, axis)
        predicted = labels.one_hot(self._last_best(y_pred, axis), y_pred, axis)
        actual, predicted = (self._by_class(x, axis) for x in (actual, predicted))
        confusion = ops.cast(ops.matmul(ops.transpose(actual), predicted), "int32")
        if not self.reset:
            confusion = confusion + self.confusion
            self.confusion.assign(confusion)
        known = ops.any(labels.one_hot(wanted, y_pred, axis), axis, keepdims=True)
        bad = ops.any(ops.logical_and(counted, ~known))
        measures = ops.where(bad, float("nan"), _measures(confusion))
        self.total.assign_add(measures)
        self.batches.assign_add(1.0)

    def _last_best(self, y_pred, axis):
        """Returns the class of the largest score, the last of equals, with 1 at `axis`."""
        from_behind = ops.argmax(ops.flip(y_pred, axis), axis, keepdims=True)
        return self.num_classes - 1 - ops.cast(from_behind, "int32")

    def _by_class(self, marks, axis):
        """Returns marks as (pixels, classes) of zeros and ones."""
        last = ops.moveaxis(marks, axis, -1)
        return ops.cast(ops.reshape(last, (-1, self.num_classes)), "float32")

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
