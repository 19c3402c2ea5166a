"""ShuffleChannel, Reorg and Flip: forks' layers that move values about."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ShuffleChannel(keras.layers.Layer):
    """Deals the channels of `group` groups out: first of each group, second of each...

    Caffe: shuffle_channel_layer.cpp of farmingyard/ShuffleNet.

    Args:
        group: how many groups of equal size the channels form.
        axis: the channel axis.
    """

    def __init__(self, group, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.group = group
        self.axis = axis

    def call(self, inputs):
        axis = self.axis % len(inputs.shape)
        shape = list(ops.shape(inputs))
        size = inputs.shape[axis] // self.group
        split = ops.reshape(
            inputs, [*shape[:axis], self.group, size, *shape[axis + 1 :]]
        )
        return ops.reshape(ops.swapaxes(split, axis, axis + 1), shape)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "group": self.group, "axis": self.axis}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Flip(keras.layers.Layer):
    """Mirrors its input along `axes`. Caffe: flip_layer.cpp of happynear/caffe-windows."""

    def __init__(self, axes, **kwargs):
        super().__init__(**kwargs)
        self.axes = list(axes)

    def call(self, inputs):
        return ops.flip(inputs, tuple(self.axes))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "axes": self.axes}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Reorg(keras.layers.Layer):
    """Blocks of stride x stride pixels moved into channels, or back with `reverse`.

    Of (batch, height, width, channels), or channels first. Back, output pixel (y, x) of a
    block comes from channel (y * stride + x) * C + c, where C is the number of the
    output's channels. Forth, the values of a sample are first read as an image of
    (channels / stride**2, height * stride, width * stride), as they lie channels first:
    so it is in Darknet, whose weights are trained that way, and in no sense the inverse.

    The gradient is 0, as there: its backward pass reads a buffer that nothing writes.
    Caffe: reorg_layer.cpp and reorg_layer.hpp of intel/caffe and eric612/MobileNet-YOLO.

    Args:
        stride: the side of a block in pixels.
    """

    def __init__(self, stride, reverse=False, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride
        self.reverse = reverse
        self.data_format = data_format or keras.config.image_data_format()

    def call(self, inputs):
        x = ops.stop_gradient(inputs)
        if self.data_format == "channels_last":
            x = ops.transpose(x, (0, 3, 1, 2))
        _, channels, height, width = x.shape
        s, few = self.stride, channels // self.stride**2
        if self.reverse:
            x = ops.reshape(x, (-1, s, s, few, height, width))
            x = ops.transpose(x, (0, 3, 4, 1, 5, 2))
            x = ops.reshape(x, (-1, few, height * s, width * s))
        else:
            x = ops.reshape(x, (-1, few, height, s, width, s))
            x = ops.transpose(x, (0, 3, 5, 1, 2, 4))
            x = ops.reshape(x, (-1, channels * s * s, height // s, width // s))
        if self.data_format == "channels_last":
            x = ops.transpose(x, (0, 2, 3, 1))
        return x

    def compute_output_shape(self, input_shape):
        last = self.data_format == "channels_last"
        axes = (3, 1, 2) if last else (1, 2, 3)
        shape, s = list(input_shape), self.stride
        for axis in axes[1:]:
            shape[axis] = shape[axis] * s if self.reverse else shape[axis] // s
        channels = shape[axes[0]]
        shape[axes[0]] = channels // s**2 if self.reverse else channels * s**2
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "stride": self.stride,
            "reverse": self.reverse,
            "data_format": self.data_format,
        }
