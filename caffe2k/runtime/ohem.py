"""R-FCN's online hard example mining: the loss of each region, and the hardest ones.

Caffe: daijifeng001/caffe-rfcn. Nothing here has a gradient.
"""

import keras
from keras import ops

from . import labels as class_labels
from . import per_sample
from .losses import LARGEST_LOSS


@keras.saving.register_keras_serializable(package="caffe_runtime")
class SoftmaxLosses(keras.layers.Layer):
    """The softmax loss of each label, for [scores, labels]; in the shape of the labels.

    Caffe: softmax_loss_layer.cu, the third top.

    Args:
        axis: the class axis of the scores.
        ignore_label: the loss of this label is 0.
    """

    def __init__(self, axis=-1, ignore_label=None, **kwargs):
        # Labels must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)
        self.axis = axis
        self.ignore_label = ignore_label

    def call(self, inputs):
        scores, given = map(ops.stop_gradient, inputs)
        axis = class_labels.class_axis(scores, self.axis)
        wanted = class_labels.align(given, scores, axis)
        hits = class_labels.one_hot(wanted, scores, axis)
        log_probs = ops.log_softmax(scores, axis=axis)
        losses = -ops.sum(ops.where(hits, log_probs, 0.0), axis=axis, keepdims=True)
        losses = ops.minimum(losses, LARGEST_LOSS)
        losses = class_labels.nan_unless_known(losses, hits, axis)
        if self.ignore_label is not None:
            losses = ops.where(wanted == self.ignore_label, 0.0, losses)
        return ops.reshape(losses, ops.shape(given))

    def compute_output_shape(self, input_shape):
        return input_shape[1]

    def get_config(self):
        return {
            **super().get_config(),
            "axis": self.axis,
            "ignore_label": self.ignore_label,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class SmoothL1Losses(keras.layers.Layer):
    """The smooth L1 loss of each place, for [prediction, target] or with weights inside.

    Returns its sum over the channels, which stay as an axis of size 1; axes of size 1
    follow until there are four. Caffe: smooth_L1_loss_layer.cu, the second top.

    Args:
        axis: the channel axis.
    """

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs):
        prediction, target, *inside = map(ops.stop_gradient, inputs)
        difference = prediction - per_sample.like(target, prediction)
        for weights in inside:
            difference = difference * per_sample.like(weights, prediction)
        size = ops.abs(difference)
        losses = ops.where(size < 1, 0.5 * size**2, size - 0.5)
        sums = ops.sum(losses, axis=self.axis, keepdims=True)
        for _ in range(4 - len(sums.shape)):
            sums = ops.expand_dims(sums, -1)
        return sums

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class BoxAnnotatorOHEM(keras.layers.Layer):
    """Labels and weights of the regions with the largest losses; the others don't learn.

    The inputs are [regions, losses, labels, weights] in Caffe's order: (N, 5, H, W) with
    the number of the image first, (N, 1, H, W) twice, and (N, channels, H, W). Missing
    axes behind the second have size 1. Returns labels and weights, with four axes.
    Equal losses are taken in their order; Caffe leaves that open.
    Caffe: box_annotator_ohem_layer.cu.

    Args:
        roi_per_img: how many regions of each image are kept.
        ignore_label: the label of the others; their weights are 0.
    """

    def __init__(self, roi_per_img, ignore_label=-1, **kwargs):
        # Labels and image numbers must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)
        self.roi_per_img = roi_per_img
        self.ignore_label = ignore_label

    def call(self, inputs):
        regions, losses, labels, weights = (
            _with_four_axes(ops.stop_gradient(x)) for x in inputs
        )
        images = ops.reshape(ops.cast(regions[:, :1], "int32"), (-1,))
        losses = ops.reshape(losses, (-1,))
        place = ops.arange(ops.shape(losses)[0])
        is_first = place[None, :] < place[:, None]
        ours, theirs = losses[:, None], losses[None, :]
        is_harder = (theirs > ours) | ((theirs == ours) & is_first)
        rivals = is_harder & (images[None, :] == images[:, None])
        rank = ops.sum(ops.cast(rivals, "int32"), axis=1)
        kept = ops.reshape(rank < self.roi_per_img, ops.shape(labels))
        ignored = ops.cast(self.ignore_label, labels.dtype)
        return [ops.where(kept, labels, ignored), ops.where(kept, weights, 0.0)]

    def get_config(self):
        return {
            **super().get_config(),
            "roi_per_img": self.roi_per_img,
            "ignore_label": self.ignore_label,
        }


def _with_four_axes(x):
    for _ in range(4 - len(x.shape)):
        x = ops.expand_dims(x, -1)
    return x
