"""Caffe's weight fillers that Keras lacks. Caffe: filler.hpp.

keras.initializers.VarianceScaling covers xavier and msra, RandomUniform uniform, and
RandomNormal gaussian without `sparse`.
"""

import math

import keras
import numpy as np
from keras import ops


def _as_tuple(axis):
    return (axis,) if isinstance(axis, int) else tuple(axis)


@keras.saving.register_keras_serializable(package="caffe_runtime")
class PositiveUnitball(keras.initializers.Initializer):
    """Values between 0 and 1 whose sum is 1 for each entry along `axis`.

    Args:
        axis: the weight's axis, or axes, that are the first axis of Caffe's blob: -1
            in the kernels of Dense (in, out), of convolutions (height, width, in,
            out) and of transposed convolutions (height, width, out, in); 0 in an
            Embedding's.
        seed: an integer for reproducible draws.
    """

    def __init__(self, axis=-1, seed=None):
        self.axis = axis
        self.seed = seed

    def __call__(self, shape, dtype=None):
        values = keras.random.uniform(shape, dtype=dtype, seed=self.seed)
        kept = {a % len(shape) for a in _as_tuple(self.axis)}
        others = tuple(a for a in range(len(shape)) if a not in kept)
        if not others:
            return ops.ones_like(values)
        return values / ops.sum(values, axis=others, keepdims=True)

    def get_config(self):
        return {"axis": self.axis, "seed": self.seed}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class SparseGaussian(keras.initializers.Initializer):
    """Normal values of which most are 0: each stays with probability sparse / outputs.

    Args:
        mean, std: of the normal distribution.
        sparse: the mean number of values that stay among as many as there are outputs.
        axis: the weight's axis, or axes, that hold the outputs; see PositiveUnitball.
        seed: an integer for reproducible draws.
    Raises:
        ValueError: if `sparse` exceeds the outputs.
    """

    def __init__(self, mean=0.0, std=1.0, sparse=0, axis=-1, seed=None):
        self.mean = mean
        self.std = std
        self.sparse = sparse
        self.axis = axis
        self.seed = seed

    def __call__(self, shape, dtype=None):
        outputs = math.prod(shape[a] for a in _as_tuple(self.axis))
        if not 0 <= self.sparse <= outputs:
            raise ValueError(
                f"`sparse` must lie between 0 and the {outputs} outputs of a weight of "
                f"shape {tuple(shape)}. Received: {self.sparse}"
            )
        seeds = (self.seed, None if self.seed is None else self.seed + 1)
        values = keras.random.normal(
            shape, self.mean, self.std, dtype=dtype, seed=seeds[0]
        )
        draws = keras.random.uniform(shape, seed=seeds[1])
        return ops.where(draws < self.sparse / outputs, values, 0.0)

    def get_config(self):
        return {
            "mean": self.mean,
            "std": self.std,
            "sparse": self.sparse,
            "axis": self.axis,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Bilinear(keras.initializers.Initializer):
    """Coefficients of bilinear interpolation over the first two axes of a kernel.

    The kernel has rank 4, (height, width, ...), and is square: that of a convolution
    or a transposed one. All its planes are alike.

    Raises:
        ValueError: for another rank, or a kernel that is not square.
    """

    def __call__(self, shape, dtype=None):
        if len(shape) != 4 or shape[0] != shape[1]:
            raise ValueError(
                "Bilinear needs a square kernel (size, size, channels, channels). "
                f"Received shape {tuple(shape)}"
            )
        factor = math.ceil(shape[0] / 2)
        center = (shape[0] - 1) / (2 * factor)
        line = 1 - np.abs(np.arange(shape[0]) / factor - center)
        plane = np.outer(line, line)[:, :, None, None]
        return ops.convert_to_tensor(np.broadcast_to(plane, shape), dtype=dtype)

    def get_config(self):
        return {}
