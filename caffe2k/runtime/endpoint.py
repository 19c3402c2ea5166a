"""Layers that add a loss inside the model, where compile() cannot express it.

Caffe lets any layer's top carry a loss_weight, and a loss read any blobs; Keras's
compile() only knows (label, prediction) pairs. The layers must be reachable from the
model's outputs, or Keras leaves their loss out.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class LossEndpoint(keras.layers.Layer):
    """Adds `loss_weight` times a loss of [y_pred, y_true, ...] to the model's loss.

    Returns the unweighted loss, repeated to (batch,) so that predict() can join
    batches. Caffe: net.cpp, where a loss layer's top is its loss without the weight.

    Args:
        loss: a keras.losses.Loss or its serialized form. Further inputs are further
            arguments of its call.
        loss_weight: Caffe's loss_weight.
    """

    def __init__(self, loss, loss_weight=1.0, **kwargs):
        # Labels must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)
        self.loss = keras.losses.get(loss)
        self.loss_weight = loss_weight

    def call(self, inputs):
        y_pred, y_true, *others = (ops.cast(x, self.loss.dtype) for x in inputs)
        value = ops.mean(self.loss.call(y_true, y_pred, *others))
        self.add_loss(self.loss_weight * value)
        return ops.broadcast_to(value, ops.shape(y_pred)[:1])

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0],)

    def get_config(self):
        return {
            **super().get_config(),
            "loss": keras.losses.serialize(self.loss),
            "loss_weight": self.loss_weight,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class WeightedOutput(keras.layers.Layer):
    """Adds `loss_weight` times the sum of its input to the loss; returns the input.

    Caffe: layer.hpp, where each value of a top with a loss_weight counts that much.
    """

    def __init__(self, loss_weight, **kwargs):
        super().__init__(**kwargs)
        self.loss_weight = loss_weight

    def call(self, inputs):
        self.add_loss(self.loss_weight * ops.sum(ops.cast(inputs, "float32")))
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "loss_weight": self.loss_weight}
