"""Caffe's Im2col and SPP: windows of an image unfolded, or pooled on a pyramid of grids.

Keras has no such layers; its extract_patches orders the values of a window otherwise.
"""

import itertools
import math

import keras
from keras import ops

from .pooling import AveragePooling2D, MaxPooling2D, StochasticPooling2D


def _one_each(value, number):
    return [value] * number if isinstance(value, int) else list(value)


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Im2col(keras.layers.Layer):
    """Each window of the input as channels of one place, channel by channel.

    Of (..., height, width, channels), or channels first, with as many spatial axes as
    `kernel_size` has numbers. The output's channels run through the input's, and within
    each through the window in row-major order. Caffe: im2col_layer.cpp.

    Args:
        kernel_size: the extent of a window along each spatial axis.
        strides, padding, dilation_rate: one number, or one for each spatial axis.
    """

    def __init__(
        self,
        kernel_size,
        strides=1,
        padding=0,
        dilation_rate=1,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_size = list(kernel_size)
        number = len(self.kernel_size)
        self.strides = _one_each(strides, number)
        self.padding = _one_each(padding, number)
        self.dilation_rate = _one_each(dilation_rate, number)
        self.data_format = data_format or keras.config.image_data_format()

    def _axes(self, rank):
        """Returns the spatial axes, and the channel axis."""
        number = len(self.kernel_size)
        if self.data_format == "channels_last":
            return range(rank - 1 - number, rank - 1), rank - 1
        return range(rank - number, rank), rank - number - 1

    def _rooms(self, shape):
        """Returns how far a window can be moved along each spatial axis, None if unknown.

        It is negative where the padded input is smaller than a window.
        """
        spatial, _ = self._axes(len(shape))
        rooms = []
        for i, axis in enumerate(spatial):
            extent = self.dilation_rate[i] * (self.kernel_size[i] - 1) + 1
            size = shape[axis]
            rooms.append(None if size is None else size + 2 * self.padding[i] - extent)
        return rooms

    def _counts(self, shape):
        """Returns the number of windows along each spatial axis, None if not known.

        Caffe takes one of an input that is too small by less than a stride.
        """
        return [
            None if room is None else max(room, 0) // stride + 1
            for room, stride in zip(self._rooms(shape), self.strides, strict=True)
        ]

    def call(self, inputs):
        rank = len(inputs.shape)
        spatial, channels = self._axes(rank)
        pads = [(0, 0)] * rank
        rooms = self._rooms(inputs.shape)
        for axis, pad, room in zip(spatial, self.padding, rooms, strict=True):
            pads[axis] = (pad, pad + max(0, -(room or 0)))
        x = ops.pad(inputs, pads)
        parts = [
            self._places(x, place, self._counts(inputs.shape))
            for place in itertools.product(*map(range, self.kernel_size))
        ]
        columns = ops.stack(parts, axis=channels + 1)
        shape = list(ops.shape(parts[0]))
        known = inputs.shape[channels]
        shape[channels] = -1 if known is None else known * len(parts)
        return ops.reshape(columns, shape)

    def _places(self, x, place, counts):
        """Returns one value of every window: the one at `place` within it."""
        spatial, _ = self._axes(len(x.shape))
        index = [slice(None)] * len(x.shape)
        for i, axis in enumerate(spatial):
            start = place[i] * self.dilation_rate[i]
            end = start + (counts[i] - 1) * self.strides[i] + 1
            index[axis] = slice(start, end, self.strides[i])
        return x[tuple(index)]

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        spatial, channels = self._axes(len(shape))
        for axis, count in zip(spatial, self._counts(input_shape), strict=True):
            shape[axis] = count
        if shape[channels] is not None:
            shape[channels] *= math.prod(self.kernel_size)
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "data_format": self.data_format,
        }


POOLINGS = {
    "MAX": MaxPooling2D,
    "AVE": AveragePooling2D,
    "STOCHASTIC": StochasticPooling2D,
}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class SpatialPyramidPooling2D(keras.layers.Layer):
    """Pools (batch, height, width, channels), or channels first, on finer and finer grids.

    Level i has up to 2**i windows a side. The output is (batch, values): level by level,
    and within each channel by channel, as Caffe has it. Caffe: spp_layer.cpp.

    Args:
        pyramid_height: the number of levels.
        pool: "MAX", "AVE" or "STOCHASTIC".
    """

    def __init__(self, pyramid_height, pool="MAX", data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.pyramid_height = pyramid_height
        self.pool = pool
        self.data_format = data_format or keras.config.image_data_format()
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        last = self.data_format == "channels_last"
        plane = input_shape[1:3] if last else input_shape[2:4]
        self.levels = [
            self._level(plane, 2**level) for level in range(self.pyramid_height)
        ]

    def _level(self, plane, bins):
        size = [-(-extent // bins) for extent in plane]
        settings = {"strides": size, "data_format": self.data_format}
        if self.pool != "STOCHASTIC":
            settings["padding"] = [
                (s * bins - extent + 1) // 2
                for s, extent in zip(size, plane, strict=True)
            ]
        return POOLINGS[self.pool](size, dtype=self.dtype_policy, **settings)

    def call(self, inputs, training=None):
        flat = []
        for level in self.levels:
            arguments = {"training": training} if self.pool == "STOCHASTIC" else {}
            pooled = level(inputs, **arguments)
            if self.data_format == "channels_last":
                pooled = ops.transpose(pooled, (0, 3, 1, 2))
            values = pooled.shape[1] * pooled.shape[2] * pooled.shape[3]
            flat.append(ops.reshape(pooled, (-1, values)))
        return ops.concatenate(flat, axis=1)

    def compute_output_shape(self, input_shape):
        last = self.data_format == "channels_last"
        plane = input_shape[1:3] if last else input_shape[2:4]
        values = 0
        for level in range(self.pyramid_height):
            shape = self._level(plane, 2**level).compute_output_shape(input_shape)
            values += shape[1] * shape[2] * shape[3]
        return (input_shape[0], values)

    def get_config(self):
        return {
            **super().get_config(),
            "pyramid_height": self.pyramid_height,
            "pool": self.pool,
            "data_format": self.data_format,
        }
