"""Caffe's layers that work on each value, with Caffe's rules where values tie or are 0.

Keras has no weighted sum, no power, and no scale or shift along chosen axes. Its
Maximum, PReLU and ReLU with a slope give other gradients at ties and at 0.
"""

import keras
import numpy as np
from keras import initializers, ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class WeightedSum(keras.layers.Layer):
    """The sum of the inputs, each times its coefficient.

    keras.layers.Add computes the same where all coefficients are 1.
    Caffe: eltwise_layer.cpp, SUM with coeff.

    Args:
        coeffs: one number for each input; the inputs have equal shapes.
    Raises:
        ValueError: if the numbers of inputs and coefficients differ.
    """

    def __init__(self, coeffs, **kwargs):
        super().__init__(**kwargs)
        self.coeffs = [float(c) for c in coeffs]

    def call(self, inputs):
        if len(inputs) != len(self.coeffs):
            raise ValueError(
                f"Expected {len(self.coeffs)} inputs, one for each coefficient. "
                f"Received {len(inputs)}"
            )
        return sum(c * x for c, x in zip(self.coeffs, inputs, strict=True))

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "coeffs": self.coeffs}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Maximum(keras.layers.Layer):
    """The largest of the inputs, value by value; the inputs have equal shapes.

    Differs from keras.layers.Maximum in the gradient at ties: it goes to one input.
    Of the first two that is the second; a later one must be larger to get it.
    Caffe: eltwise_layer.cpp, MAX (its CPU version).
    """

    def call(self, inputs):
        first, second, *others = inputs
        top = ops.where(first > second, first, second)
        for x in others:
            top = ops.where(x > top, x, top)
        return top

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Power(keras.layers.Layer):
    """(shift + scale * x) ** power.

    Where the result cannot depend on x (power or scale is 0), x is not looked at and
    its gradient is 0. Where the base is 0, Caffe's gradient of most powers is 0 / 0;
    here it is the derivative. Caffe: power_layer.cpp.
    """

    def __init__(self, power=1.0, scale=1.0, shift=0.0, **kwargs):
        super().__init__(**kwargs)
        self.power = float(power)
        self.scale = float(scale)
        self.shift = float(shift)

    def call(self, inputs):
        if self.power * self.scale == 0:
            # This keeps x connected: a gradient of 0 is not the same to an optimizer
            # (weight decay, momentum) as none.
            unused = ops.zeros_like(inputs, dtype="bool")
            return ops.where(unused, inputs, self._constant())
        base = inputs if self.scale == 1 else self.scale * inputs
        if self.shift != 0:
            base = base + self.shift
        if self.power == 1:
            return base
        if self.power == 2:
            return ops.square(base)
        return ops.power(base, self.power)

    def _constant(self):
        with np.errstate(all="ignore"):
            return float(np.power(np.float64(self.shift), self.power))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "power": self.power,
            "scale": self.scale,
            "shift": self.shift,
        }


def _where_positive(x, otherwise):
    return ops.where(x > 0, x, otherwise)


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ReLU(keras.layers.Layer):
    """x where x is positive, else negative_slope * x.

    Differs from keras.layers.ReLU and LeakyReLU in the gradient at 0 on JAX: it is
    `negative_slope` on every backend. Caffe: relu_layer.cpp.
    """

    def __init__(self, negative_slope=0.0, **kwargs):
        super().__init__(**kwargs)
        self.negative_slope = negative_slope

    def call(self, inputs):
        return _where_positive(inputs, self.negative_slope * inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "negative_slope": self.negative_slope}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class PReLU(keras.layers.PReLU):
    """x where x is positive, else alpha * x with a learned alpha.

    Differs from keras.layers.PReLU in the gradient at 0 (alpha; Keras has 0) and in
    where alpha starts (0.25). Caffe: prelu_layer.cpp.

    Args:
        shared_axes: the axes along which alpha has size 1, without the batch axis.
        alpha_initializer: where alpha starts; None means 0.25.
    """

    def __init__(self, shared_axes=None, alpha_initializer=None, **kwargs):
        if alpha_initializer is None:
            alpha_initializer = initializers.Constant(0.25)
        super().__init__(alpha_initializer, shared_axes=shared_axes, **kwargs)

    def call(self, inputs):
        return _where_positive(inputs, self.alpha * inputs)


def _aligned_weight(layer, name, input_shape, initializer):
    """Adds a weight with the input's sizes along `axes`; raises ValueError for None."""
    axes = layer.axes
    if list(axes) != sorted(set(axes)) or not all(
        0 <= a < len(input_shape) for a in axes
    ):
        raise ValueError(
            f"`axes` must be increasing positive axes of the input. Received: {axes} "
            f"for an input of shape {tuple(input_shape)}"
        )
    shape = [input_shape[a] for a in axes]
    if axes[:1] == [0] and layer.batch_size is not None:
        shape[0] = layer.batch_size
    if None in shape:
        raise ValueError(
            f"The input must have known sizes along the axes {axes}. "
            f"Received an input of shape {tuple(input_shape)}"
        )
    return layer.add_weight(shape=shape, initializer=initializer, name=name)


