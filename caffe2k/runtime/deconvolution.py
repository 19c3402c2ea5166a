"""Caffe's Deconvolution where Keras's transposed convolutions do not reach.

They have no groups, no dilation together with strides (on TensorFlow's CPU none at
all), and no padding by numbers.
"""

import keras
import numpy as np
from keras import ops


def _each(value, rank, name, least):
    """Returns `value` as `rank` integers; raises ValueError if one is < least."""
    sizes = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(sizes) != rank or min(sizes) < least:
        raise ValueError(
            f"`{name}` must be an integer or {rank} integers, each at least {least}. "
            f"Received: {value}"
        )
    return sizes


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ConvTranspose(keras.layers.Layer):
    """A transposed convolution along one, two or three axes.

    Differs from keras.layers.Conv1DTranspose and its kin: `groups`, `dilation_rate`
    with any strides, and `padding` in numbers. An axis of size n becomes
    strides * (n - 1) + dilation_rate * (kernel_size - 1) + 1 - 2 * padding; a kernel
    smaller than the strides adds nothing behind. Caffe: deconv_layer.cpp.

    The kernel has the shape (*kernel_size, filters / groups, input channels): the i-th
    of the groups leads from the i-th part of the input channels to the i-th part of
    the filters.

    Args:
        filters: the number of output channels.
        kernel_size, strides, dilation_rate: an integer, or one for each axis.
        padding: what is cut off both ends: an integer, or one for each axis.
        groups: divides the input channels and the filters.
        activation, use_bias, kernel_initializer, bias_initializer, data_format: as in
            keras.layers.Conv2DTranspose.
    Raises:
        ValueError: for sizes out of range, or channels that `groups` does not divide.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding=0,
        dilation_rate=1,
        groups=1,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if groups < 1 or filters % groups:
            raise ValueError(
                f"`groups` must divide `filters`. Received: groups={groups}, "
                f"filters={filters}"
            )
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.dilation_rate = dilation_rate
        self.groups = groups
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.data_format = data_format or keras.config.image_data_format()

    def _channel_axis(self, rank):
        return 1 if self.data_format == "channels_first" else rank - 1

    def _axes(self, rank):
        """Returns (axis, kernel size, stride, padding, dilation) of each spatial axis."""
        first = 2 if self.data_format == "channels_first" else 1
        axes = rank - 2
        return list(
            zip(
                range(first, first + axes),
                _each(self.kernel_size, axes, "kernel_size", 1),
                _each(self.strides, axes, "strides", 1),
                _each(self.padding, axes, "padding", 0),
                _each(self.dilation_rate, axes, "dilation_rate", 1),
                strict=True,
            )
        )

    def build(self, input_shape):
        rank = len(input_shape)
        channels = input_shape[self._channel_axis(rank)]
        if channels is None or channels % self.groups:
            raise ValueError(
                f"The channels must be a multiple of the {self.groups} groups. "
                f"Received an input of shape {tuple(input_shape)}"
            )
        sizes = [size for _, size, *_ in self._axes(rank)]
        self.kernel = self.add_weight(
            shape=(*sizes, self.filters // self.groups, channels),
            initializer=self.kernel_initializer,
            name="kernel",
        )
        if self.use_bias:
            self.bias = self.add_weight(
                shape=(self.filters,), initializer=self.bias_initializer, name="bias"
            )

    def call(self, inputs):
        rank = len(inputs.shape)
        axes = self._axes(rank)
        x = ops.conv_transpose(
            inputs,
            self._whole_kernel(axes),
            [stride for _, _, stride, _, _ in axes],
            "valid",
            data_format=self.data_format,
        )
        kept = [slice(None)] * rank
        for axis, size, stride, pad, dilation in axes:
            behind = pad + max(stride - dilation * (size - 1) - 1, 0)
            kept[axis] = slice(pad, -behind or None)
        x = x[tuple(kept)]
        if self.use_bias:
            shape = [1] * rank
            shape[self._channel_axis(rank)] = self.filters
            x = x + ops.reshape(self.bias, shape)
        return self.activation(x)

    def _whole_kernel(self, axes):
        """Returns the kernel with zeros between its values, and between the groups.

        On a CPU this is faster than one convolution for each group.
        """
        kernel = ops.convert_to_tensor(self.kernel)
        for i, (_, size, _, _, dilation) in enumerate(axes):
            if dilation > 1:
                spread = np.zeros((dilation * (size - 1) + 1, size), "float32")
                spread[::dilation] = np.eye(size)
                spread = ops.cast(spread, kernel.dtype)
                kernel = ops.moveaxis(ops.tensordot(spread, kernel, [[1], [i]]), 0, i)
        if self.groups > 1:
            outputs, inputs = self.filters // self.groups, kernel.shape[-1]
            group_of_output = np.arange(self.filters)[:, None] // outputs
            group_of_input = np.arange(inputs) // (inputs // self.groups)
            whole = ops.concatenate([kernel] * self.groups, axis=-2)
            kernel = ops.where(group_of_output == group_of_input, whole, 0.0)
        return kernel

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self._channel_axis(len(shape))] = self.filters
        for axis, size, stride, pad, dilation in self._axes(len(shape)):
            if shape[axis] is not None:
                extent = dilation * (size - 1) + 1
                shape[axis] = stride * (shape[axis] - 1) + extent - 2 * pad
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "data_format": self.data_format,
        }
