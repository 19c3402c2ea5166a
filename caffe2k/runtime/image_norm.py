"""Caffe's MVN and the SSD fork's Normalize: each sample normalized by itself.

Keras's layers of this kind put epsilon elsewhere and have the true gradient; Caffe's
differs from it a little. Both classes give the gradient by adding zeros such as
`x - stop_gradient(x)`, which count in the backward pass alone.
"""

import keras
from keras import ops

from . import averages


@keras.saving.register_keras_serializable(package="caffe_runtime")
class MVN(keras.layers.Layer):
    """Subtracts the mean over `axes`, and divides by the deviation plus `epsilon`.

    The gradient is that of epsilon 0. Caffe: mvn_layer.cpp.

    Args:
        axes: what one mean is taken over; usually the axes of an image, without or with
            its channels.
        normalize_variance: whether to divide.
    """

    def __init__(self, axes, normalize_variance=True, epsilon=1e-9, **kwargs):
        super().__init__(**kwargs)
        self.axes = list(axes)
        self.normalize_variance = normalize_variance
        self.epsilon = epsilon

    def call(self, inputs):
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        centered = x - self._mean(x)
        if self.normalize_variance:
            fixed = ops.stop_gradient(centered)
            deviation = ops.sqrt(self._mean(ops.square(fixed))) + self.epsilon
            slope = self._mean(fixed / deviation * (centered - fixed))
            centered = centered / (deviation + slope)
        return ops.cast(centered, self.compute_dtype)

    def _mean(self, x):
        return averages.mean(x, self.axes)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "axes": self.axes,
            "normalize_variance": self.normalize_variance,
            "epsilon": self.epsilon,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Normalize(keras.layers.Layer):
    """Divides by an L2 norm, and multiplies by a learned scale.

    The gradient treats the scale as if it came after everything else, which is true only
    where all channels have the same. Caffe: normalize_layer.cpp of weiliu89/caffe, ssd.

    Args:
        axis: the channel axis.
        across_spatial: whether one norm is taken over a whole sample, or one for each
            place over its channels.
        channel_shared: whether the weight `scale` is one number, or one for each channel.
        epsilon: is added to the square of the norm.
        scale_initializer: where the scale starts.
    Raises:
        ValueError: if the number of channels is not known.
    """

    def __init__(
        self,
        axis=-1,
        across_spatial=True,
        channel_shared=True,
        epsilon=1e-10,
        scale_initializer="ones",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.axis = axis
        self.across_spatial = across_spatial
        self.channel_shared = channel_shared
        self.epsilon = epsilon
        self.scale_initializer = keras.initializers.get(scale_initializer)

    def build(self, input_shape):
        shape = () if self.channel_shared else (input_shape[self.axis],)
        if None in shape:
            raise ValueError(
                f"The input must have a known size along axis {self.axis}. "
                f"Received an input of shape {tuple(input_shape)}"
            )
        self.scale = self.add_weight(
            shape=shape, initializer=self.scale_initializer, name="scale"
        )

    def call(self, inputs):
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        rank = len(x.shape)
        axis = self.axis % rank
        axes = tuple(range(1, rank)) if self.across_spatial else axis
        scale = ops.cast(self.scale, x.dtype)
        if not self.channel_shared:
            scale = ops.reshape(scale, (-1, *[1] * (rank - 1 - axis)))
        fixed = ops.stop_gradient(x)
        x = fixed + ops.stop_gradient(scale) * (x - fixed)
        squares = ops.sum(ops.square(x), axes, keepdims=True)
        unit = x / ops.sqrt(squares + self.epsilon)
        fixed = ops.stop_gradient(unit)
        return ops.cast(scale * fixed + (unit - fixed), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "axis": self.axis,
            "across_spatial": self.across_spatial,
            "channel_shared": self.channel_shared,
            "epsilon": self.epsilon,
            "scale_initializer": keras.initializers.serialize(self.scale_initializer),
        }
