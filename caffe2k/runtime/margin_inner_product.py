"""SphereFace's MarginInnerProduct: angles to class directions, with a margin."""

import math

import keras
from keras import ops

from . import labels as class_labels
from . import per_sample

MARGINS = ("SINGLE", "DOUBLE", "TRIPLE", "QUADRUPLE")


class _Counters:
    """Variables of a layer that are none of its weights: Keras would save them."""

    def __init__(self, variables):
        self.variables = variables


@keras.saving.register_keras_serializable(package="caffe_runtime")
class MarginInnerProduct(keras.layers.Layer):
    """Products of [features, labels] with unit vectors, where the label's angle counts
    `margin` times.

    The margin is mixed in: lambda parts of the plain product to one of it, lambda being
    max(lambda_min, base * (1 + gamma * iteration) ** -power). Iterations are calls, in
    training and in inference on their own; they are not saved.

    Gradients are Caffe's: that of the features has the label's direction scaled to
    length 1, that of the kernel is as if there were neither margin nor lambda nor a
    normalization. Caffe sets the kernel to unit length at each forward pass; here the
    optimizer does it after each update, so that until the first one it may have another
    length. Caffe: wy1iu/sphereface, margin_inner_product_layer.cpp.

    Args:
        units: how many classes.
        margin: one of MARGINS.
        base, gamma, power, lambda_min: as above.
        iteration: how many iterations have been.
        return_lambda: whether lambda, of shape (1,), is a second output.
        kernel_initializer: of the kernel (values, classes).
    Raises:
        ValueError: for an unknown margin.
    """

    def __init__(
        self,
        units,
        margin="SINGLE",
        base=1.0,
        gamma=0.0,
        power=1.0,
        lambda_min=0.0,
        iteration=0,
        return_lambda=False,
        kernel_initializer="zeros",
        **kwargs,
    ):
        # Labels must not be rounded to half precision.
        super().__init__(autocast=False, **kwargs)
        if margin not in MARGINS:
            raise ValueError(f"`margin` must be one of {MARGINS}. Received: {margin}")
        self.units = units
        self.margin = margin
        self.base = base
        self.gamma = gamma
        self.power = power
        self.lambda_min = lambda_min
        self.iteration = iteration
        self.return_lambda = return_lambda
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self._counters = _Counters([])

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(math.prod(input_shape[0][1:]), self.units),
            initializer=self.kernel_initializer,
            constraint=keras.constraints.UnitNorm(axis=0),
            name="kernel",
        )
        self._counters.variables = [
            keras.Variable(
                float(self.iteration), trainable=False, name=f"{phase}_count"
            )
            for phase in ("inference", "training")
        ]

    @property
    def variables(self):
        """The kernel and the counters, which are not in `weights`."""
        return [*super().variables, *self._counters.variables]

    def call(self, inputs, training=None):
        features, wanted = (ops.cast(x, self.variable_dtype) for x in inputs)
        features = per_sample.flat(features)
        mixed = self._next_lambda(self._counters.variables[bool(training)])
        kernel = ops.stop_gradient(ops.convert_to_tensor(self.kernel))
        kernel = kernel / ops.sqrt(ops.sum(ops.square(kernel), axis=0, keepdims=True))
        product = ops.matmul(features, kernel)
        value, source = product, product
        if self.margin != "SINGLE":
            hits = class_labels.one_hot(
                class_labels.align(wanted, product, 1), product, 1
            )
            marked, slope = self._with_margin(features, product)
            value = ops.where(hits, (marked + mixed * product) / (1 + mixed), product)
            source = ops.where(hits, (slope + mixed * product) / (1 + mixed), product)
        source = source + ops.matmul(ops.stop_gradient(features), self.kernel)
        out = per_sample.with_gradient_of(value, source)
        return [out, ops.reshape(mixed, (1,))] if self.return_lambda else out

    def _next_lambda(self, count):
        iteration = count + 1.0
        count.assign(iteration)
        falling = self.base * (1.0 + self.gamma * iteration) ** -self.power
        return ops.stop_gradient(ops.maximum(falling, self.lambda_min))

    def _with_margin(self, features, product):
        """Returns the length times cos(margin * angle), made monotonic, and what has its
        gradient."""
        fixed = ops.stop_gradient(features)
        length = ops.sqrt(ops.sum(ops.square(fixed), axis=1, keepdims=True))
        cosine = ops.stop_gradient(product) / length
        value, along_kernel, along_features = _ANGLES[self.margin](cosine)
        along_features = along_features / length
        norm = ops.sqrt(ops.square(along_kernel) + ops.square(along_features))
        itself = ops.sum(features * fixed, axis=1, keepdims=True)
        slope = (along_kernel * product + along_features * itself) / norm
        return length * value, slope

    def compute_output_shape(self, input_shape):
        out = (input_shape[0][0], self.units)
        return [out, (1,)] if self.return_lambda else out

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "margin": self.margin,
            "base": self.base,
            "gamma": self.gamma,
            "power": self.power,
            "lambda_min": self.lambda_min,
            "iteration": self.iteration,
            "return_lambda": self.return_lambda,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def _double(c):
    sign = ops.sign(c)
    return 2 * sign * c**2 - 1, 4 * sign * c, -(2 * sign * c**2 + 1)


def _triple(c):
    half = ops.sign(ops.abs(c) - 0.5)
    turn = ops.sign(c) * (1 + half) - 2
    return (
        half * (4 * c**3 - 3 * c) + turn,
        half * (12 * c**2 - 3),
        -(8 * half * c**3 - turn),
    )


def _quadruple(c):
    half = ops.sign(c) * ops.sign(2 * c**2 - 1)
    turn = 2 * ops.sign(c) + half - 3
    return (
        half * (8 * c**4 - 8 * c**2 + 1) + turn,
        half * (32 * c**3 - 16 * c),
        -(half * (24 * c**4 - 8 * c**2 - 1) - turn),
    )


_ANGLES = {"DOUBLE": _double, "TRIPLE": _triple, "QUADRUPLE": _quadruple}
