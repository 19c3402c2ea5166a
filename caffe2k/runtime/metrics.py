"""Caffe's Accuracy layer as metrics, averaged over batches as Caffe's test loop does.

Differs from Keras's accuracy metrics: a prediction counts if at most `top_k` scores
are as large as that of the true class, so a tie can lose; and the result is the mean
of the batches' accuracies, not the share of all samples.
"""

import keras
from keras import ops

from . import labels


def _correct(y_true, y_pred, top_k, axis, ignore_label):
    """Returns (correct, valid, hits): booleans with 1, 1 and all classes at `axis`."""
    classes = y_pred.shape[axis]
    if top_k > classes:
        raise ValueError(f"`top_k` is {top_k}, but there are only {classes} classes")
    wanted = labels.align(y_true, y_pred, axis)
    hits = labels.one_hot(wanted, y_pred, axis)
    score = ops.sum(ops.where(hits, y_pred, 0.0), axis=axis, keepdims=True)
    as_large = ops.sum(ops.cast(y_pred >= score, "int32"), axis=axis, keepdims=True)
    valid = ops.ones_like(wanted, dtype="bool")
    if ignore_label is not None:
        valid = wanted != ignore_label
    # A label out of range, where Caffe reads outside its memory, is never correct.
    known = ops.any(hits, axis=axis, keepdims=True)
    correct = ops.logical_and(as_large <= top_k, ops.logical_and(known, valid))
    return correct, valid, hits


def _weights(sample_weight, like):
    """Returns one weight for each label, in the shape of `like`."""
    if sample_weight is None:
        return ops.ones_like(like, dtype="float32")
    weights = ops.convert_to_tensor(sample_weight, dtype="float32")
    missing = len(like.shape) - len(weights.shape)
    weights = ops.reshape(weights, [*ops.shape(weights), *[1] * missing])
    return ops.broadcast_to(weights, ops.shape(like))


def _ratio(part, whole):
    """Returns part / whole, and 0 where whole is 0."""
    return ops.where(whole == 0, 0.0, part / ops.where(whole == 0, 1.0, whole))


def _accuracy(y_true, y_pred, top_k, axis, ignore_label, sample_weight=None):
    """Returns the share of correct labels."""
    correct, valid, _ = _correct(y_true, y_pred, top_k, axis, ignore_label)
    weights = _weights(sample_weight, correct)
    part = ops.sum(ops.where(correct, weights, 0.0))
    return _ratio(part, ops.sum(ops.where(valid, weights, 0.0)))


def _class_accuracies(y_true, y_pred, top_k, axis, ignore_label, sample_weight=None):
    """Returns the share of correct labels of each class."""
    correct, valid, hits = _correct(y_true, y_pred, top_k, axis, ignore_label)
    weights = _weights(sample_weight, correct)
    others = tuple(i for i in range(len(y_pred.shape)) if i != axis)
    part = ops.sum(ops.where(ops.logical_and(hits, correct), weights, 0.0), others)
    counted = ops.logical_and(hits, valid)
    return _ratio(part, ops.sum(ops.where(counted, weights, 0.0), others))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Accuracy(keras.metrics.Mean):
    """The mean over batches of the share of correct labels; 0 if all are ignored.

    Caffe: accuracy_layer.cpp, and Solver::Test for the mean.

    Args:
        top_k: how many scores may be as large as that of the true class, itself
            included.
        axis: the class axis of the prediction.
        ignore_label: positions with this label are not counted.
    Raises:
        ValueError: if `top_k` exceeds the classes, or shapes do not match.
    """

    def __init__(
        self, top_k=1, axis=-1, ignore_label=None, name="accuracy", dtype=None
    ):
        super().__init__(name=name, dtype=dtype)
        self.top_k = top_k
        self.axis = axis
        self.ignore_label = ignore_label

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds one batch: scores (batch, ...) and their integer labels."""
        y_true, y_pred = map(ops.convert_to_tensor, (y_true, y_pred))
        axis = labels.class_axis(y_pred, self.axis)
        share = _accuracy(
            y_true, y_pred, self.top_k, axis, self.ignore_label, sample_weight
        )
        super().update_state(share)

    def get_config(self):
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "axis": self.axis,
            "ignore_label": self.ignore_label,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class PerClassAccuracy(keras.metrics.Metric):
    """The vector (num_classes,) of the mean over batches of each class's accuracy.

    In a batch without a label of a class, that class's accuracy counts as 0.
    Caffe: accuracy_layer.cpp with two tops.

    Args:
        num_classes: the size of the prediction's class axis.
        top_k, axis, ignore_label: as in Accuracy.
    Raises:
        ValueError: if `top_k` exceeds the classes, or shapes do not match.
    """

    def __init__(
        self,
        num_classes,
        axis=-1,
        ignore_label=None,
        top_k=1,
        name="per_class_accuracy",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.axis = axis
        self.ignore_label = ignore_label
        self.top_k = top_k
        self.total = self.add_variable((num_classes,), "zeros", name="total")
        self.batches = self.add_variable((), "zeros", name="batches")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds one batch: scores (batch, ...) and their integer labels."""
        y_true, y_pred = map(ops.convert_to_tensor, (y_true, y_pred))
        axis = labels.class_axis(y_pred, self.axis)
        if y_pred.shape[axis] != self.num_classes:
            raise ValueError(
                f"Expected {self.num_classes} classes. Received a prediction of "
                f"shape {tuple(y_pred.shape)} with class axis {axis}"
            )
        shares = _class_accuracies(
            y_true, y_pred, self.top_k, axis, self.ignore_label, sample_weight
        )
        self.total.assign_add(shares)
        self.batches.assign_add(1.0)

    def result(self):
        return self.total / ops.maximum(self.batches, 1.0)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "axis": self.axis,
            "ignore_label": self.ignore_label,
            "top_k": self.top_k,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class BatchAccuracy(keras.layers.Layer):
    """The batch's accuracy for [scores, labels], where the net computes the labels.

    Returns it as often as there are samples: (batch,), or (batch, classes) of each class's
    accuracy. There is no gradient. Caffe: accuracy_layer.cpp.

    Args:
        top_k, axis, ignore_label: as in Accuracy.
        per_class: whether to return each class's accuracy.
    Raises:
        ValueError: if `top_k` exceeds the classes, or shapes do not match.
    """

    def __init__(self, top_k=1, axis=-1, ignore_label=None, per_class=False, **kwargs):
        # Labels must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)
        self.top_k = top_k
        self.axis = axis
        self.ignore_label = ignore_label
        self.per_class = per_class

    def call(self, inputs):
        y_pred, y_true = map(ops.stop_gradient, inputs)
        axis = labels.class_axis(y_pred, self.axis)
        measure = _class_accuracies if self.per_class else _accuracy
        shares = measure(y_true, y_pred, self.top_k, axis, self.ignore_label)
        return ops.broadcast_to(shares, [ops.shape(y_pred)[0], *shares.shape])

    def get_config(self):
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "axis": self.axis,
            "ignore_label": self.ignore_label,
            "per_class": self.per_class,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class LossValue(keras.metrics.Mean):
    """The value of a loss that compile() takes beside losses inside the model.

    Keras's own number for it is the sum of them all.

    Args:
        loss: a keras.losses.Loss or its serialized form.
    """

    def __init__(self, loss, **kwargs):
        super().__init__(**kwargs)
        self.loss = keras.losses.get(loss)

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(self.loss(y_true, y_pred, sample_weight))

    def get_config(self):
        return {**super().get_config(), "loss": keras.losses.serialize(self.loss)}
