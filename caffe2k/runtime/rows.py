"""BatchReindex and Filter: samples chosen by other inputs.

The number of samples changes, so predict() can't check that inputs and outputs have
equally many.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class BatchReindex(keras.layers.Layer):
    """The samples of x that the indices i name, in their order, for the inputs [x, i].

    i has one axis, and no gradient. Caffe: batch_reindex_layer.cpp.
    """

    def __init__(self, **kwargs):
        # Indices must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs):
        x, indices = inputs
        return ops.take(x, ops.cast(indices, "int32"), axis=0)

    def compute_output_spec(self, inputs):
        x, indices = inputs
        return keras.KerasTensor((indices.shape[0], *x.shape[1:]), x.dtype)


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Filter(keras.layers.Layer):
    """The samples of each input for which the last input, the selector, is not 0.

    For the inputs [x, ..., selector] the list of what is left of the others, or that one
    tensor. The selector has no gradient. Caffe: filter_layer.cpp.
    """

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)
        # How many samples are left depends on their values: JAX can't compile that.
        self.supports_jit = False

    def call(self, inputs):
        *blobs, selector = inputs
        (rows,) = ops.nonzero(ops.reshape(ops.stop_gradient(selector), (-1,)))
        kept = [ops.take(x, rows, axis=0) for x in blobs]
        return kept[0] if len(kept) == 1 else kept

    def compute_output_spec(self, inputs):
        kept = [keras.KerasTensor((None, *x.shape[1:]), x.dtype) for x in inputs[:-1]]
        return kept[0] if len(kept) == 1 else kept
