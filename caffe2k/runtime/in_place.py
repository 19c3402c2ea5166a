"""A run of layers that Caffe computes in one blob, with the gradient that comes of it.

Each layer overwrites the blob that the ones before it look at again in their backward
passes: those then see the last value instead of their own. Caffe: relu_layer.cpp,
sigmoid_layer.cpp, tanh_layer.cpp, power_layer.cpp, dropout_layer.cpp, bnll_layer.cpp,
clip_layer.cpp, elu_layer.cpp, exp_layer.cpp, log_layer.cpp and swish_layer.cpp;
relu6_layer.cpp of eric612/MobileNet-YOLO.
"""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class InPlaceRun(keras.layers.Layer):
    """Applies `steps` one after the other; gradients are Caffe's.

    Args:
        steps: (kind, settings) of each layer: a Caffe type, and the arguments of its
            Keras layer by name. The types are ReLU, Sigmoid, TanH, Power, Dropout, BNLL,
            Clip, ELU, Exp, Log, Swish and ReLU6.
        first_in_place: whether the first layer, too, overwrites what it reads.
    """

    def __init__(self, steps, first_in_place=True, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.steps = [(kind, dict(settings)) for kind, settings in steps]
        self.first_in_place = first_in_place
        self.seed = seed
        if any(kind == "Dropout" for kind, _ in self.steps):
            self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs, training=False):
        masks = [
            self._mask(inputs, settings["rate"])
            for kind, settings in self.steps
            if kind == "Dropout" and training
        ]
        return self._run(inputs, *masks)

    def _mask(self, inputs, rate):
        drawn = keras.random.uniform(ops.shape(inputs), seed=self.seed_generator)
        return ops.cast(drawn >= rate, inputs.dtype) / (1 - rate)

    def _run(self, inputs, *masks):
        @ops.custom_gradient
        def run(first, *masks):
            value, kept = first, []
            for kind, settings, mask in self._paired(masks):
                kept.append(_kept(kind, settings, value, mask))
                value = _FORWARD[kind](value, kept[-1], **settings)

            def gradient(*args, upstream=None):
                if upstream is None:
                    (upstream,) = args
                result = self._backward(first, value, kept, upstream)
                return (result, *(ops.zeros_like(mask) for mask in masks))

            return value, gradient

        return run(inputs, *masks)

    def _paired(self, masks):
        """Each step with its mask, None where it has none."""
        waiting = list(masks)
        for kind, settings in self.steps:
            drops = kind == "Dropout" and waiting
            yield kind, settings, waiting.pop(0) if drops else None

    def _backward(self, first, last, kept, gradient):
        for index in reversed(range(len(self.steps))):
            kind, settings = self.steps[index]
            in_place = index > 0 or self.first_in_place
            bottom = last if in_place else first
            gradient = _BACKWARD[kind](
                gradient, bottom, last, kept[index], in_place, **settings
            )
        return gradient

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "steps": self.steps,
            "first_in_place": self.first_in_place,
            "seed": self.seed,
        }


def _kept(kind, settings, x, mask):
    """What a layer keeps for its backward pass outside of the blob."""
    return ops.sigmoid(settings.get("beta", 1.0) * x) if kind == "Swish" else mask


def _relu(x, kept, negative_slope=0.0):
    return ops.where(x > 0, x, negative_slope * x)


def _relu_gradient(gradient, bottom, top, kept, in_place, negative_slope=0.0):
    return ops.where(bottom > 0, gradient, negative_slope * gradient)


def _sigmoid(x, kept):
    return ops.sigmoid(x)


def _sigmoid_gradient(gradient, bottom, top, kept, in_place):
    return gradient * top * (1 - top)


def _tanh(x, kept):
    return ops.tanh(x)


def _tanh_gradient(gradient, bottom, top, kept, in_place):
    return gradient * (1 - top * top)


def _dropout(x, kept, rate):
    return x if kept is None else x * kept