def _spread(value, axes, rank):
    """Lays the i-th axis of `value` along `axes[i]`, with 1 along all other axes."""
    value = ops.convert_to_tensor(value)
    order = sorted(range(len(axes)), key=lambda i: axes[i])
    if order != list(range(len(axes))):
        value = ops.transpose(value, order)
    for axis in range(rank):
        if axis not in axes:
            value = ops.expand_dims(value, axis)
    return value


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Scale(keras.layers.Layer):
    """Multiplies by a learned scale, and adds a learned bias if `use_bias`.

    The weights `scale` and `bias` have the input's sizes along `axes`.
    Caffe: scale_layer.cpp with one bottom.

    Args:
        axes: increasing axes of the input, 0 being the batch; [] for one number.
        use_bias: whether to add a bias of the same shape (Caffe's bias_term).
        batch_size: the size of each batch, where `axes` has the batch.
    Raises:
        ValueError: if a size along `axes` is not known.
    """

    def __init__(
        self,
        axes,
        use_bias=False,
        scale_initializer="ones",
        bias_initializer="zeros",
        batch_size=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.axes = list(axes)
        self.batch_size = batch_size
        self.use_bias = use_bias
        self.scale_initializer = initializers.get(scale_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape):
        self.scale = _aligned_weight(self, "scale", input_shape, self.scale_initializer)
        if self.use_bias:
            self.bias = _aligned_weight(
                self, "bias", input_shape, self.bias_initializer
            )

    def call(self, inputs):
        rank = len(inputs.shape)
        outputs = inputs * _spread(self.scale, self.axes, rank)
        if self.use_bias:
            outputs = outputs + _spread(self.bias, self.axes, rank)
        return outputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "axes": self.axes,
            "use_bias": self.use_bias,
            "scale_initializer": initializers.serialize(self.scale_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "batch_size": self.batch_size,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Bias(keras.layers.Layer):
    """Adds a learned bias with the input's sizes along `axes`.

    Caffe: bias_layer.cpp with one bottom.

    Args:
        axes: increasing axes of the input, 0 being the batch; [] for one number.
        batch_size: the size of each batch, where `axes` has the batch.
    Raises:
        ValueError: if a size along `axes` is not known.
    """

    def __init__(self, axes, bias_initializer="zeros", batch_size=None, **kwargs):
        super().__init__(**kwargs)
        self.axes = list(axes)
        self.batch_size = batch_size
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape):
        self.bias = _aligned_weight(self, "bias", input_shape, self.bias_initializer)

    def call(self, inputs):
        return inputs + _spread(self.bias, self.axes, len(inputs.shape))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "axes": self.axes,
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "batch_size": self.batch_size,
        }


class _ByInput(keras.layers.Layer):
    """Two inputs [x, s]: the i-th axis of s lies along the axis `axes[i]` of x."""

    def __init__(self, axes, **kwargs):
        super().__init__(**kwargs)
        self.axes = list(axes)

    def _aligned(self, inputs):
        x, s = inputs
        if not self.axes:
            # One number, which a loss repeats for each sample.
            return x, ops.mean(s)
        rank = len(x.shape)
        if (
            len(s.shape) != len(self.axes)
            or len(set(self.axes)) != len(self.axes)
            or not all(0 <= a < rank for a in self.axes)
            or any(
                None not in (a, b) and a != b
                for a, b in zip(s.shape, [x.shape[a] for a in self.axes], strict=True)
            )
        ):
            raise ValueError(
                f"The second input must have the first one's sizes along the axes "
                f"{self.axes}. Received inputs of shapes {tuple(x.shape)} and "
                f"{tuple(s.shape)}"
            )
        return x, _spread(s, self.axes, rank)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "axes": self.axes}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ScaleBy(_ByInput):
    """Multiplies x by s, for the inputs [x, s].

    Caffe: scale_layer.cpp with two bottoms.

    Args:
        axes: for each axis of s the axis of x that it lies along, 0 being the batch.
    Raises:
        ValueError: if the sizes of s and x along these axes differ.
    """

    def call(self, inputs):
        x, s = self._aligned(inputs)
        return x * s


@keras.saving.register_keras_serializable(package="caffe_runtime")
class BiasBy(_ByInput):
    """Adds s to x, for the inputs [x, s].

    Caffe: bias_layer.cpp with two bottoms.

    Args:
        axes: for each axis of s the axis of x that it lies along, 0 being the batch.
    Raises:
        ValueError: if the sizes of s and x along these axes differ.
    """

    def call(self, inputs):
        x, s = self._aligned(inputs)
        return x + s
