"""Caffe's Reduction and ArgMax, over any axes."""

import keras
from keras import ops

OPERATIONS = ("SUM", "ASUM", "SUMSQ", "MEAN")


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Reduction(keras.layers.Layer):
    """coeff times the sum over `axes`, which disappear.

    If those are all axes, the batch included, the output has the shape (1,) instead of
    (), so that predict() can join those of batches. Caffe: reduction_layer.cpp.

    Args:
        axes: positive axes of the input, 0 being the batch.
        operation: "SUM"; "ASUM" of the absolute values, whose gradient is 0 at 0;
            "SUMSQ" of the squares; or "MEAN".
    Raises:
        ValueError: for another operation.
    """

    def __init__(self, axes, operation="SUM", coeff=1.0, **kwargs):
        super().__init__(**kwargs)
        if operation not in OPERATIONS:
            raise ValueError(
                f"`operation` must be one of {OPERATIONS}. Received: {operation}"
            )
        self.axes = list(axes)
        self.operation = operation
        self.coeff = coeff

    def call(self, inputs):
        if len(self.axes) == len(inputs.shape):
            inputs = ops.reshape(inputs, (1, -1))
            axes = 1
        else:
            axes = tuple(self.axes)
        if self.operation == "MEAN":
            return self.coeff * ops.mean(inputs, axes)
        if self.operation == "ASUM":
            # On JAX the gradient of ops.abs is 1 at 0.
            inputs = inputs * ops.stop_gradient(ops.sign(inputs))
        elif self.operation == "SUMSQ":
            inputs = ops.square(inputs)
        return self.coeff * ops.sum(inputs, axes)

    def compute_output_shape(self, input_shape):
        kept = sorted(set(range(len(input_shape))) - set(self.axes))
        return tuple(input_shape[axis] for axis in kept) or (1,)

    def get_config(self):
        return {
            **super().get_config(),
            "axes": self.axes,
            "operation": self.operation,
            "coeff": self.coeff,
        }


def _largest(x, number):
    """Returns the positions of the `number` largest along the last axis, in order.

    Of equal values the one further behind comes first.
    """
    # Keras puts -0.0 before 0.0.
    x = ops.where(x == 0, ops.zeros_like(x), x)
    if number == 1:
        last = x.shape[-1] - 1
        return last - ops.argmax(ops.flip(x, -1), axis=-1, keepdims=True)
    # A stable rising order, read from its end.
    return ops.flip(ops.argsort(x, axis=-1)[..., -number:], -1)


class _Largest(keras.layers.Layer):
    """Positions, as float32, or values of the `top_k` largest; without a gradient."""

    def __init__(self, top_k=1, out_max_val=False, **kwargs):
        super().__init__(**kwargs)
        self.top_k = top_k
        self.out_max_val = out_max_val

    def compute_output_spec(self, inputs):
        shape = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, self._output_dtype())

    def _output_dtype(self):
        return "float32"

    def get_config(self):
        return {
            **super().get_config(),
            "top_k": self.top_k,
            "out_max_val": self.out_max_val,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ArgMax(_Largest):
    """The positions of the `top_k` largest values along `axis`, largest first.

    With `out_max_val` the values instead. Of equal values the one further behind comes
    first. The output has size `top_k` along `axis`; positions are float32.
    Caffe: argmax_layer.cpp with `axis`.

    Args:
        axis: any axis of known size.
    """

    def __init__(self, axis=-1, top_k=1, out_max_val=False, **kwargs):
        super().__init__(top_k, out_max_val, **kwargs)
        self.axis = axis

    def call(self, inputs):
        x = ops.stop_gradient(ops.moveaxis(inputs, self.axis, -1))
        found = _largest(x, self.top_k)
        if self.out_max_val:
            found = ops.take_along_axis(x, found, axis=-1)
        return ops.cast(ops.moveaxis(found, -1, self.axis), self._output_dtype())

    def _output_dtype(self):
        return self.compute_dtype if self.out_max_val else "float32"

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        shape[self.axis] = self.top_k
        return tuple(shape)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class FlatArgMax(_Largest):
    """The positions of the `top_k` largest values of each sample, of shape (batch, 1, k).

    With `out_max_val` (batch, 2, k): the positions, then the values. Positions count
    through the flattened sample; all is float32, and order is as in ArgMax.
    Caffe: argmax_layer.cpp without `axis`.
    """

    def call(self, inputs):
        x = ops.stop_gradient(ops.reshape(inputs, (ops.shape(inputs)[0], -1)))
        found = _largest(x, self.top_k)
        parts = [ops.cast(found, "float32")]
        if self.out_max_val:
            values = ops.take_along_axis(x, found, axis=-1)
            parts.append(ops.cast(values, "float32"))
        return ops.stack(parts, axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1 + self.out_max_val, self.top_k)
