"""SegNet's batch normalization, which knows no running statistics."""

import keras
from keras import initializers, ops

from . import averages


@keras.saving.register_keras_serializable(package="caffe_runtime")
class BN(keras.layers.Layer):
    """Normalizes by the batch's mean and variance, and adds a learned scale and bias.

    Differs from keras.layers.BatchNormalization: at inference, too, it takes the
    statistics of the batch that it is given. Caffe: bn_layer.cpp of
    alexgkendall/caffe-segnet, bn_mode LEARN.

    Args:
        epsilon: added to the variance.
        axis: the channel axis; the weights `scale` and `bias` are (channels,).
        return_statistics: whether to return (outputs, mean, variance), the last two
            with size 1 along all other axes. No gradient flows back through them.
    """

    def __init__(
        self,
        epsilon=1e-9,
        axis=-1,
        scale_initializer="ones",
        bias_initializer="zeros",
        return_statistics=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.axis = axis
        self.scale_initializer = initializers.get(scale_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.return_statistics = return_statistics

    def _statistics_shape(self, input_shape):
        axis = self.axis % len(input_shape)
        return tuple(d if a == axis else 1 for a, d in enumerate(input_shape))

    def build(self, input_shape):
        channels = input_shape[self.axis]
        if channels is None:
            raise ValueError(
                f"Axis {self.axis} holds the channels and must have a known size. "
                f"Received an input of shape {tuple(input_shape)}"
            )
        self.scale = self._weight("scale", channels, self.scale_initializer)
        self.bias = self._weight("bias", channels, self.bias_initializer)

    def _weight(self, name, channels, initializer):
        return self.add_weight(
            shape=(channels,), initializer=initializer, autocast=False, name=name
        )

    def call(self, inputs):
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        others = [a for a in range(len(x.shape)) if a != self.axis % len(x.shape)]
        mean = averages.mean(x, others)
        variance = averages.mean(ops.square(x - mean), others)
        shape = self._statistics_shape(x.shape)
        out = (x - mean) / ops.sqrt(variance + self.epsilon)
        out = out * ops.reshape(self.scale, shape) + ops.reshape(self.bias, shape)
        if not self.return_statistics:
            return ops.cast(out, self.compute_dtype)
        statistics = ops.stop_gradient(mean), ops.stop_gradient(variance)
        return [ops.cast(result, self.compute_dtype) for result in (out, *statistics)]

    def compute_output_shape(self, input_shape):
        if not self.return_statistics:
            return input_shape
        statistics = self._statistics_shape(input_shape)
        return [input_shape, statistics, statistics]

    def get_config(self):
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "axis": self.axis,
            "scale_initializer": initializers.serialize(self.scale_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "return_statistics": self.return_statistics,
        }
