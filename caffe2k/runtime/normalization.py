"""Caffe's normalization layers: local response and batch statistics.

Keras has no local response normalization; its BatchNormalization keeps other running
averages and has the learned scale and shift inside.
"""

import keras
from keras import ops

from . import averages

NORM_REGIONS = ("ACROSS_CHANNELS", "WITHIN_CHANNEL")


def _positive(axis, rank):
    if not -rank <= axis < rank:
        raise ValueError(f"There is no axis {axis} in an input of rank {rank}")
    return axis % rank


@keras.saving.register_keras_serializable(package="caffe_runtime")
class LRN(keras.layers.Layer):
    """Divides by (k + alpha * mean square of the neighbours) ** beta.

    The mean is over `local_size` channels, or over a window of
    local_size x local_size within a channel; neighbours outside count as 0.
    WITHIN_CHANNEL does not use `k`: it adds 1. Caffe: lrn_layer.cpp.

    Args:
        local_size: odd number of channels, or of pixels on a side.
        alpha, beta, k: as above.
        norm_region: "ACROSS_CHANNELS" or "WITHIN_CHANNEL".
        axis: the channel axis. WITHIN_CHANNEL needs a rank of 4, and takes the two
            other axes after the batch axis as the plane.
    Raises:
        ValueError: for an even `local_size`, an unknown region, or a wrong rank.
    """

    def __init__(
        self,
        local_size=5,
        alpha=1.0,
        beta=0.75,
        k=1.0,
        norm_region="ACROSS_CHANNELS",
        axis=-1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if local_size % 2 == 0:
            raise ValueError(f"`local_size` must be odd. Received: {local_size}")
        if norm_region not in NORM_REGIONS:
            raise ValueError(
                f"`norm_region` must be one of {NORM_REGIONS}. Received: {norm_region}"
            )
        self.local_size = local_size
        self.alpha = alpha
        self.beta = beta
        self.k = k
        self.norm_region = norm_region
        self.axis = axis

    def call(self, inputs):
        # Squares overflow half precision.
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        axis = _positive(self.axis, len(x.shape))
        if self.norm_region == "ACROSS_CHANNELS":
            scale = self.k + self.alpha * self._mean_over_channels(ops.square(x), axis)
        else:
            scale = 1.0 + self.alpha * self._mean_over_plane(ops.square(x), axis)
        return ops.cast(x * ops.power(scale, -self.beta), self.compute_dtype)

    def _mean_over_channels(self, squares, axis):
        channels = squares.shape[axis]
        radius = (self.local_size - 1) // 2
        pads = [
            (radius, radius) if a == axis else (0, 0) for a in range(len(squares.shape))
        ]
        padded = ops.pad(squares, pads)
        index = [slice(None)] * len(pads)
        total = 0.0
        for i in range(self.local_size):
            index[axis] = slice(i, i + channels)
            total = total + padded[tuple(index)]
        return total / self.local_size

    def _mean_over_plane(self, squares, axis):
        if len(squares.shape) != 4 or axis not in (1, 3):
            raise ValueError(
                "WITHIN_CHANNEL needs an input of rank 4 with channels on axis 1 or "
                f"-1. Received an input of shape {tuple(squares.shape)}, axis {axis}"
            )
        # With stride 1 Caffe's average pooling always divides by the whole window.
        radius = (self.local_size - 1) // 2
        pads = [(0, 0) if a in (0, axis) else (radius, radius) for a in range(4)]
        return ops.average_pool(
            ops.pad(squares, pads),
            self.local_size,
            strides=1,
            padding="valid",
            data_format="channels_last" if axis == 3 else "channels_first",
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "local_size": self.local_size,
            "alpha": self.alpha,
            "beta": self.beta,
            "k": self.k,
            "norm_region": self.norm_region,
            "axis": self.axis,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class BatchNorm(keras.layers.Layer):
    """Subtracts a mean and divides by sqrt(variance + epsilon), for each channel.

    Differs from keras.layers.BatchNormalization: no learned scale and shift (Caffe
    has its Scale layer for that), and the running averages are decaying sums that
    `scale_factor`, the decaying number of batches, divides; the running variance
    takes each batch's m / (m - 1) times as large, m being the values of a channel in
    a batch. With scale_factor 0 the global mean and variance are 0.
    Caffe: batch_norm_layer.cpp.

    The non-trainable weights mean (channels,), variance (channels,) and scale_factor
    (1,) are Caffe's three blobs as they are.

    Args:
        epsilon: added to the variance.
        moving_average_fraction: what is kept of the sums at each batch.
        use_global_stats: None takes the batch's statistics in training and the
            running ones otherwise; True and False fix that. Wherever the batch's are
            taken, the running ones are updated, at inference too.
        axis: the channel axis; None for an input that is one channel.
    """

    def __init__(
        self,
        epsilon=1e-5,
        moving_average_fraction=0.999,
        use_global_stats=None,
        axis=-1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.epsilon = epsilon
        self.moving_average_fraction = moving_average_fraction
        self.use_global_stats = use_global_stats
        self.axis = axis

    def build(self, input_shape):
        channels = self._channels(input_shape)
        self.mean = self._statistic("mean", channels)
        self.variance = self._statistic("variance", channels)
        self.scale_factor = self._statistic("scale_factor", 1)

    def _channels(self, input_shape):
        if self.axis is None:
            return 1
        axis = _positive(self.axis, len(input_shape))
        channels = input_shape[axis]
        if channels is None:
            raise ValueError(
                f"Axis {axis} holds the channels and must have a known size. "
                f"Received an input of shape {tuple(input_shape)}"
            )
        return channels

    def _statistic(self, name, size):
        return self.add_weight(
            shape=(size,),
            initializer="zeros",
            trainable=False,
            autocast=False,
            name=name,
        )

    def call(self, inputs, training=None):
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        axis = None if self.axis is None else _positive(self.axis, len(x.shape))
        use_global_stats = self.use_global_stats
        if use_global_stats is None:
            use_global_stats = not training
        if use_global_stats:
            shape = [-1 if a == axis else 1 for a in range(len(x.shape))]
            mean, variance = (ops.reshape(s, shape) for s in self._global_statistics())
        else:
            others = [a for a in range(len(x.shape)) if a != axis]
            mean = averages.mean(x, others)
            variance = averages.mean(ops.square(x - mean), others)
            self._update(x, mean, variance)
        out = (x - mean) / ops.sqrt(variance + self.epsilon)
        return ops.cast(out, self.compute_dtype)

    def _global_statistics(self):
        batches = ops.convert_to_tensor(self.scale_factor)
        empty = batches == 0
        factor = ops.where(empty, 0.0, 1.0 / ops.where(empty, 1.0, batches))
        return self.mean * factor, self.variance * factor

    def _update(self, x, mean, variance):
        size = ops.cast(ops.size(x), x.dtype) / self.mean.shape[0]
        unbiased = variance * (size / ops.maximum(size - 1.0, 1.0))
        for statistic, value in (
            (self.scale_factor, ops.ones((1,))),
            (self.mean, mean),
            (self.variance, unbiased),
        ):
            kept = self.moving_average_fraction * statistic
            statistic.assign(kept + ops.stop_gradient(ops.reshape(value, (-1,))))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "moving_average_fraction": self.moving_average_fraction,
            "use_global_stats": self.use_global_stats,
            "axis": self.axis,
        }
