"""Caffe's Parameter: a learned blob that depends on no input."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Parameter(keras.layers.Layer):
    """Returns its one weight, of the given shape, whatever its input is.

    A Keras model reaches a layer through tensors only, so that it takes one that it does
    not look at. The first size of the weight is no batch: it stays what it is. Caffe
    overwrites the weight's gradient in each backward pass, so that of `iter_size` passes
    the last one counts; here they add up. Caffe: parameter_layer.hpp.

    Args:
        shape: the shape of the weight, and of the output.
        initializer: where it starts; Caffe has zeros.
    """

    def __init__(self, shape, initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.shape = list(shape)
        self.initializer = keras.initializers.get(initializer)

    def build(self, input_shape):
        self.value = self.add_weight(
            shape=self.shape, initializer=self.initializer, name="value"
        )

    def call(self, inputs):
        return ops.convert_to_tensor(self.value)

    def compute_output_shape(self, input_shape):
        return tuple(self.shape)

    def get_config(self):
        return {
            **super().get_config(),
            "shape": self.shape,
            "initializer": keras.initializers.serialize(self.initializer),
        }
