"""MultiBoxLoss: how far a detector's boxes and classes are from the true ones."""

import dataclasses

import keras
from keras import ops

from . import bounding_boxes, labels, per_sample
from .losses import LARGEST_LOSS
from .matching import find_matches, read_truth
from .mining import mine
from .multibox_settings import MultiBoxSettings


@keras.saving.register_keras_serializable(package="caffe_runtime")
class MultiBoxLoss(keras.layers.Layer):
    """Adds `loss_weight` times a detector's loss to the model's loss.

    Takes [locations (batch, priors * 4), confidences (batch, priors * classes), priors
    (1, 2, priors * 4), truth], where each 8 values of the truth are a true box: the
    number of its image in the batch (-1: there is no box), its class, a number that does
    not matter, xmin, ymin, xmax, ymax, and whether it is difficult. It has at least one
    such row. Without share_location the locations are (batch, priors * classes * 4).

    Priors are matched with true boxes. The loss is the distance of the locations of those
    that have a match to what would mean their true box, and a loss of the class of all
    priors, or of those that mining finds; see MultiBoxSettings. It is returned without
    its weight, repeated to (batch,). Priors and truth get no gradient.

    As in Caffe, with encode_variance_in_target the locations' gradient is not divided by
    the variances; and without mining, the targets of conf_loss_type="LOGISTIC" for the
    batch's image i lie i * priors * (classes - 1) values too far in front.
    SSD's Caffe: multibox_loss_layer.cpp, util/bbox_util.cpp.

    Args:
        num_classes, ...: those of MultiBoxSettings.
        loss_weight: Caffe's loss_weight.
    """

    def __init__(self, num_classes, loss_weight=1.0, **kwargs):
        names = {field.name for field in dataclasses.fields(MultiBoxSettings)}
        given = {name: kwargs.pop(name) for name in names & kwargs.keys()}
        super().__init__(autocast=False, **kwargs)
        self.settings = MultiBoxSettings(num_classes, **given)
        self.loss_weight = loss_weight
        # TensorFlow's compiler would run anew for each number of true boxes.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def call(self, inputs):
        s = self.settings
        locations, confidences, priors, truth = (ops.cast(x, "float32") for x in inputs)
        confidences = per_sample.flat(confidences)
        batch, number = ops.shape(confidences)[0], confidences.shape[1] // s.num_classes
        scores = ops.reshape(confidences, (-1, number, s.num_classes))
        priors = ops.reshape(ops.stop_gradient(priors)[:1], (2, number, 4))
        priors, variances = priors[0], priors[1]
        locations = ops.reshape(locations, (-1, number, self._locations_each, 4))
        locations = ops.transpose(locations, (0, 2, 1, 3))
        predicted = bounding_boxes.decode(
            ops.stop_gradient(locations),
            priors,
            1.0 if s.encode_variance_in_target else variances,
            s.code_type,
        )
        truth = read_truth(ops.stop_gradient(truth), batch, s.use_difficult_gt)
        matches, overlaps = find_matches(truth, priors, predicted, s)
        distances = self._distances(
            locations, predicted, priors, variances, truth, matches
        )
        counts = ops.ones((batch, number), "bool")
        negatives = ops.zeros_like(counts)
        if s.mining_type != "NONE":
            losses = self._mining_losses(scores, truth, matches, distances)
            kept, negatives = mine(
                matches[:, 0],
                overlaps,
                self._have_truth(truth, batch),
                self._barred(priors, predicted),
                losses,
                priors[None] if s.use_prior_for_nms else predicted[:, 0],
                s,
            )
            matches = kept[:, None]
            counts = ops.logical_or(kept >= 0, negatives)
        value = 0.0
        if s.with_locations:
            found = ops.where(matches >= 0, distances, 0.0)
            value += s.loc_weight * ops.sum(found)
        if s.with_confidences:
            losses = self._class_losses(scores, truth, matches, negatives)
            value += ops.sum(ops.where(counts, losses, 0.0))
        value = value / self._normalizer(matches, batch, number)
        self.add_loss(self.loss_weight * value)
        return ops.broadcast_to(value, (batch,))

    @property
    def _locations_each(self):
        """How many locations each prior has."""
        return 1 if self.settings.share_location else self.settings.num_classes

    def _distances(self, locations, predicted, priors, variances, truth, matches):
        """Returns how far each location is from its true box's (EncodeLocPrediction)."""
        s = self.settings
        scale = 1.0 if s.encode_variance_in_target else variances
        boxes = ops.take(truth.boxes, ops.maximum(matches, 0), axis=0)
        wrong = locations - bounding_boxes.encode(boxes, priors, scale, s.code_type)
        if s.encode_variance_in_target:
            wrong = per_sample.with_gradient_of(wrong / variances, wrong)
        counts = ops.expand_dims(matches >= 0, -1)
        if s.bp_inside:
            compared = priors if s.use_prior_for_matching else predicted
            inside = ops.logical_and(compared >= 0, compared <= 1)
            counts = ops.logical_and(counts, inside)
        wrong = ops.where(counts, wrong, 0.0)
        losses = ops.square(wrong) / 2
        if s.loc_loss_type == "SMOOTH_L1":
            size = ops.abs(wrong)
            losses = ops.where(size < 1, losses, size - 0.5)
        return ops.sum(losses, axis=-1)

    def _have_truth(self, truth, batch):
        """Returns which images have true boxes (batch, 1)."""
        own = truth.image == ops.arange(batch, dtype="int32")[:, None]
        return ops.any(ops.logical_and(own, truth.used), axis=1, keepdims=True)

    def _barred(self, priors, predicted):
        """Returns which priors match nothing, whatever the true boxes are."""
        s = self.settings
        compared = priors[None] if s.use_prior_for_matching else predicted[:, 0]
        crosses = bounding_boxes.crosses_border(compared)
        return crosses if s.ignore_cross_boundary_bbox else ops.zeros_like(crosses)

    def _labels(self, truth, matches):
        """Returns the class of each prior's true box, -1 where there is none.

        Where a prior has several, for several classes, it is the last of them.
        """
        found = ops.take(truth.label, ops.maximum(matches, 0), axis=0)
        return ops.max(ops.where(matches >= 0, found, -1), axis=1)

    def _mining_losses(self, scores, truth, matches, distances):
        """Returns what mining ranks priors by (ComputeConfLoss, ComputeLocLoss)."""
        s = self.settings
        label = self._labels(truth, matches)
        label = ops.where(label < 0, s.background_label_id, label)
        if s.conf_loss_type == "SOFTMAX":
            losses = self._softmax_losses(scores, label)
        else:
            hits = _one_hot(label, s.num_classes)
            losses = _logistic_losses(scores, ops.where(hits, 1.0, 0.0))
        if s.mining_type == "HARD_EXAMPLE":
            losses = losses + distances[:, 0]
        return ops.stop_gradient(losses)

    def _class_losses(self, scores, truth, matches, negatives):
        """Returns the loss of each prior's class (EncodeConfPrediction)."""
        s = self.settings
        background = s.background_label_id
        label = self._labels(truth, matches)
        if s.map_object_to_agnostic:
            label = ops.where(label < 0, label, background + 1)
        if s.conf_loss_type == "SOFTMAX":
            return self._softmax_losses(scores, ops.where(label < 0, background, label))
        if s.mining_type == "NONE":
            hits = _moved_targets(self._targets(truth, matches))
        else:
            label = ops.where(negatives, background, label)
            hits = _one_hot(label, s.num_classes)
        # Every other target is the number of the background, not 0.
        return _logistic_losses(scores, ops.where(hits, 1.0, float(background)))

    def _targets(self, truth, matches):
        """Returns which classes (batch, priors, classes) a prior has true boxes of."""
        s = self.settings
        label = ops.take(truth.label, ops.maximum(matches, 0), axis=0)
        if s.map_object_to_agnostic:
            label = ops.full_like(label, s.background_label_id + 1)
        label = ops.where(matches >= 0, label, -1)
        return ops.any(_one_hot(label, s.num_classes), axis=1)

    def _softmax_losses(self, scores, label):
        hits = _one_hot(label, self.settings.num_classes)
        losses = -ops.sum(ops.where(hits, ops.log_softmax(scores), 0.0), axis=-1)
        # The floor bounds the value only: Caffe's gradient does not see it.
        floored = ops.minimum(losses, LARGEST_LOSS)
        losses = per_sample.with_gradient_of(floored, losses)
        return labels.nan_unless_known(losses[..., None], hits, -1)[..., 0]

    def _normalizer(self, matches, batch, number):
        """LossLayer::GetNormalizer (loss_layer.cpp)."""
        normalization = self.settings.normalization
        if normalization == "VALID":
            return ops.maximum(ops.sum(ops.cast(matches >= 0, "float32")), 1.0)
        if normalization == "NONE":
            return 1.0
        counted = batch * number if normalization == "FULL" else batch
        return ops.cast(counted, "float32")

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs[1].shape[:1], "float32")

    def get_config(self):
        return {
            **super().get_config(),
            **dataclasses.asdict(self.settings),
            "loss_weight": self.loss_weight,
        }


def _one_hot(label, classes):
    """Returns booleans with a class axis behind; a label out of range marks nothing."""
    return ops.expand_dims(label, -1) == ops.arange(classes, dtype="int32")


def _logistic_losses(scores, targets):
    return ops.sum(ops.softplus(scores) - scores * targets, axis=-1)


def _moved_targets(hits):
    """Returns the targets where Caffe writes them without mining.

    It steps on by a number for each prior from image to image, instead of one for each
    prior and class.
    """
    batch, number, classes = ops.shape(hits)
    image = ops.arange(batch, dtype="int32")[:, None]
    places = image * number + ops.arange(number * classes, dtype="int32")
    found = ops.segment_sum(
        ops.cast(ops.reshape(hits, (-1,)), "float32"),
        ops.reshape(places, (-1,)),
        batch * number * classes,
    )
    return ops.reshape(found > 0, ops.shape(hits))
