"""Pooling over regions of interest: the maximum of Fast R-CNN, the mean of R-FCN.

A region is a row (index of the image in the batch, x1, y1, x2, y2), in pixels of the
image from which the planes were made `spatial_scale` times as large.
"""

import keras
import numpy as np
from keras import ops

LOWEST = float(np.finfo("float32").min)


def _round(x):
    """Rounds halves away from zero, as C does; ops.round would take the even number."""
    whole = ops.trunc(x)
    return whole + ops.where(ops.abs(x - whole) >= 0.5, ops.sign(x), 0.0)


def _edges(start, size, count):
    """Returns the (starts, ends) of `count` bins, not clipped: (regions, bins)."""
    step = size / count
    number = np.arange(count, dtype="float32")
    return ops.floor(number * step + start), ops.ceil((number + 1) * step + start)


def _within(starts, ends, extent):
    """Returns whether each position of an axis lies in each bin, as a new last axis."""
    place = np.arange(extent, dtype="float32")
    return ops.logical_and(place >= starts[..., None], place < ends[..., None])


class _RegionPooling(keras.layers.Layer):
    """Where the bins of a region lie; takes [planes, regions]."""

    def __init__(self, pooled, spatial_scale=1.0, data_format=None, **kwargs):
        # Half precision would round the coordinates.
        super().__init__(autocast=False, **kwargs)
        if min(pooled) < 1:
            raise ValueError(f"There must be at least one bin. Received: {pooled}")
        self.pooled = tuple(pooled)
        self.spatial_scale = spatial_scale
        self.data_format = data_format or keras.config.image_data_format()

    def call(self, inputs):
        planes, regions = inputs
        planes = ops.cast(planes, self.compute_dtype)
        if self.data_format == "channels_first":
            planes = ops.transpose(planes, (0, 2, 3, 1))
        regions = ops.reshape(regions, (-1, 5))
        regions = ops.stop_gradient(ops.cast(regions, "float32"))
        out = self._pooled(planes, ops.cast(regions[:, 0], "int32"), regions[:, 1:])
        if self.data_format == "channels_first":
            out = ops.transpose(out, (0, 3, 1, 2))
        return out

    def _output_shape(self, input_shape, channels):
        regions = input_shape[1][0]
        if self.data_format == "channels_first":
            return (regions, channels, *self.pooled)
        return (regions, *self.pooled, channels)

    def get_config(self):
        return {
            **super().get_config(),
            "spatial_scale": self.spatial_scale,
            "data_format": self.data_format,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ROIPooling(_RegionPooling):
    """The maximum in each of pooled_h x pooled_w bins of each region.

    Takes [(batch, height, width, channels), (regions, 5)], or channels first, and
    returns (regions, pooled_h, pooled_w, channels). A bin outside of the planes is 0.
    Of equal values the first in row-major order gets the gradient; regions that end
    before they start have none, nor have the regions' coordinates.
    Caffe: roi_pooling_layer.cpp and .cu of rbgirshick/caffe-fast-rcnn.
    """

    def __init__(self, pooled_h, pooled_w, spatial_scale=1.0, **kwargs):
        super().__init__((pooled_h, pooled_w), spatial_scale, **kwargs)

    def _pooled(self, planes, images, corners):
        height, width, channels = planes.shape[1:]
        corners = ops.cast(_round(corners * self.spatial_scale), "int32")
        x1, y1, x2, y2 = (corners[:, i, None] for i in range(4))
        rows = self._spans(y1, y2, self.pooled[0], height)
        columns = self._spans(x1, x2, self.pooled[1], width)
        pixels = ops.reshape(planes, (-1, channels))
        corner = images[:, None, None] * (height * width)
        pixel = self._first_maximum(
            ops.cast(ops.stop_gradient(pixels), "float32"), corner, rows, columns, width
        )
        index = ops.maximum(pixel, 0) * channels + np.arange(channels, dtype="int32")
        values = ops.take(ops.reshape(planes, (-1,)), index, axis=0)
        place = pixel - corner[..., None]
        row, column = place // width, place % width
        y1, y2, x1, x2 = (c[:, :, None, None] for c in (y1, y2, x1, x2))
        learns = ops.logical_and(
            ops.logical_and(row >= y1, row <= y2),
            ops.logical_and(column >= x1, column <= x2),
        )
        values = ops.where(learns, values, ops.stop_gradient(values))
        return ops.where(pixel >= 0, values, 0.0)

    def _spans(self, first, last, count, extent):
        """Returns the bins' clipped (starts, ends) along an axis: (regions, bins)."""
        size = ops.cast(ops.maximum(last - first + 1, 1), "float32")
        return [
            ops.clip(ops.cast(edges, "int32") + first, 0, extent)
            for edges in _edges(0.0, size, count)
        ]

    def _first_maximum(self, pixels, corner, rows, columns, stride):
        """Returns each bin's first largest pixel, (regions, bins, bins, channels).

        All bins are walked through at once, row by row; -1 stands for an empty one.
        """
        top, bottom = (edges[:, :, None] for edges in rows)
        left, right = (edges[:, None, :] for edges in columns)
        height, width = self.pooled
        tall, wide = ops.max(bottom - top), ops.max(right - left)
        shape = (ops.shape(corner)[0], height, width, pixels.shape[1])

        def look(step, best, where):
            row, column = top + step // wide, left + step % wide
            valid = ops.logical_and(row < bottom, column < right)
            pixel = ops.where(valid, corner + row * stride + column, 0)
            value = ops.take(pixels, pixel, axis=0)
            better = ops.logical_and(valid[..., None], value > best)
            return (
                step + 1,
                ops.where(better, value, best),
                ops.where(better, pixel[..., None], where),
            )

        *_, where = ops.while_loop(
            lambda step, best, where: step < tall * wide,
            look,
            (0, ops.full(shape, LOWEST, "float32"), ops.full(shape, -1, "int32")),
        )
        return where

    def compute_output_shape(self, input_shape):
        axis = 1 if self.data_format == "channels_first" else 3
        return self._output_shape(input_shape, input_shape[0][axis])

    def get_config(self):
        pooled_h, pooled_w = self.pooled
        return {**super().get_config(), "pooled_h": pooled_h, "pooled_w": pooled_w}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class PSROIPooling(_RegionPooling):
    """The mean in each of group_size x group_size bins, each bin over its own channels.

    Takes [(batch, height, width, output_dim * group_size ** 2), (regions, 5)], or
    channels first, and returns (regions, group_size, group_size, output_dim). Bin
    (i, j) of output c reads channel (c * group_size + i) * group_size + j. A bin
    outside of the planes is 0. The regions have no gradient.
    Caffe: psroi_pooling_layer.cu of daijifeng001/caffe-rfcn.
    """

    def __init__(self, output_dim, group_size, spatial_scale, **kwargs):
        super().__init__((group_size, group_size), spatial_scale, **kwargs)
        self.output_dim = output_dim
        self.group_size = group_size

    def _pooled(self, planes, images, corners):
        height, width, channels = planes.shape[1:]
        bins = self.group_size
        if channels != self.output_dim * bins**2:
            raise ValueError(
                f"Expected {self.output_dim} x {bins} x {bins} channels. "
                f"Received {channels}"
            )
        corners = _round(corners)
        x1, y1 = (corners[:, i, None] * self.spatial_scale for i in (0, 1))
        x2, y2 = ((corners[:, i, None] + 1.0) * self.spatial_scale for i in (2, 3))
        rows = self._shares(y1, y2, height)
        columns = self._shares(x1, x2, width)
        batch = ops.shape(planes)[0]
        x = ops.reshape(planes, (batch, height, width, self.output_dim, bins, bins))
        mine = images[:, None] == ops.arange(batch, dtype="int32")
        rows = rows[:, None] * ops.cast(mine, rows.dtype)[:, :, None, None]
        rows, columns = (ops.cast(share, x.dtype) for share in (rows, columns))
        by_row = ops.einsum("rnph,nhwdpq->rpwdq", rows, x)
        return ops.einsum("rqw,rpwdq->rpqd", columns, by_row)

    def _shares(self, first, last, extent):
        """Returns the weight of each position in each bin: (regions, bins, extent)."""
        size = ops.maximum(last - first, 0.1)
        within = _within(*_edges(first, size, self.group_size), extent)
        within = ops.cast(within, "float32")
        return within / ops.maximum(ops.sum(within, axis=-1, keepdims=True), 1.0)

    def compute_output_shape(self, input_shape):
        return self._output_shape(input_shape, self.output_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "output_dim": self.output_dim,
            "group_size": self.group_size,
        }
