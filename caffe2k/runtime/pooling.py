"""Caffe's pooling over planes: its output size, its clipped windows, its mask.

Keras has no rounding up, no average over a padded extent, no mask and no stochastic
pooling. Where no window is padded or clipped, keras.layers.MaxPooling2D and
AveragePooling2D compute the same.
"""

import keras
import numpy as np
from keras import ops

LOWEST = float(np.finfo("float32").min)


def _pair(value, name, least):
    """Returns `value` as (height, width); raises ValueError if either is < least."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or any(int(entry) < least for entry in pair):
        raise ValueError(
            f"`{name}` must be an integer or two integers, each at least {least}. "
            f"Received: {value}"
        )
    return tuple(int(entry) for entry in pair)


class _Pooling2D(keras.layers.Layer):
    """Where the windows lie: (kernel, stride, pad, round_mode) in Caffe's words."""

    def __init__(
        self,
        pool_size,
        strides=1,
        padding=0,
        ceil_mode=True,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.pool_size = _pair(pool_size, "pool_size", 1)
        self.strides = _pair(strides, "strides", 1)
        self.padding = _pair(padding, "padding", 0)
        if any(p >= k for p, k in zip(self.padding, self.pool_size, strict=True)):
            raise ValueError(
                "`padding` must be smaller than `pool_size`. Received: "
                f"padding={self.padding}, pool_size={self.pool_size}"
            )
        self.ceil_mode = bool(ceil_mode)
        self.data_format = data_format or keras.config.image_data_format()
        if self.data_format not in ("channels_last", "channels_first"):
            raise ValueError(f"Unknown `data_format`: {self.data_format}")
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def _spatial_axes(self):
        return (1, 2) if self.data_format == "channels_last" else (2, 3)

    def _extents(self, shape):
        extents = tuple(shape[axis] for axis in self._spatial_axes)
        if None in extents:
            raise ValueError(
                f"{type(self).__name__} needs a known height and width. "
                f"Received an input of shape {tuple(shape)}"
            )
        return extents

    def _counts(self, shape):
        """Returns the number of windows along (height, width)."""
        counts = []
        for extent, size, stride, pad in zip(
            self._extents(shape),
            self.pool_size,
            self.strides,
            self.padding,
            strict=True,
        ):
            room = extent + 2 * pad - size
            count = (-(-room // stride) if self.ceil_mode else room // stride) + 1
            # With a pad on either axis, no window may start in the far padding.
            if any(self.padding) and (count - 1) * stride >= extent + pad:
                count -= 1
            counts.append(count)
        if min(counts) < 1:
            raise ValueError(
                f"A window of {self.pool_size} does not fit into an input of "
                f"shape {tuple(shape)} with padding {self.padding}"
            )
        return tuple(counts)

    def _pad(self, x, value):
        """Pads planes so that a valid pooling has exactly Caffe's windows."""
        pads = [(0, 0)] * 4
        for axis, extent, count, size, stride, pad in zip(
            self._spatial_axes,
            self._extents(x.shape),
            self._counts(x.shape),
            self.pool_size,
            self.strides,
            self.padding,
            strict=True,
        ):
            end = (count - 1) * stride + size
            pads[axis] = (pad, max(0, end - extent - pad))
        if not any(map(any, pads)):
            return x
        return ops.pad(x, pads, constant_values=value)

    def _strided(self, x, i, axis, count):
        """Returns the i-th element of each window along one spatial axis (0 or 1)."""
        stride = self.strides[axis]
        index = [slice(None)] * 4
        index[self._spatial_axes[axis]] = slice(i, i + (count - 1) * stride + 1, stride)
        return x[tuple(index)]

    def _on_planes(self, array):
        """Returns an array (height, width) in a shape that broadcasts to inputs."""
        height, width = self._spatial_axes
        return np.expand_dims(array, [a for a in range(4) if a not in (height, width)])

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        for axis, count in zip(
            self._spatial_axes, self._counts(input_shape), strict=True
        ):
            shape[axis] = count
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
            "data_format": self.data_format,
        }


def _lowest(dtype):
    """Returns what Caffe starts a maximum from, as far as `dtype` can hold it."""
    return -np.inf if dtype in ("float16", "bfloat16") else LOWEST


@keras.saving.register_keras_serializable(package="caffe_runtime")
class MaxPooling2D(_Pooling2D):
    """Max pooling of (batch, height, width, channels), or channels first.

    Differs from keras.layers.MaxPooling2D: explicit symmetric `padding`, `ceil_mode`
    (windows may hang over the far border), and the last window is dropped if it
    would start in the padding. Of equal values the first in row-major order gets the
    gradient. Caffe: pooling_layer.cpp.

    Args:
        pool_size, strides, padding: an integer or (height, width), in pixels.
        ceil_mode: whether the number of windows is rounded up.
    Raises:
        ValueError: if a padding is not smaller than its window, or nothing fits.
    """

    def call(self, inputs):
        return ops.max_pool(
            self._pad(inputs, _lowest(self.compute_dtype)),
            self.pool_size,
            self.strides,
            padding="valid",
            data_format=self.data_format,
        )


@keras.saving.register_keras_serializable(package="caffe_runtime")
class MaxPooling2DWithMask(_Pooling2D):
    """MaxPooling2D that returns [pooled, mask].

    `mask` has the shape of `pooled` and holds, as float32, the flat position
    `h * width + w` of each maximum in its input plane (the first in row-major order).
    It has no gradient. Caffe: pooling_layer.cpp with two tops.
    """

    def call(self, inputs):
        height, width = self._extents(inputs.shape)
        positions = np.arange(height * width, dtype="float32").reshape(height, width)
        mask = ops.broadcast_to(self._on_planes(positions), ops.shape(inputs))
        mask = self._pad(mask, -1.0)
        best = self._pad(inputs, _lowest(self.compute_dtype))
        counts = self._counts(inputs.shape)
        # Rows are reduced before columns, so the first maximum in row-major order wins.
        for axis in (1, 0):
            best, mask = self._first_maximum(best, mask, axis, counts[axis])
        return [best, mask]

    def _first_maximum(self, values, positions, axis, count):
        best = self._strided(values, 0, axis, count)
        where = self._strided(positions, 0, axis, count)
        for i in range(1, self.pool_size[axis]):
            value = self._strided(values, i, axis, count)
            better = value > best
            best = ops.where(better, value, best)
            where = ops.where(better, self._strided(positions, i, axis, count), where)
        return best, where

    def compute_output_shape(self, input_shape):
        return [super().compute_output_shape(input_shape)] * 2

    def compute_output_spec(self, inputs):
        shape, _ = self.compute_output_shape(inputs.shape)
        return [
            keras.KerasTensor(shape, self.compute_dtype),
            keras.KerasTensor(shape, "float32"),
        ]


@keras.saving.register_keras_serializable(package="caffe_runtime")
class AveragePooling2D(_Pooling2D):
    """Average pooling of (batch, height, width, channels), or channels first.

    Differs from keras.layers.AveragePooling2D as MaxPooling2D does, and in the
    divisor: the area of the window within the padded extent, so padding counts and
    what hangs over beyond it does not. Caffe: pooling_layer.cpp.
    """

    def call(self, inputs):
        averages = ops.average_pool(
            self._pad(inputs, 0.0),
            self.pool_size,
            self.strides,
            padding="valid",
            data_format=self.data_format,
        )
        share = self._full_to_clipped_area(inputs.shape)
        if (share == 1).all():
            return averages
        return averages * ops.convert_to_tensor(share, dtype=averages.dtype)

    def _full_to_clipped_area(self, shape):
        ratios = []
        for extent, count, size, stride, pad in zip(
            self._extents(shape),
            self._counts(shape),
            self.pool_size,
            self.strides,
            self.padding,
            strict=True,
        ):
            start = np.arange(count) * stride - pad
            clipped = np.minimum(start + size, extent + pad) - start
            # A stride above the window can leave a window empty: Caffe divides by 0.
            with np.errstate(divide="ignore"):
                ratios.append(size / clipped)
        return self._on_planes(np.multiply.outer(*ratios))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class StochasticPooling2D(_Pooling2D):
    """Stochastic pooling of non-negative (batch, height, width, channels).

    In training each window yields one of its values, drawn with a probability
    proportional to the value, and the gradient goes to that value. At inference it
    yields sum(x * x) / sum(x), or 0 where the sum is not positive. Windows hang over
    the far border as in MaxPooling2D; Caffe has no padding here.
    Caffe: pooling_layer.cu (it has no CPU version).

    Args:
        pool_size, strides: an integer or (height, width), in pixels.
        seed: an integer for reproducible draws.
    """

    def __init__(
        self,
        pool_size,
        strides=1,
        ceil_mode=True,
        data_format=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(
            pool_size,
            strides,
            ceil_mode=ceil_mode,
            data_format=data_format,
            **kwargs,
        )
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=None):
        windows = self._windows(inputs)
        if training:
            return self._sample(windows)
        total = ops.sum(windows, axis=-1)
        positive = total > 0
        return ops.where(
            positive,
            ops.sum(ops.square(windows), axis=-1) / ops.where(positive, total, 1.0),
            0.0,
        )

    def _windows(self, inputs):
        """Returns the windows' values in row-major order along a new last axis."""
        rows, columns = self._counts(inputs.shape)
        x = self._pad(inputs, 0.0)
        return ops.stack(
            [
                self._strided(self._strided(x, i, 0, rows), j, 1, columns)
                for i in range(self.pool_size[0])
                for j in range(self.pool_size[1])
            ],
            axis=-1,
        )

    def _sample(self, windows):
        sums = ops.cumsum(windows, axis=-1)
        total = sums[..., -1:]
        # 1 - u lies in (0, 1], as Caffe's generator does: a draw of 0 would pick a
        # leading zero of the window.
        draw = 1.0 - keras.random.uniform(
            ops.shape(total), dtype=windows.dtype, seed=self.seed_generator
        )
        reached = sums >= draw * total
        first = ops.logical_and(
            reached, ops.cumsum(ops.cast(reached, "int32"), axis=-1) == 1
        )
        return ops.sum(ops.where(first, windows, 0.0), axis=-1)

    def get_config(self):
        config = {**super().get_config(), "seed": self.seed}
        del config["padding"]
        return config
