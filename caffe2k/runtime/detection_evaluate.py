"""DetectionEvaluate: which detections are right, and the precision that follows."""

from pathlib import Path

import keras
import numpy as np
from keras import ops

from . import bounding_boxes

PROJECT = Path(__file__).resolve().parent.parent


def _sizes(source):
    """Returns rows (height, width), or those in a .npy file beside model.py, as lists."""
    if isinstance(source, str):
        path = PROJECT / source
        if not path.is_file():
            raise FileNotFoundError(
                f"no {path}: the image sizes of a DetectionEvaluate"
            )
        source = np.load(path)
    return None if source is None else np.asarray(source).tolist()


@keras.saving.register_keras_serializable(package="caffe_runtime")
class DetectionEvaluate(keras.layers.Layer):
    """Holds the rows of DetectionOutput against true boxes.

    Takes [detections, truth]: each 7 values of the first are a row of DetectionOutput,
    each 8 of the second a true box (see MultiBoxLoss); the truth ends before the first
    row whose image is -1. Returns rows (image, class, confidence, right, wrong), as
    (1, rows, 5, 1), or (1, 1, rows, 5) with channels first. First comes a row for each
    class: (-1, class, number of true boxes, -1, -1). Then the detections follow, sorted
    by image and class, and where there are true boxes of the class by confidence. A
    detection is right if it is the first that the true box it overlaps most is found by;
    it is neither where that box is difficult and such boxes do not count.

    Rows of detections whose class is -1 are left out, but under JAX, which must know
    their number beforehand: there they are rows of -1 at the end.
    SSD's Caffe: detection_evaluate_layer.cpp. There is no gradient.

    Args:
        num_classes: with the background.
        background_label_id: the class without a row; -1 if there is none.
        overlap_threshold: how far a detection and its true box must overlap.
        evaluate_difficult_gt: whether difficult true boxes count.
        image_sizes: the (height, width) of all images that are tested, in their order;
            a list, or the name of a .npy file in the project's folder. Boxes then overlap
            in pixels, of which the last counts. Each image with a row of detections is
            the next of the list, from call to call and round again, but while training;
            JAX does not count what predict() sees.
        resize: a resize_param as a dict: how the images were resized to what the boxes
            are parts of. Only with image_sizes.
        data_format: of the output.
    Raises:
        FileNotFoundError: if there is no such file.
    """

    def __init__(
        self,
        num_classes,
        background_label_id=0,
        overlap_threshold=0.5,
        evaluate_difficult_gt=True,
        image_sizes=None,
        resize=None,
        data_format=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.num_classes = num_classes
        self.background_label_id = background_label_id
        self.overlap_threshold = overlap_threshold
        self.evaluate_difficult_gt = evaluate_difficult_gt
        self.image_sizes = _sizes(image_sizes)
        self.resize = resize
        self.data_format = data_format or keras.config.image_data_format()
        self.supports_jit = bounding_boxes.pads_rows()

    def build(self, input_shape):
        self.next_image = None
        if self.image_sizes is not None:
            self.next_image = self.add_weight(
                shape=(), dtype="int32", initializer="zeros", trainable=False
            )

    def call(self, inputs, training=False):
        detections, truth = (
            ops.reshape(ops.cast(ops.stop_gradient(x), "float32"), (-1, width))
            for x, width in zip(inputs, (7, 8), strict=True)
        )
        # Image and class are whole numbers: Caffe cuts fractions off.
        whole = ops.cast(detections[:, :2], "int32")
        true_whole = ops.cast(truth[:, :2], "int32")
        ended = ops.cumsum(ops.cast(true_whole[:, 0] == -1, "int32")) > 0
        used = ops.logical_not(ended)
        rows = ops.concatenate(
            [
                self._class_rows(true_whole[:, 1], used, truth[:, 7] != 0),
                self._found_rows(detections, whole, truth, true_whole, used, training),
            ]
        )
        last = self.data_format == "channels_last"
        return rows[None, :, :, None] if last else rows[None, None]

    def _class_rows(self, label, used, difficult):
        """Returns a row for each class, with the number of its true boxes."""
        classes = [c for c in range(self.num_classes) if c != self.background_label_id]
        classes = ops.convert_to_tensor(classes, dtype="int32")
        if not self.evaluate_difficult_gt:
            used = ops.logical_and(used, ops.logical_not(difficult))
        counts = ops.logical_and(label[:, None] == classes, used[:, None])
        number = ops.sum(ops.cast(counts, "float32"), axis=0)
        absent = ops.full_like(number, -1.0)
        columns = [absent, ops.cast(classes, "float32"), number, absent, absent]
        return ops.stack(columns, axis=1)

    def _found_rows(self, detections, whole, truth, true_whole, used, training):
        own = ops.all(whole[:, None] == true_whole, axis=-1)
        own = ops.logical_and(own, used)
        order = _sorted(whole, detections[:, 2], ops.any(own, axis=1))
        detections, whole, own = (
            ops.take(x, order, axis=0) for x in (detections, whole, own)
        )
        right, wrong = self._judge(
            self._overlaps(detections[:, 3:], whole[:, 0], truth, true_whole, training),
            truth,
            own,
        )
        # Caffe leaves the rows of no image empty, though it counts them.
        somewhere = ops.cast(whole[:, :1] != -1, "float32")
        numbers = ops.cast(whole, "float32")
        verdict = ops.cast(ops.stack([right, wrong], axis=1), "float32")
        rows = ops.concatenate([numbers, detections[:, 2:3], verdict], axis=1)
        return bounding_boxes.pick_rows(
            rows * somewhere, whole[:, 1] != -1, rows.shape[0]
        )

    def _overlaps(self, boxes, image, truth, true_whole, training):
        """Returns how far each detection, sorted by image, overlaps each true box."""
        true_boxes = truth[:, 3:7]
        if self.image_sizes is None:
            return bounding_boxes.overlap(boxes[:, None], true_boxes)
        before = ops.concatenate([ops.full((1,), -1, "int32"), image[:-1]])
        begins = ops.cast(ops.logical_and(image != before, image != -1), "int32")
        place = self.next_image + ops.cumsum(begins) - 1
        earlier = ops.where(image < true_whole[:, :1], begins, 0)
        true_place = self.next_image + ops.sum(earlier, axis=1)
        sizes = ops.convert_to_tensor(self.image_sizes, dtype="float32")
        number = len(self.image_sizes)
        boxes, true_boxes = (
            bounding_boxes.in_pixels(
                found, ops.take(sizes, places % number, axis=0), self.resize
            )
            for found, places in ((boxes, place), (true_boxes, true_place))
        )
        if not training:
            self.next_image.assign((self.next_image + ops.sum(begins)) % number)
        # What Caffe clips after scaling has its area without the last pixel.
        resize = self.resize or {}
        scaled = resize.get("resize_mode") == "FIT_SMALL_SIZE" and all(
            resize.get(f"{side}_scale") for side in ("height", "width")
        )
        return bounding_boxes.overlap(
            boxes[:, None], true_boxes, rim=1.0, area_rim=0.0 if scaled else 1.0
        )

    def _judge(self, overlaps, truth, own):
        """Returns which detections are right and which wrong; both are (number,)."""
        best, place = bounding_boxes.first_maximum(ops.where(own, overlaps, -1.0))
        hits = best >= self.overlap_threshold
        if self.evaluate_difficult_gt:
            counts = hits
        else:
            counts = ops.logical_and(hits, ops.take(truth[:, 7], place) == 0)
        numbers = ops.arange(ops.shape(own)[1], dtype="int32")
        finds = ops.logical_and(counts[:, None], place[:, None] == numbers)
        times = ops.cumsum(ops.cast(finds, "int32"), axis=0)
        first = ops.any(ops.logical_and(finds, times == 1), axis=1)
        again = ops.logical_and(counts, ops.logical_not(first))
        return first, ops.logical_or(ops.logical_not(hits), again)

    def compute_output_spec(self, inputs, training=False):
        last = self.data_format == "channels_last"
        return keras.KerasTensor((1, None, 5, 1) if last else (1, 1, None, 5))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "background_label_id": self.background_label_id,
            "overlap_threshold": self.overlap_threshold,
            "evaluate_difficult_gt": self.evaluate_difficult_gt,
            "image_sizes": self.image_sizes,
            "resize": self.resize,
            "data_format": self.data_format,
        }


def _sorted(whole, scores, ranked):
    """Returns the order by image and class, then by score where `ranked`.

    Rows of no image come last, and equal ones keep their order.
    """
    order = bounding_boxes.best_first(ops.where(ranked, scores, 0.0))
    for column in (1, 0):
        keys = ops.take(whole[:, column], order)
        if column == 0:
            keys = ops.where(keys == -1, 2**31 - 1, keys)
        order = ops.take(order, ops.argsort(keys), axis=0)
    return order
