"""DetectionOutput: from a detector's predictions to the boxes that it found."""

import keras
import numpy as np
from keras import ops

from . import bounding_boxes, per_sample

LOWEST = float(np.finfo("float32").min)


@keras.saving.register_keras_serializable(package="caffe_runtime")
class DetectionOutput(keras.layers.Layer):
    """The best boxes of every class in every image, as rows that say which they are.

    Takes [locations (batch, priors * 4), confidences (batch, priors * classes), priors
    (1, 2, priors * 4)]. A row is (image, class, confidence, xmin, ymin, xmax, ymax), the
    image being its number in the batch; rows are sorted by image, then by class, then by
    confidence. Returns (1, rows, 7, 1), or (1, 1, rows, 7) with its channels first. If
    nothing is found there is a row for each image: its number and six times -1.

    How many rows there are depends on the values, but under JAX: there it is always the
    largest possible number, and those that are missing hold -1. As images count from 0
    in every batch, what predict() returns is only clear for a single batch.
    SSD's Caffe: detection_output_layer.cpp, Forward_cpu. There is no gradient.

    Args:
        num_classes: how many confidences each prior has.
        share_location: whether all classes share a prior's location; if not, locations
            are (batch, priors * classes * 4).
        background_label_id: the class that is never found; -1 if there is none.
        code_type: how locations are meant: "CORNER", "CENTER_SIZE" or "CORNER_SIZE".
        variance_encoded_in_target: whether locations are not scaled by the variances.
        confidence_threshold: boxes must be more likely than this.
        nms_threshold: boxes must not overlap a better one of their class more.
        top_k: how many boxes of a class are looked at, the best; -1 for all.
        eta: see `suppress` in bounding_boxes.py.
        keep_top_k: how many boxes of an image are kept in the end; -1 for all.
        data_format: of the output.
    """

    def __init__(
        self,
        num_classes,
        share_location=True,
        background_label_id=0,
        code_type="CORNER",
        variance_encoded_in_target=False,
        confidence_threshold=LOWEST,
        nms_threshold=0.3,
        top_k=-1,
        eta=1.0,
        keep_top_k=-1,
        data_format=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.num_classes = num_classes
        self.share_location = share_location
        self.background_label_id = background_label_id
        self.code_type = bounding_boxes.check_code_type(code_type)
        self.variance_encoded_in_target = variance_encoded_in_target
        self.confidence_threshold = confidence_threshold
        self.nms_threshold = nms_threshold
        self.top_k = top_k
        self.eta = eta
        self.keep_top_k = keep_top_k
        self.data_format = data_format or keras.config.image_data_format()
        self.classes = [c for c in range(num_classes) if c != background_label_id]
        # TensorFlow's compiler, unlike its graphs, must know the number of rows.
        self.supports_jit = bounding_boxes.pads_rows()

    def call(self, inputs):
        locations, confidences, priors = (
            ops.cast(ops.stop_gradient(x), "float32") for x in inputs
        )
        confidences = per_sample.flat(confidences)
        boxes, scores, valid = self._candidates(locations, confidences, priors)
        batch, classes, number = ops.shape(scores)
        kept = bounding_boxes.suppress(
            ops.reshape(boxes, (batch * classes, number, 4)),
            ops.reshape(valid, (batch * classes, number)),
            self.nms_threshold,
            self.eta,
        )
        kept = self._best_of_image(ops.reshape(kept, (batch, classes, number)), scores)
        return self._rows(boxes, scores, kept)

    def _candidates(self, locations, confidences, priors):
        """Returns the best boxes of each class (batch, classes, boxes, 4) in order,
        their confidences, and which of them count."""
        share = 1 if self.share_location else self.num_classes
        scores = ops.reshape(
            confidences,
            (-1, confidences.shape[1] // self.num_classes, self.num_classes),
        )
        number = scores.shape[1]
        scores = ops.take(ops.transpose(scores, (0, 2, 1)), self.classes, axis=1)
        priors = ops.reshape(priors[:1], (2, number, 1, 4))
        variances = 1.0 if self.variance_encoded_in_target else priors[1]
        locations = ops.reshape(locations, (-1, number, share, 4))
        boxes = bounding_boxes.decode(locations, priors[0], variances, self.code_type)
        order = bounding_boxes.best_first(scores)
        if self.top_k > -1:
            order = order[:, :, : self.top_k]
        scores = ops.take_along_axis(scores, order, axis=2)
        image = ops.arange(ops.shape(scores)[0], dtype="int32")[:, None, None]
        label = ops.array(self.classes if share > 1 else [0], dtype="int32")[:, None]
        index = ((image * number) + order) * share + label
        boxes = ops.take(ops.reshape(boxes, (-1, 4)), index, axis=0)
        return boxes, scores, scores > self.confidence_threshold

    def _best_of_image(self, kept, scores):
        """Returns `kept` without all but the best `keep_top_k` boxes of each image."""
        if self.keep_top_k < 0:
            return kept
        shape = ops.shape(kept)
        best = ops.where(kept, scores, -np.inf)
        best = ops.reshape(best, (shape[0], shape[1] * shape[2]))
        among = bounding_boxes.ranks(best) < self.keep_top_k
        return ops.logical_and(kept, ops.reshape(among, shape))

    def _rows(self, boxes, scores, kept):
        batch, classes, number = ops.shape(scores)
        image = ops.arange(batch, dtype="float32")
        label = ops.array(self.classes, dtype="float32")[:, None]
        columns = [
            ops.broadcast_to(image[:, None, None], ops.shape(scores)),
            ops.broadcast_to(label, ops.shape(scores)),
            scores,
        ]
        rows = ops.concatenate([ops.stack(columns, axis=-1), boxes], axis=-1)
        nothing = ops.concatenate(
            [image[:, None], ops.full((batch, 6), -1.0, "float32")], axis=1
        )
        found_none = ops.logical_not(ops.any(kept))
        wanted = [
            ops.reshape(kept, (-1,)),
            ops.logical_and(ops.ones((batch,), "bool"), found_none),
        ]
        each = classes * number
        most = batch * max(
            1, each if self.keep_top_k < 0 else min(each, self.keep_top_k)
        )
        rows = bounding_boxes.pick_rows(
            ops.concatenate([ops.reshape(rows, (-1, 7)), nothing]),
            ops.concatenate(wanted),
            most,
        )
        last = self.data_format == "channels_last"
        return rows[None, :, :, None] if last else rows[None, None]

    def compute_output_spec(self, inputs):
        last = self.data_format == "channels_last"
        shape = (1, None, 7, 1) if last else (1, 1, None, 7)
        return keras.KerasTensor(shape, "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "share_location": self.share_location,
            "background_label_id": self.background_label_id,
            "code_type": self.code_type,
            "variance_encoded_in_target": self.variance_encoded_in_target,
            "confidence_threshold": self.confidence_threshold,
            "nms_threshold": self.nms_threshold,
            "top_k": self.top_k,
            "eta": self.eta,
            "keep_top_k": self.keep_top_k,
            "data_format": self.data_format,
        }
