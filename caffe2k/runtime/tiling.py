"""Caffe's Tile and Crop, along any axes.

keras.layers.Cropping2D and Cropping3D cut borders off images alone.
"""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Tile(keras.layers.Layer):
    """`tiles` copies of the whole input, one behind the other along `axis`.

    Caffe: tile_layer.cpp.
    """

    def __init__(self, axis, tiles, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis
        self.tiles = tiles

    def call(self, inputs):
        return ops.concatenate([inputs] * self.tiles, self.axis)

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        if shape[self.axis] is not None:
            shape[self.axis] *= self.tiles
        return tuple(shape)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis, "tiles": self.tiles}


@keras.saving.register_keras_serializable(package="caffe_runtime")
class Crop(keras.layers.Layer):
    """Cuts a box out of its input: along `axes[i]` from `offsets[i]` on.

    The sizes are `sizes`, or, without them, those of a second input along the same axes;
    that input has no gradient. Caffe: crop_layer.cpp.

    Args:
        axes: axes of the input, 0 being the batch.
        offsets: for each of them the position at which the box starts.
        sizes: for each of them the length of the box.
    Raises:
        ValueError: if these have different lengths.
    """

    def __init__(self, axes, offsets, sizes=None, **kwargs):
        super().__init__(**kwargs)
        self.axes = list(axes)
        self.offsets = list(offsets)
        self.sizes = None if sizes is None else list(sizes)
        if len(self.offsets) != len(self.axes) or (
            sizes is not None and len(self.sizes) != len(self.axes)
        ):
            raise ValueError(
                "`axes`, `offsets` and `sizes` must have equal lengths. Received: "
                f"axes={axes}, offsets={offsets}, sizes={sizes}"
            )

    def call(self, inputs):
        if self.sizes is None:
            inputs, reference = inputs
            shape = ops.shape(reference)
            sizes = [shape[axis] for axis in self.axes]
        else:
            sizes = self.sizes
        index = [slice(None)] * len(inputs.shape)
        for axis, offset, size in zip(self.axes, self.offsets, sizes, strict=True):
            index[axis] = slice(offset, offset + size)
        return inputs[tuple(index)]

    def compute_output_shape(self, input_shape):
        if self.sizes is None:
            input_shape, reference = input_shape
            sizes = [reference[axis] for axis in self.axes]
        else:
            sizes = self.sizes
        shape = list(input_shape)
        for axis, size in zip(self.axes, sizes, strict=True):
            shape[axis] = size
        return tuple(shape)

    def get_config(self):
        return {
            **super().get_config(),
            "axes": self.axes,
            "offsets": self.offsets,
            "sizes": self.sizes,
        }
