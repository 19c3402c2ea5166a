"""Caffe's layers that cut, reshape or permute whole blobs, the batch axis included.

Keras's Reshape and Permute leave the batch axis alone, and it has no layer that cuts.
"""

import math

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Slice(keras.layers.Layer):
    """Cuts the input along one axis and returns the list of the parts.

    Caffe: slice_layer.cpp.

    Args:
        axis: the axis to cut, which may be 0, the batch.
        points: increasing positions at which parts after the first one start.
    Raises:
        ValueError: if the points are not increasing, or lie outside the input.
    """

    def __init__(self, axis, points, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis
        self.points = [int(p) for p in points]
        bounds = [0, *self.points]
        if any(a >= b for a, b in zip(bounds, self.points, strict=False)):
            raise ValueError(
                f"`points` must be increasing and above 0. Received: {points}"
            )

    def call(self, inputs):
        size = inputs.shape[self.axis]
        if size is not None and self.points and self.points[-1] >= size:
            raise ValueError(
                f"`points` must lie within axis {self.axis} of the input. Received: "
                f"{self.points} for an input of shape {tuple(inputs.shape)}"
            )
        index = [slice(None)] * len(inputs.shape)
        parts = []
        for bounds in zip([None, *self.points], [*self.points, None], strict=True):
            index[self.axis] = slice(*bounds)
            parts.append(inputs[tuple(index)])
        return parts

    def compute_output_shape(self, input_shape):
        starts, ends = [0, *self.points], [*self.points, input_shape[self.axis]]
        shapes = []
        for start, end in zip(starts, ends, strict=True):
            shape = list(input_shape)
            shape[self.axis] = None if end is None else end - start
            shapes.append(tuple(shape))
        return shapes

    def get_config(self):
        return {**super().get_config(), "axis": self.axis, "points": self.points}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class ReshapeAll(keras.layers.Layer):
    """Reshapes the whole input, the batch axis included.

    Differs from keras.layers.Reshape, which keeps the batch axis.
    Caffe: reshape_layer.cpp.

    Args:
        target_shape: a size for each axis of the output; None or 0 copies the size
            of the input's axis at that place, and one -1 takes what is left.
    Raises:
        ValueError: if there are several -1, or an axis to copy is missing.
    """

    def __init__(self, target_shape, **kwargs):
        super().__init__(**kwargs)
        self.target_shape = [None if d == 0 else d for d in target_shape]
        if self.target_shape.count(-1) > 1:
            raise ValueError(
                f"`target_shape` may hold one -1. Received: {tuple(target_shape)}"
            )

    def call(self, inputs):
        return ops.reshape(inputs, self._target(ops.shape(inputs)))

    def _target(self, shape):
        if (
            len(self.target_shape) > len(shape)
            and None in self.target_shape[len(shape) :]
        ):
            raise ValueError(
                f"`target_shape` {tuple(self.target_shape)} copies an axis that an "
                f"input of rank {len(shape)} does not have"
            )
        return [shape[i] if d is None else d for i, d in enumerate(self.target_shape)]

    def compute_output_shape(self, input_shape):
        shape = self._target(input_shape)
        if -1 in shape:
            at = shape.index(-1)
            shape[at] = self._rest(input_shape, shape[:at] + shape[at + 1 :])
        return tuple(shape)

    def _rest(self, input_shape, others):
        """Returns the size that -1 stands for, or None if it is not known."""
        total, divisor = list(input_shape), list(others)
        # An unknown size that is only copied cancels out.
        if total.count(None) == 1 and divisor.count(None) == 1:
            total.remove(None)
            divisor.remove(None)
        if None in total + divisor:
            return None
        return math.prod(total) // max(math.prod(divisor), 1)

    def get_config(self):
        return {**super().get_config(), "target_shape": self.target_shape}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Transpose(keras.layers.Layer):
    """Permutes all axes: axis i of the output is axis perm[i] of the input.

    Differs from keras.layers.Permute, which keeps the batch axis.
    Caffe: the SSD fork's permute_layer.cpp.
    """

    def __init__(self, perm, **kwargs):
        super().__init__(**kwargs)
        self.perm = list(perm)

    def call(self, inputs):
        return ops.transpose(inputs, self.perm)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[axis] for axis in self.perm)

    def get_config(self):
        return {**super().get_config(), "perm": self.perm}
