"""StopGradient: blobs through which Caffe sends no gradient back."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class StopGradient(keras.layers.Layer):
    """Returns its input, and gives it no gradient."""

    def call(self, inputs):
        return ops.stop_gradient(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape
