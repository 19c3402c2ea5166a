"""SpatialTransformer: planes sampled along a grid that a matrix turns and stretches."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class SpatialTransformer(keras.layers.Layer):
    """Samples planes where an affine map takes each pixel; takes [planes, theta].

    Row r and column c of a height x width output have the coordinates s = 2 r / height
    - 1 and t = 2 c / width - 1. They are sampled at the row (theta_1 . (s, t, 1) + 1) /
    2 * input height and the column (theta_2 . (s, t, 1) + 1) / 2 * input width, with
    bilinear weights; pixels outside count as 0.
    Caffe: st_layer.cpp and st_layer.cu of daerduoCarey/SpatialTransformerLayer.

    Args:
        size: (height, width) of the output; None takes the input's.
        fixed: six numbers or None, row by row; theta holds the entries that are None.
        learns_planes: whether the planes get a gradient (Caffe's to_compute_dU).
    """

    def __init__(
        self,
        size=None,
        fixed=(None,) * 6,
        learns_planes=True,
        data_format=None,
        **kwargs,
    ):
        # Half precision would round the coordinates.
        super().__init__(autocast=False, **kwargs)
        if len(fixed) != 6:
            raise ValueError(f"`fixed` must have six entries. Received: {fixed}")
        self.size = None if size is None else tuple(size)
        self.fixed = list(fixed)
        self.learns_planes = learns_planes
        self.data_format = data_format or keras.config.image_data_format()

    def call(self, inputs):
        planes, theta = inputs
        x = ops.cast(planes, self.compute_dtype)
        if not self.learns_planes:
            x = ops.stop_gradient(x)
        if self.data_format == "channels_first":
            x = ops.transpose(x, (0, 2, 3, 1))
        row, column = self._places(ops.cast(theta, "float32"), x.shape)
        out = self._sampled(x, row, column)
        if self.data_format == "channels_first":
            out = ops.transpose(out, (0, 3, 1, 2))
        return out

    def _places(self, theta, shape):
        """Returns the fractional (rows, columns) to sample: (batch, height, width)."""
        theta = ops.reshape(theta, (-1, sum(entry is None for entry in self.fixed)))
        height, width = self.size or shape[1:3]
        grid = np.meshgrid(
            2 * np.arange(height) / height - 1,
            2 * np.arange(width) / width - 1,
            indexing="ij",
        )
        grid = np.stack([*grid, np.ones((height, width))]).astype("float32")
        entries, given = [], 0
        for entry in self.fixed:
            if entry is None:
                entries.append(theta[:, given])
                given += 1
            else:
                entries.append(ops.full_like(theta[:, 0], entry))
        return [
            (self._mapped(entries[i : i + 3], grid) + 1) / 2 * extent
            for i, extent in ((0, shape[1]), (3, shape[2]))
        ]

    def _mapped(self, entries, grid):
        return sum(
            entry[:, None, None] * axis
            for entry, axis in zip(entries, grid, strict=True)
        )

    def _sampled(self, x, row, column):
        height, width, channels = x.shape[1:]
        pixels = ops.reshape(x, (-1, channels))
        image = ops.arange(ops.shape(x)[0], dtype="int32")[:, None, None]
        total = 0.0
        for m, by_row in _neighbours(row):
            for n, by_column in _neighbours(column):
                inside = ops.logical_and(
                    ops.logical_and(m >= 0, m < height),
                    ops.logical_and(n >= 0, n < width),
                )
                weight = ops.where(inside, by_row * by_column, 0.0)
                pixel = (image * height + _index(m, height)) * width
                value = ops.take(pixels, pixel + _index(n, width), axis=0)
                total = total + ops.cast(weight, x.dtype)[..., None] * value
        return total

    def compute_output_shape(self, input_shape):
        shape = list(input_shape[0])
        first = 2 if self.data_format == "channels_first" else 1
        if self.size is not None:
            shape[first : first + 2] = self.size
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "fixed": self.fixed,
            "learns_planes": self.learns_planes,
            "data_format": self.data_format,
        }


def _neighbours(place):
    """Returns the whole numbers around each place, and their weights."""
    low = ops.stop_gradient(ops.floor(place))
    return (low, 1 - (place - low)), (low + 1, 1 - (low + 1 - place))


def _index(place, extent):
    return ops.cast(ops.clip(place, 0, extent - 1), "int32")
