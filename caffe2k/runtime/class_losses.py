"""Caffe's losses of one label for each sample: hinge, logarithm of a probability, triplet.

The classes are all values of a sample, whatever its shape, in row-major order. Each loss
is a vector (batch,) whose mean is the number that Caffe reports. A label that is no class
makes it NaN; Caffe reads outside its memory there.
"""

import keras
from keras import ops

from . import labels, per_sample

SMALLEST_PROBABILITY = 1e-20


def _classes(y_true, y_pred):
    """Returns (values, hits), both (batch, classes); `hits` marks the labels."""
    values = per_sample.flat(y_pred)
    return values, labels.one_hot(labels.align(y_true, values, 1), values, 1)


@keras.saving.register_keras_serializable(package="caffe_runtime")
class HingeLoss(keras.losses.Loss):
    """One-versus-all hinge loss of scores, with squared hinges for norm="L2".

    Differs from keras.losses.CategoricalHinge: every other class has a hinge of its own,
    not only the best. Caffe: hinge_loss_layer.cpp.

    Args:
        norm: "L1" or "L2".
    Call arguments:
        y_true: labels, one for each sample.
        y_pred: scores (batch, ...).
    Raises:
        ValueError: for another norm, or more than one label for a sample.
    """

    def __init__(self, norm="L1", **kwargs):
        super().__init__(**kwargs)
        if norm not in ("L1", "L2"):
            raise ValueError(f'`norm` must be "L1" or "L2". Received: {norm}')
        self.norm = norm

    def call(self, y_true, y_pred):
        scores, hits = _classes(y_true, y_pred)
        hinges = ops.relu(1 + ops.where(hits, -scores, scores))
        if self.norm == "L2":
            hinges = ops.square(hinges)
        hinges = labels.nan_unless_known(hinges, hits, 1)
        return per_sample.sums(hinges)

    def get_config(self):
        return {**super().get_config(), "norm": self.norm}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class MultinomialLogisticLoss(keras.losses.Loss):
    """Minus the logarithm of the label's probability.

    Differs from keras.losses.SparseCategoricalCrossentropy: the values are taken as they
    are, not divided by their sum, and none counts as less than 1e-20; that bounds the
    gradient, but doesn't end it. Caffe: multinomial_logistic_loss_layer.cpp.

    Call arguments:
        y_true: labels, one for each sample.
        y_pred: probabilities (batch, ...).
    Raises:
        ValueError: for more than one label for a sample.
    """

    def call(self, y_true, y_pred):
        probabilities, hits = _classes(y_true, y_pred)
        found = ops.sum(ops.where(hits, probabilities, 0.0), axis=1)
        bounded = ops.stop_gradient(ops.maximum(found, SMALLEST_PROBABILITY))
        losses = per_sample.with_gradient_of(-ops.log(bounded), -found / bounded)
        return per_sample.sums(labels.nan_unless_known(losses[:, None], hits, 1))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class GeneralTripletLoss(keras.losses.Loss):
    """Hinge loss between the distance to the label's class and those to the others.

    The value is the sum of the hinges alone; the gradient also pulls at the label's
    distance, as the fork's layer does. Caffe-windows: general_triplet_loss_layer.cpp,
    Forward_cpu and Backward_cpu.

    Args:
        margin: how much farther than the label's class the others should be.
        add_center_loss: whether the label's distance is pulled at in every sample, not
            only where a hinge is open.
        hardest_only: whether only the largest hinge of a sample counts.
        positive_first: whether a sample's hinges wait until the label's distance is no
            more than `positive_upper_bound`.
        positive_weight, negative_weight: of the label's distance and of the hinges.
    Call arguments:
        y_true: labels, one for each sample.
        y_pred: distances (batch, ...) to the classes.
    Raises:
        ValueError: for more than one label for a sample.
    """

    def __init__(
        self,
        margin=0.2,
        add_center_loss=True,
        hardest_only=False,
        positive_first=False,
        positive_upper_bound=1.0,
        positive_weight=1.0,
        negative_weight=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.margin = margin
        self.add_center_loss = add_center_loss
        self.hardest_only = hardest_only
        self.positive_first = positive_first
        self.positive_upper_bound = positive_upper_bound
        self.positive_weight = positive_weight
        self.negative_weight = negative_weight

    def call(self, y_true, y_pred):
        distances, hits = _classes(y_true, y_pred)
        fixed = ops.stop_gradient(distances)
        same = ops.sum(ops.where(hits, fixed, 0.0), axis=1, keepdims=True)
        gaps = ops.relu(same + self.margin - fixed) * self.negative_weight
        hinges = ops.where(hits, 0.0, gaps)
        pushed = ops.logical_and(~hits, same + self.margin > fixed)
        slopes = ops.where(pushed, -self.negative_weight, 0.0)
        if self.hardest_only:
            hardest = self._hardest(hinges)
            found = ops.any(hardest, axis=1, keepdims=True)
            hinges = ops.where(ops.logical_and(found, ~hardest), 0.0, hinges)
            # A hardest distance of exactly 0 keeps its hinge as its gradient.
            pushed = ops.logical_and(hardest, fixed != 0)
            slopes = ops.where(pushed, -self.negative_weight, hinges)
        pulled = ops.any(pushed, axis=1, keepdims=True)
        if self.positive_first:
            waiting = same > self.positive_upper_bound
            hinges = ops.where(waiting, 0.0, hinges)
            slopes = ops.where(waiting, 0.0, slopes)
            pulled = ops.logical_or(pulled, waiting)
        if self.add_center_loss:
            pulled = ops.ones_like(pulled)
        pull = ops.where(ops.logical_and(hits, pulled), self.positive_weight, 0.0)
        losses = labels.nan_unless_known(ops.abs(hinges), hits, 1)
        return per_sample.with_gradient_of(
            per_sample.sums(losses), per_sample.sums((slopes + pull) * distances)
        )

    def _hardest(self, hinges):
        """Marks the first of the largest hinges of each sample, if any is open."""
        classes = ops.arange(hinges.shape[1], dtype="int32")
        first = ops.cast(ops.argmax(hinges, axis=1), "int32")[:, None]
        return ops.logical_and(classes == first, hinges > 0)

    def get_config(self):
        return {
            **super().get_config(),
            "margin": self.margin,
            "add_center_loss": self.add_center_loss,
            "hardest_only": self.hardest_only,
            "positive_first": self.positive_first,
            "positive_upper_bound": self.positive_upper_bound,
            "positive_weight": self.positive_weight,
            "negative_weight": self.negative_weight,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class TripletDistances(keras.layers.Layer):
    """The distance to the label's class, and the mean one to the others, of each sample.

    [distances, labels] become (batch, 2); Caffe's numbers are the means over the batch.
    There is no gradient. Caffe-windows: general_triplet_loss_layer.cpp with two tops.
    """

    def __init__(self, **kwargs):
        # Labels must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs):
        y_pred, y_true = map(ops.stop_gradient, inputs)
        distances, hits = _classes(y_true, y_pred)
        same = ops.sum(ops.where(hits, distances, 0.0), axis=1)
        others = ops.sum(ops.where(hits, 0.0, distances), axis=1)
        return ops.stack([same, others / (distances.shape[1] - 1)], axis=1)
