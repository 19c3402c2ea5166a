"""NVIDIA Caffe's BatchNorm with a scale and a bias of its own."""

import keras
from keras import ops

from .normalization import BatchNorm


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ScaledBatchNorm(BatchNorm):
    """BatchNorm, times a scale and plus a bias for each channel.

    Differs from BatchNorm in its running averages too: they are kept as averages, the
    variance without m / (m - 1), and the first two batches replace them. Ported weights
    count as averages of many batches.
    Caffe: NVIDIA/caffe, batch_norm_layer.cpp.

    The non-trainable weights mean (channels,), variance (channels,) and correction (1,),
    and the trainable ones scale (channels,) and bias (channels,), are Caffe's five blobs.
    `correction`, which is 1 in Caffe and not used, counts the first batches in halves.

    Args:
        scale_initializer, bias_initializer: how scale and bias start.
        Others are BatchNorm's.
    """

    def __init__(self, scale_initializer="ones", bias_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.scale_initializer = keras.initializers.get(scale_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        channels = self._channels(input_shape)
        self.mean = self._statistic("mean", channels)
        self.variance = self._statistic("variance", channels)
        self.correction = self._statistic("correction", 1)
        self.scale = self.add_weight(
            shape=(channels,), initializer=self.scale_initializer, name="scale"
        )
        self.bias = self.add_weight(
            shape=(channels,), initializer=self.bias_initializer, name="bias"
        )

    def call(self, inputs, training=None):
        normal = super().call(inputs, training=training)
        shape = [1] * len(inputs.shape)
        shape[self.axis] = -1
        return normal * ops.reshape(self.scale, shape) + ops.reshape(self.bias, shape)

    def _global_statistics(self):
        return self.mean, self.variance

    def _update(self, x, mean, variance):
        is_first = self.correction < 1
        kept = ops.where(is_first, 0.0, self.moving_average_fraction)
        for statistic, value in ((self.mean, mean), (self.variance, variance)):
            new = ops.reshape(ops.stop_gradient(value), (-1,))
            statistic.assign(kept * statistic + (1 - kept) * new)
        self.correction.assign(ops.minimum(self.correction + 0.5, 1.0))

    def get_config(self):
        return {
            **super().get_config(),
            "scale_initializer": keras.initializers.serialize(self.scale_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }
