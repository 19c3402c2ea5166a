"""Caffe's losses, as vectors (batch,) whose mean is the number that Caffe reports.

Differs from Keras's losses: Caffe divides by the batch, by the valid labels, by all
positions or by nothing, whereas Keras averages over all positions. As the mean over
the batch is taken by Keras, sample_weight and class_weight work as usual.
"""

import math

import keras
import numpy as np
from keras import ops

from . import labels, per_sample

LARGEST_LOSS = -math.log(float(np.finfo("float32").tiny))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class SoftmaxWithLoss(keras.losses.Loss):
    """Softmax and multinomial logistic loss of scores (logits) and integer labels.

    Differs from keras.losses.SparseCategoricalCrossentropy(from_logits=True): all of
    Caffe's normalizations, any class axis, and no probability counts as less than
    FLT_MIN (the gradient is not affected). A label that is neither a class nor
    `ignore_label` makes the loss NaN; Caffe reads outside its memory there.
    Caffe: softmax_loss_layer.cpp.

    Args:
        axis: the class axis of the prediction.
        ignore_label: positions with this label have no loss and no gradient.
        normalization: what the sum is divided by: "VALID" the labels that are not
            ignored, "FULL" all labels, "BATCH_SIZE" the product of `outer_axes`,
            "NONE" nothing.
        outer_axes: the axes of the prediction that lie before the class axis in
            Caffe's order. Only "BATCH_SIZE" depends on them.
        class_weights: one factor a class, for the losses of its labels; the labels that
            the sum is divided by count 1 each (SegNet's class_weighting).
    Call arguments:
        y_true: labels, in the shape of `y_pred` without `axis` or with 1 there.
        y_pred: scores (batch, ...).
    Raises:
        ValueError: for an unknown normalization, or shapes that do not match.
    """

    def __init__(
        self,
        axis=-1,
        ignore_label=None,
        normalization="VALID",
        outer_axes=(0,),
        class_weights=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.axis = axis
        self.ignore_label = ignore_label
        self.normalization = per_sample.check_normalization(normalization)
        self.outer_axes = tuple(outer_axes)
        self.class_weights = class_weights

    def call(self, y_true, y_pred):
        axis = labels.class_axis(y_pred, self.axis)
        wanted = labels.align(y_true, y_pred, axis)
        hits = labels.one_hot(wanted, y_pred, axis)
        log_probs = ops.log_softmax(y_pred, axis=axis)
        losses = -ops.sum(ops.where(hits, log_probs, 0.0), axis=axis, keepdims=True)
        # The floor bounds the value only: Caffe's gradient does not see it.
        losses = per_sample.with_gradient_of(ops.minimum(losses, LARGEST_LOSS), losses)
        losses = labels.nan_unless_known(losses, hits, axis)
        if self.class_weights is not None:
            losses = losses * ops.sum(
                ops.where(hits, labels.along(self.class_weights, y_pred, axis), 0.0),
                axis=axis,
                keepdims=True,
            )
        valid = ops.ones_like(losses, dtype="bool")
        if self.ignore_label is not None:
            valid = wanted != self.ignore_label
            losses = ops.where(valid, losses, 0.0)
        return per_sample.normalized(losses, valid, self.normalization, self.outer_axes)

    def get_config(self):
        return {
            **super().get_config(),
            "axis": self.axis,
            "ignore_label": self.ignore_label,
            "normalization": self.normalization,
            "outer_axes": self.outer_axes,
            "class_weights": self.class_weights,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class SigmoidCrossEntropyLoss(keras.losses.Loss):
    """Sigmoid and cross entropy of scores (logits) and targets, summed per sample.

    Differs from keras.losses.BinaryCrossentropy(from_logits=True): that averages over
    the values of a sample, Caffe divides by the batch size only. "FULL" and "VALID"
    count single values. Targets may lie between 0 and 1; with `ignore_label` the
    integer part of a target is compared. Caffe: sigmoid_cross_entropy_loss_layer.cpp.

    Args:
        ignore_label: values with this target have no loss and no gradient.
        normalization: "BATCH_SIZE", "FULL", "VALID" or "NONE".
    Call arguments:
        y_true: targets, as many for each sample as `y_pred` has.
        y_pred: scores (batch, ...).
    Raises:
        ValueError: for an unknown normalization, or shapes that do not match.
    """

    def __init__(self, ignore_label=None, normalization="BATCH_SIZE", **kwargs):
        super().__init__(**kwargs)
        self.ignore_label = ignore_label
        self.normalization = per_sample.check_normalization(normalization)

    def call(self, y_true, y_pred):
        targets = ops.stop_gradient(per_sample.like(y_true, y_pred))
        losses = ops.softplus(y_pred) - y_pred * targets
        valid = ops.ones_like(losses, dtype="bool")
        if self.ignore_label is not None:
            valid = ops.cast(targets, "int32") != self.ignore_label
            losses = ops.where(valid, losses, 0.0)
        return per_sample.normalized(losses, valid, self.normalization, outer_axes=[0])

    def get_config(self):
        return {
            **super().get_config(),
            "ignore_label": self.ignore_label,
            "normalization": self.normalization,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class EuclideanLoss(keras.losses.Loss):
    """Half the sum of squared differences per sample; the mean is over the batch.

    Differs from keras.losses.MeanSquaredError: a sum over a sample's values, and the
    half. `y_true` receives a gradient too. Caffe: euclidean_loss_layer.cpp.

    Call arguments:
        y_true, y_pred: (batch, ...), equally many values for each sample.
    Raises:
        ValueError: if the shapes do not match.
    """

    def call(self, y_true, y_pred):
        difference = y_pred - per_sample.like(y_true, y_pred)
        return 0.5 * per_sample.sums(ops.square(difference))
