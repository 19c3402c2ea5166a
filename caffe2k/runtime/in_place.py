"""A run of layers that Caffe computes in one blob, with the gradient that comes of it.

Each layer overwrites the blob that the ones before it look at again in their backward
passes: those then see the last value instead of their own. Caffe: relu_layer.cpp,
sigmoid_layer.cpp, tanh_layer.cpp, power_layer.cpp and dropout_layer.cpp.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class InPlaceRun(keras.layers.Layer):
    """Applies `steps` one after the other; gradients are Caffe's.

    Args:
        steps: (kind, settings) of each layer: ("ReLU", {"negative_slope"}), ("Sigmoid",
            {}), ("TanH", {}), ("Power", {"power", "scale", "shift"}) or ("Dropout",
            {"rate"}).
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
            value = first
            for kind, settings, mask in self._paired(masks):
                value = _FORWARD[kind](value, mask, **settings)

            def gradient(*args, upstream=None):
                if upstream is None:
                    (upstream,) = args
                result = self._backward(first, value, masks, upstream)
                return (result, *(ops.zeros_like(mask) for mask in masks))

            return value, gradient

        return run(inputs, *masks)

    def _paired(self, masks):
        """Each step with its mask, None where it has none."""
        waiting = list(masks)
        for kind, settings in self.steps:
            drops = kind == "Dropout" and waiting
            yield kind, settings, waiting.pop(0) if drops else None

    def _backward(self, first, last, masks, gradient):
        paired = list(self._paired(masks))
        for index in reversed(range(len(paired))):
            kind, settings, mask = paired[index]
            in_place = index > 0 or self.first_in_place
            bottom = last if in_place else first
            gradient = _BACKWARD[kind](
                gradient, bottom, last, mask, in_place, **settings
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


def _relu(x, mask, negative_slope=0.0):
    return ops.where(x > 0, x, negative_slope * x)


def _relu_gradient(gradient, bottom, top, mask, in_place, negative_slope=0.0):
    return ops.where(bottom > 0, gradient, negative_slope * gradient)


def _sigmoid(x, mask):
    return ops.sigmoid(x)


def _sigmoid_gradient(gradient, bottom, top, mask, in_place):
    return gradient * top * (1 - top)


def _tanh(x, mask):
    return ops.tanh(x)


def _tanh_gradient(gradient, bottom, top, mask, in_place):
    return gradient * (1 - top * top)


def _dropout(x, mask, rate):
    return x if mask is None else x * mask


def _dropout_gradient(gradient, bottom, top, mask, in_place, rate):
    return gradient if mask is None else gradient * mask


def _power(x, mask, power=1.0, scale=1.0, shift=0.0):
    base = shift + scale * x
    return base if power == 1 else ops.power(base, power)


def _power_gradient(
    gradient, bottom, top, mask, in_place, power=1.0, scale=1.0, shift=0.0
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


_FORWARD = {
    "ReLU": _relu,
    "Sigmoid": _sigmoid,
    "TanH": _tanh,
    "Dropout": _dropout,
    "Power": _power,
}
_BACKWARD = {
    "ReLU": _relu_gradient,
    "Sigmoid": _sigmoid_gradient,
    "TanH": _tanh_gradient,
    "Dropout": _dropout_gradient,
    "Power": _power_gradient,
}