def _dropout_gradient(gradient, bottom, top, kept, in_place, rate):
    return gradient if kept is None else gradient * kept


def _power(x, kept, power=1.0, scale=1.0, shift=0.0):
    base = shift + scale * x
    return base if power == 1 else ops.power(base, power)


def _power_gradient(
    gradient, bottom, top, kept, in_place, power=1.0, scale=1.0, shift=0.0
):
    """In place, the factor is written over the gradient that it is to multiply."""
    if power * scale == 0:
        return ops.zeros_like(gradient)
    if power == 1:
        factor = ops.full_like(gradient, scale)
    elif power == 2:
        factor = 2 * scale * (scale * bottom + shift)
    else:
        factor = power * scale * top / (scale * bottom + shift)
    return factor * (factor if in_place else gradient)


def _bnll(x, kept):
    return ops.softplus(x)


def _bnll_gradient(gradient, bottom, top, kept, in_place):
    return gradient * ops.sigmoid(bottom)


def _clip(x, kept, min, max):
    return ops.maximum(ops.minimum(x, max), min)


def _clip_gradient(gradient, bottom, top, kept, in_place, min, max):
    inside = ops.logical_and(bottom >= min, bottom <= max)
    return ops.where(inside, gradient, ops.zeros_like(gradient))


def _elu(x, kept, alpha=1.0, scale=1.0):
    return scale * ops.where(x > 0, x, alpha * (ops.exp(ops.minimum(x, 0.0)) - 1.0))


def _elu_gradient(gradient, bottom, top, kept, in_place, alpha=1.0, scale=1.0):
    return scale * gradient * ops.where(bottom > 0, ops.ones_like(top), alpha + top)


def _exp(x, kept, base=None, scale=1.0, shift=0.0):
    return ops.exp(_log_base(base) * (shift + scale * x))


def _exp_gradient(
    gradient, bottom, top, kept, in_place, base=None, scale=1.0, shift=0.0
):
    return gradient * top * (_log_base(base) * scale)


def _log(x, kept, base=None, scale=1.0, shift=0.0):
    return ops.log(shift + scale * x) / _log_base(base)


def _log_gradient(
    gradient, bottom, top, kept, in_place, base=None, scale=1.0, shift=0.0
):
    """As in Power, the factor is written over the gradient that it is to multiply."""
    factor = scale / _log_base(base) / (shift + scale * bottom)
    return factor * (factor if in_place else gradient)


def _log_base(base):
    return 1.0 if base is None else math.log(base)


def _swish(x, kept, beta=1.0):
    return x * kept


def _swish_gradient(gradient, bottom, top, kept, in_place, beta=1.0):
    return gradient * (beta * top + kept * (1 - beta * top))


def _relu6(x, kept, negative_slope=0.0):
    return ops.minimum(_relu(x, kept, negative_slope), 6.0)


def _relu6_gradient(gradient, bottom, top, kept, in_place, negative_slope=0.0):
    below = ops.where(bottom < 6, gradient, ops.zeros_like(gradient))
    return _relu_gradient(below, bottom, top, kept, in_place, negative_slope)


_FORWARD = {
    "ReLU": _relu,
    "Sigmoid": _sigmoid,
    "TanH": _tanh,
    "Dropout": _dropout,
    "Power": _power,
    "BNLL": _bnll,
    "Clip": _clip,
    "ELU": _elu,
    "Exp": _exp,
    "Log": _log,
    "Swish": _swish,
    "ReLU6": _relu6,
}
_BACKWARD = {
    "ReLU": _relu_gradient,
    "Sigmoid": _sigmoid_gradient,
    "TanH": _tanh_gradient,
    "Dropout": _dropout_gradient,
    "Power": _power_gradient,
    "BNLL": _bnll_gradient,
    "Clip": _clip_gradient,
    "ELU": _elu_gradient,
    "Exp": _exp_gradient,
    "Log": _log_gradient,
    "Swish": _swish_gradient,
    "ReLU6": _relu6_gradient,
}
