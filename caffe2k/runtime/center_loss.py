"""CenterLoss: the distance of features to the centre of their class, which is learned."""

import keras
from keras import ops

from . import labels, per_sample


@keras.saving.register_keras_serializable(package="caffe_runtime")
class CenterLoss(keras.layers.Layer):
    """Adds `loss_weight` times the loss of [features, labels] to the model's loss.

    The loss is half the squared distance to the label's centre, or the absolute one for
    distance_type="L1", as a mean over the batch; it is returned without its weight,
    repeated to (batch,). The centres' gradient is not the loss's: a class's is the sum of
    its samples' (centre - features) over their number + 1, whatever the loss_weight. A
    label that is no class makes the loss NaN. Caffe-face: center_loss_layer.cpp, Forward_cpu
    and Backward_cpu; distance_type is caffe-windows'.

    Args:
        classes: how many centres there are.
        distance_type: "L2" or "L1".
        loss_weight: Caffe's loss_weight.
        center_initializer: of the centres (classes, values).
    Raises:
        ValueError: for another distance, or more than one label for a sample.
    """

    def __init__(
        self,
        classes,
        distance_type="L2",
        loss_weight=1.0,
        center_initializer="zeros",
        **kwargs,
    ):
        # Labels must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)
        if distance_type not in ("L1", "L2"):
            raise ValueError(
                f'`distance_type` must be "L1" or "L2". Received: {distance_type}'
            )
        self.classes = classes
        self.distance_type = distance_type
        self.loss_weight = loss_weight
        self.center_initializer = keras.initializers.get(center_initializer)

    def build(self, input_shape):
        features, _ = input_shape
        values = 1
        for dim in features[1:]:
            values *= dim
        self.centers = self.add_weight(
            shape=(self.classes, values),
            initializer=self.center_initializer,
            name="centers",
        )

    def call(self, inputs):
        features, wanted = (ops.cast(x, self.variable_dtype) for x in inputs)
        features = per_sample.flat(features)
        wanted = labels.align(wanted, features, 1)
        known = ops.logical_and(wanted >= 0, wanted < self.classes)
        index = ops.where(known, wanted, 0)[:, 0]
        centers = ops.take(ops.convert_to_tensor(self.centers), index, axis=0)
        distance = features - ops.stop_gradient(centers)
        if self.distance_type == "L2":
            losses, slopes = 0.5 * ops.square(distance), distance
        else:
            losses, slopes = ops.abs(distance), ops.sign(distance)
        value = ops.mean(per_sample.sums(ops.where(known, losses, float("nan"))))
        same = ops.cast(index[:, None] == index[None, :], slopes.dtype)
        number = ops.sum(same, axis=1, keepdims=True)
        steps = ops.sum(centers * ops.stop_gradient(-slopes / (number + 1)))
        weighted = self.loss_weight * value
        self.add_loss(weighted + (steps - ops.stop_gradient(steps)))
        return ops.broadcast_to(value, ops.shape(features)[:1])

    def compute_output_shape(self, input_shape):
        return input_shape[0][:1]

    def get_config(self):
        return {
            **super().get_config(),
            "classes": self.classes,
            "distance_type": self.distance_type,
            "loss_weight": self.loss_weight,
            "center_initializer": keras.initializers.serialize(self.center_initializer),
        }
