"""Caffe's MVN and the SSD fork's Normalize: each sample normalized by itself.

Keras's layers of this kind put epsilon elsewhere and have the true gradient; Caffe's
differs from it a little. Both classes give the gradient by adding zeros such as
`x - stop_gradient(x)`, which count in the backward pass alone.
"""

import keras
from keras import ops


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
        return ops.mean(x, tuple(self.axes), keepdims=True)

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
    """Divides by the L2 norm over `axes`, and multiplies by a learned scale.

    The gradient treats the scale as if it came after everything else, which is true only
    where all channels have the same. Caffe: normalize_layer.cpp of weiliu89/caffe, ssd.

    Args:
        axes: what one norm is taken over: the channels, or all but the batch.
        axis: the channel axis, which the weight `scale` lies along; None for one number.
        epsilon: is added to the square of the norm.
        scale_initializer: where the scale starts.
    Raises:
        ValueError: if the number of channels is not known.
    """

    def __init__(
        self, axes, axis=None, epsilon=1e-10, scale_initializer="ones", **kwargs
    ):
        super().__init__(**kwargs)
        self.axes = list(axes)
        self.axis = axis
        self.epsilon = epsilon
        self.scale_initializer = keras.initializers.get(scale_initializer)

    def build(self, input_shape):
        shape = () if self.axis is None else (input_shape[self.axis],)
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
        scale = ops.cast(self.scale, x.dtype)
        if self.axis is not None:
            behind = len(x.shape) - 1 - self.axis % len(x.shape)
            scale = ops.reshape(scale, (-1, *[1] * behind))
        fixed = ops.stop_gradient(x)
        x = fixed + ops.stop_gradient(scale) * (x - fixed)
        squares = ops.sum(ops.square(x), tuple(self.axes), keepdims=True)
        unit = x / ops.sqrt(squares + self.epsilon)
        fixed = ops.stop_gradient(unit)
        return ops.cast(scale * fixed + (unit - fixed), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "axes": self.axes,
            "axis": self.axis,
            "epsilon": self.epsilon,
            "scale_initializer": keras.initializers.serialize(self.scale_initializer),
        }
