"""Caffe's neurons that Keras lacks, or has with other gradients at their corners."""

import math

import keras
from keras import ops


class _Neuron(keras.layers.Layer):
    """A function of each value by itself; `settings` names its numbers."""

    settings = ()

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        numbers = {name: getattr(self, name) for name in self.settings}
        return {**super().get_config(), **numbers}


def _along(x, value, slope):
    """Returns `value`, with the gradient `slope` towards x instead of its own."""
    slope = ops.stop_gradient(ops.convert_to_tensor(slope, x.dtype))
    return ops.stop_gradient(value) + slope * (x - ops.stop_gradient(x))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class AbsVal(_Neuron):
    """The absolute value, with a gradient of 0 at 0, which JAX has not.

    Caffe: absval_layer.cpp.
    """

    def call(self, inputs):
        return inputs * ops.stop_gradient(ops.sign(inputs))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Clip(_Neuron):
    """The value within [min, max], whose gradient passes on both bounds, too.

    Caffe: clip_layer.cpp.
    """

    settings = ("min", "max")

    def __init__(self, min, max, **kwargs):
        super().__init__(**kwargs)
        self.min = min
        self.max = max

    def call(self, inputs):
        inside = ops.logical_and(inputs >= self.min, inputs <= self.max)
        clipped = ops.maximum(ops.minimum(inputs, self.max), self.min)
        return ops.where(inside, inputs, ops.stop_gradient(clipped))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ELU(_Neuron):
    """scale * x where x is positive, else scale * alpha * (exp(x) - 1).

    keras.layers.ELU computes the same where `scale` is 1. Elsewhere the gradient of the
    lower branch is scale * (alpha + output), which is not the derivative: so it is in
    NVIDIA/caffe, elu_layer.cpp, where `scale` is called lambda.
    """

    settings = ("alpha", "scale")

    def __init__(self, alpha=1.0, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.alpha = alpha
        self.scale = scale

    def call(self, inputs):
        below = self.scale * self.alpha * (ops.exp(ops.minimum(inputs, 0.0)) - 1.0)
        slope = self.scale * (self.alpha + below)
        return ops.where(inputs > 0, self.scale * inputs, _along(inputs, below, slope))


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Exp(_Neuron):
    """base ** (shift + scale * x). Caffe: exp_layer.cpp.

    Args:
        base: a positive number, or None for e.
    """

    settings = ("base", "scale", "shift")

    def __init__(self, base=None, scale=1.0, shift=0.0, **kwargs):
        super().__init__(**kwargs)
        self.base = base
        self.scale = scale
        self.shift = shift
        log_base = 1.0 if base is None else math.log(base)
        self.inner = log_base * scale
        self.outer = math.exp(log_base * shift)

    def call(self, inputs):
        return self.outer * ops.exp(self.inner * inputs)


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Log(_Neuron):
    """The logarithm of shift + scale * x. Caffe: log_layer.cpp.

    Args:
        base: a positive number other than 1, or None for e.
    """

    settings = ("base", "scale", "shift")

    def __init__(self, base=None, scale=1.0, shift=0.0, **kwargs):
        super().__init__(**kwargs)
        self.base = base
        self.scale = scale
        self.shift = shift
        self.log_base = 1.0 if base is None else math.log(base)

    def call(self, inputs):
        return ops.log(self.shift + self.scale * inputs) / self.log_base


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Swish(_Neuron):
    """x * sigmoid(beta * x). Caffe: swish_layer.cpp."""

    settings = ("beta",)

    def __init__(self, beta, **kwargs):
        super().__init__(**kwargs)
        self.beta = beta

    def call(self, inputs):
        return inputs * ops.sigmoid(self.beta * inputs)


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Threshold(_Neuron):
    """1 where x is above the threshold, else 0; without a gradient.

    Caffe: threshold_layer.cpp.
    """

    settings = ("threshold",)

    def __init__(self, threshold=0.0, **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold

    def call(self, inputs):
        return ops.cast(inputs > self.threshold, inputs.dtype)


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ReLU6(_Neuron):
    """x where x is positive, else negative_slope * x; at most 6.

    Differs from keras.layers.ReLU with a `max_value` in its gradient: `negative_slope`
    at 0 and nothing from 6 on, on every backend.
    Caffe: relu6_layer.cpp of eric612/MobileNet-YOLO.
    """

    settings = ("negative_slope",)

    def __init__(self, negative_slope=0.0, **kwargs):
        super().__init__(**kwargs)
        self.negative_slope = negative_slope

    def call(self, inputs):
        # Under a negative slope values below 0 may be cut, but keep their gradient.
        lower = self.negative_slope * inputs
        if self.negative_slope < 0:
            lower = _along(inputs, ops.minimum(lower, 6.0), self.negative_slope)
        return ops.where(
            inputs > 0, ops.where(inputs < 6, inputs, ops.full_like(inputs, 6)), lower
        )


@keras.saving.register_keras_serializable(package="caffe_runtime")
class CReLU(keras.layers.Layer):
    """The ReLU of x and the ReLU of -x, one behind the other along `axis`.

    Caffe: crelu_layer.cpp of Cambricon's fork, which has no backward pass; the gradient
    is that of relu_layer.cpp.
    """

    def __init__(self, axis=-1, negative_slope=0.0, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis
        self.negative_slope = negative_slope

    def call(self, inputs):
        return ops.concatenate([self._relu(inputs), self._relu(-inputs)], self.axis)

    def _relu(self, x):
        return ops.where(x > 0, x, self.negative_slope * x)

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        if shape[self.axis] is not None:
            shape[self.axis] *= 2
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "axis": self.axis,
            "negative_slope": self.negative_slope,
        }
