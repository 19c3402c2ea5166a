"""Caffe's losses of the difference of two blobs of equal size.

Each is a vector (batch,) whose mean is the number that Caffe reports. Both blobs get a
gradient; weights and labels beside them get none. Those that read more than two blobs
work inside a LossEndpoint, which hands them over in Caffe's order.
"""

import keras
from keras import ops

from . import per_sample


@keras.saving.register_keras_serializable(package="caffe_runtime")
class L1Loss(keras.losses.Loss):
    """The sum of absolute differences per sample.

    Differs from keras.losses.MeanAbsoluteError: a sum over a sample's values.
    NVIDIA's Caffe: l1_loss_layer.cpp.

    Call arguments:
        y_true, y_pred: (batch, ...), equally many values for each sample.
    Raises:
        ValueError: if the shapes do not match.
    """

    def call(self, y_true, y_pred):
        return per_sample.sums(ops.abs(y_pred - per_sample.like(y_true, y_pred)))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class WeightedEuclideanLoss(keras.losses.Loss):
    """Half the sum of squared differences per sample, each times its weight.

    Forks disagree about this layer; this is the rule of densecap's Caffe
    (linjieyangsc/densecap, weighted_euclidean_loss_layer.cpp).

    Call arguments:
        y_true, y_pred, weights: (batch, ...), equally many values for each sample.
    Raises:
        ValueError: if the shapes do not match.
    """

    def call(self, y_true, y_pred, weights):
        difference = y_pred - per_sample.like(y_true, y_pred)
        weights = ops.stop_gradient(per_sample.like(weights, y_pred))
        return 0.5 * per_sample.sums(weights * ops.square(difference))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class SmoothL1Loss(keras.losses.Loss):
    """Squares of small differences and absolute values of large ones, summed.

    Differs from keras.losses.Huber: a sum over a sample's values, scaled so that slopes
    end at 1. With `inside` weights alone (Fast R-CNN, SSD), the gradient is not multiplied
    by them; with `outside` weights (Faster R-CNN) by both. Caffe: smooth_L1_loss_layer.cpp
    of weiliu89/caffe, branch ssd, and of rbgirshick/caffe-fast-rcnn, branch faster-rcnn;
    other divisors than the batch from daijifeng001/caffe-rfcn.

    Args:
        sigma: differences below 1 / sigma^2 are squared.
        normalization: what the sum is divided by: "BATCH_SIZE" the product of
            `outer_axes`, "NONE" nothing, or a number.
        outer_axes: axes of the prediction.
    Call arguments:
        y_true, y_pred: (batch, ...), equally many values for each sample.
        inside: weights of the differences.
        outside: weights of their losses.
    Raises:
        ValueError: for an unknown normalization, or shapes that do not match.
    """

    def __init__(
        self, sigma=1.0, normalization="BATCH_SIZE", outer_axes=(0,), **kwargs
    ):
        super().__init__(**kwargs)
        self.sigma = sigma
        self.normalization = per_sample.check_normalization(normalization)
        self.outer_axes = tuple(outer_axes)

    def call(self, y_true, y_pred, inside=None, outside=None):
        difference = y_pred - per_sample.like(y_true, y_pred)
        scaled, square = ops.stop_gradient(difference), self.sigma**2
        if inside is not None:
            scaled = scaled * per_sample.like(inside, y_pred)
        size = ops.abs(scaled)
        small = size < 1 / square
        losses = ops.where(small, 0.5 * square * scaled**2, size - 0.5 / square)
        slopes = ops.where(small, square * scaled, ops.sign(scaled))
        if outside is not None:
            outside = per_sample.like(outside, y_pred)
            losses = losses * outside
            slopes = slopes * outside * per_sample.like(inside, y_pred)
        losses = per_sample.with_gradient_of(
            losses, ops.stop_gradient(slopes) * difference
        )
        return per_sample.normalized(losses, None, self.normalization, self.outer_axes)

    def get_config(self):
        return {
            **super().get_config(),
            "sigma": self.sigma,
            "normalization": self.normalization,
            "outer_axes": self.outer_axes,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ContrastiveLoss(keras.losses.Loss):
    """Half the squared distance of similar pairs, and of others what lacks to `margin`.

    The gradient of a dissimilar pair divides by its distance + 0.0001, as Caffe's does.
    Caffe: contrastive_loss_layer.cpp.

    Args:
        margin: dissimilar pairs at least so far apart have no loss.
        legacy_version: whether the margin is compared with the squared distance.
    Call arguments:
        y_true, y_pred: the features (batch, ...) of both sides.
        similar: one value for each pair; 0, with its fraction cut off, is dissimilar.
    Raises:
        ValueError: if the shapes do not match.
    """

    def __init__(self, margin=1.0, legacy_version=False, **kwargs):
        super().__init__(**kwargs)
        self.margin = margin
        self.legacy_version = legacy_version

    def call(self, y_true, y_pred, similar):
        squared = per_sample.sums(ops.square(y_pred - per_sample.like(y_true, y_pred)))
        similar = ops.cast(ops.reshape(similar, ops.shape(squared)), "int32") != 0
        fixed = ops.stop_gradient(squared)
        if self.legacy_version:
            gap = self.margin - fixed
            apart, slope = gap, -ops.ones_like(gap)
        else:
            distance = ops.sqrt(fixed)
            gap = self.margin - distance
            apart, slope = ops.square(gap), -gap / (distance + 1e-4)
        losses = ops.where(similar, fixed, ops.where(gap > 0, apart, 0.0))
        slopes = ops.where(similar, 1.0, ops.where(gap > 0, slope, 0.0))
        return 0.5 * per_sample.with_gradient_of(losses, slopes * squared)

    def get_config(self):
        return {
            **super().get_config(),
            "margin": self.margin,
            "legacy_version": self.legacy_version,
        }
