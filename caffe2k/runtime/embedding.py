"""Caffe's Embed layer with its bias, which Keras's Embedding does not have."""

import keras
from keras import initializers, ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Embedding(keras.layers.Embedding):
    """A vector for each integer of the input, plus one bias for all of them.

    Input of any shape, output the same with the vector as a last axis. Differs from
    keras.layers.Embedding in the bias. Caffe: embed_layer.cpp.

    Args:
        input_dim: how many integers there are, counted from 0.
        output_dim: the size of a vector.
        bias_initializer: of the bias.
    """

    def __init__(self, input_dim, output_dim, bias_initializer="zeros", **kwargs):
        super().__init__(input_dim, output_dim, **kwargs)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape=None):
        super().build(input_shape)
        self.bias = self.add_weight(
            name="bias", shape=(self.output_dim,), initializer=self.bias_initializer
        )

    def call(self, inputs):
        return super().call(inputs) + ops.cast(self.bias, self.compute_dtype)

    def get_config(self):
        bias = initializers.serialize(self.bias_initializer)
        return {**super().get_config(), "bias_initializer": bias}
