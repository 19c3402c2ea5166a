"""Larger planes: max unpooling with a mask, and interpolation between aligned corners.

Keras's UpSampling2D and Resizing know neither.
"""

import keras
import numpy as np
from keras import ops


class _Resizing2D(keras.layers.Layer):
    """What both have in common: the size of the planes that come out."""

    def __init__(self, size, data_format=None, **kwargs):
        super().__init__(**kwargs)
        height, width = (int(extent) for extent in size)
        if min(height, width) < 1:
            raise ValueError(f"`size` must be (height, width). Received: {size}")
        self.size = (height, width)
        self.data_format = data_format or keras.config.image_data_format()

    @property
    def _spatial_axes(self):
        return (1, 2) if self.data_format == "channels_last" else (2, 3)

    def _resized(self, shape):
        shape = list(shape)
        for axis, extent in zip(self._spatial_axes, self.size, strict=True):
            shape[axis] = extent
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "data_format": self.data_format,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Unpooling2D(_Resizing2D):
    """Puts each value where a mask says, in planes of zeros; takes [values, mask].

    The mask, as MaxPooling2DWithMask makes it, holds flat positions `h * width + w` in
    the planes that come out. Where several values go to one place, the last in
    row-major order stands there, and each gets the whole gradient.
    Caffe: upsample_layer.cpp of alexgkendall/caffe-segnet.

    Args:
        size: (height, width) of the planes that come out.
    """

    def __init__(self, size, data_format=None, **kwargs):
        # Half precision would round the positions.
        super().__init__(size, data_format, autocast=False, **kwargs)

    def call(self, inputs):
        values, mask = inputs
        shape = self._resized(ops.shape(values))
        places = ops.reshape(self._flat_places(mask, shape), (-1,))
        x = ops.reshape(ops.cast(values, self.compute_dtype), (-1,))
        count = shape[0] * shape[1] * shape[2] * shape[3]
        order = ops.arange(ops.size(places), dtype="int32")
        last = ops.take(ops.segment_max(order, places, count), places)
        hidden = x - ops.stop_gradient(x)
        out = ops.segment_sum(ops.where(last == order, x, hidden), places, count)
        return ops.reshape(out, shape)

    def _flat_places(self, mask, shape):
        """Returns where in the flat output each value goes; `mask` is in its plane."""
        mask = ops.cast(mask, "int32")
        batch = ops.reshape(ops.arange(shape[0], dtype="int32"), (-1, 1, 1, 1))
        area = self.size[0] * self.size[1]
        if self.data_format == "channels_last":
            channels = shape[3]
            channel = ops.reshape(ops.arange(channels, dtype="int32"), (1, 1, 1, -1))
            return (batch * area + mask) * channels + channel
        channels = shape[1]
        channel = ops.reshape(ops.arange(channels, dtype="int32"), (1, -1, 1, 1))
        return (batch * channels + channel) * area + mask

    def compute_output_shape(self, input_shape):
        return self._resized(input_shape[0])


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Interpolation2D(_Resizing2D):
    """Bilinear interpolation that maps the corners of a plane to the new corners.

    Caffe: interp_layer.cpp and util/interp.cpp of hszhao/PSPNet.

    Args:
        size: (height, width) of the planes that come out.
        cropping: how many rows and columns are cut off first: a number, or (in front,
            behind).
    """

    def __init__(self, size, cropping=0, data_format=None, **kwargs):
        super().__init__(size, data_format, **kwargs)
        pair = (cropping, cropping) if isinstance(cropping, int) else cropping
        self.cropping = tuple(int(number) for number in pair)
        if len(self.cropping) != 2 or min(self.cropping) < 0:
            raise ValueError(
                f"`cropping` must be one or two numbers from 0. Received: {cropping}"
            )

    def call(self, inputs):
        x = self._cropped(inputs)
        for axis, extent in zip(self._spatial_axes, self.size, strict=True):
            x = self._interpolated(x, axis, extent)
        return x

    def _cropped(self, x):
        if not any(self.cropping):
            return x
        front, behind = self.cropping
        kept = [slice(None)] * 4
        for axis in self._spatial_axes:
            kept[axis] = slice(front, -behind or None)
        return x[tuple(kept)]

    def _interpolated(self, x, axis, extent):
        given = x.shape[axis]
        if given is None or given < 1:
            raise ValueError(
                f"Axis {axis} must have a known size, larger than what is cut off. "
                f"Received an input of shape {tuple(x.shape)}"
            )
        if given == extent:
            return x
        step = np.float32(given - 1) / np.float32(max(extent - 1, 1))
        places = step * np.arange(extent, dtype="float32")
        low = places.astype("int32")
        high = np.minimum(low + 1, given - 1)
        shape = [1] * 4
        shape[axis] = extent
        share = ops.cast((places - low).reshape(shape), x.dtype)
        below, above = ops.take(x, low, axis), ops.take(x, high, axis)
        return (1 - share) * below + share * above

    def compute_output_shape(self, input_shape):
        return self._resized(input_shape)

    def get_config(self):
        return {**super().get_config(), "cropping": self.cropping}
