"""Caffe's Embed layer with its bias, which Keras's Embedding does not have."""

import keras
from keras import initializers, ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Embedding(keras.layers.Layer):
    """A vector for each integer of the input, plus one bias for all of them.

    Input of any shape, output the same with the vector as a last axis. Differs from
    keras.layers.Embedding in the bias. Caffe: embed_layer.cpp.

    Args:
        input_dim: how many integers there are, counted from 0.
        output_dim: the size of a vector.
        embeddings_initializer: of the vectors.
        bias_initializer: of the bias.
    """

    def __init__(
        self,
        input_dim,
        output_dim,
        embeddings_initializer="uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        # Integers must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)
        self.input_dim = input_dim
        self.output_dim = output_dim
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.input_dim, self.output_dim),
            initializer=self.embeddings_initializer,
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.output_dim,), initializer=self.bias_initializer
        )

    def call(self, inputs):
        rows = ops.take(self.embeddings, ops.cast(inputs, "int32"), axis=0)
        return ops.cast(rows + self.bias, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.output_dim)

    def get_config(self):
        vectors = initializers.serialize(self.embeddings_initializer)
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": vectors,
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }
