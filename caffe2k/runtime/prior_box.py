"""PriorBox: the boxes that a detector's predictions start from."""

import math

import keras
import numpy as np
from keras import ops


def _sized(min_size, max_size, ratios):
    """Yields the (width, height) of each box of a cell, as pixels.

    Caffe cuts the fractions of the sizes off.
    """
    for i, size in enumerate(map(int, min_size)):
        yield size, size
        if max_size:
            yield (math.sqrt(size * int(max_size[i])),) * 2
        for ratio in ratios:
            root = math.sqrt(np.float32(ratio))
            yield size * root, size / root


def _all_ratios(aspect_ratio, flip):
    """Returns the ratios but 1, each once, each before its inverse."""
    found = [1.0]
    for ratio in aspect_ratio:
        if all(abs(np.float32(ratio) - known) >= 1e-6 for known in found):
            found += [np.float32(ratio), np.float32(1 / ratio)][: 1 + flip]
    return [ratio for ratio in found if abs(ratio - 1) >= 1e-6]


@keras.saving.register_keras_serializable(package="caffe_runtime")
class PriorBox(keras.layers.Layer):
    """Boxes of given sizes and ratios around every cell of a feature map.

    Takes [features, image] and returns (1, 2, cells * boxes * 4): first the boxes as
    (xmin, ymin, xmax, ymax) in parts of the image, row by row, then as many variances.
    Only the heights and widths of the inputs matter, which have no gradient.
    SSD's Caffe: prior_box_layer.cpp.

    Args:
        min_size: side of a square box in pixels; one or several.
        max_size: where given, one for each min_size: another square box has the
            geometric mean of both as its side.
        aspect_ratio: width over height of further boxes of min_size's area.
        flip: whether 1 / aspect_ratio counts too.
        clip: whether boxes end at the image's border.
        variance: one for all, or four for the coordinates of each box.
        image_size: (height, width) in pixels; None for the image's own.
        step: (vertical, horizontal) pixels from cell to cell; None for the image's size
            divided by the number of cells.
        offset: of a box's centre in its cell.
        data_format: of the inputs.
    Raises:
        ValueError: if the inputs' sizes are not known.
    """

    def __init__(
        self,
        min_size,
        max_size=(),
        aspect_ratio=(),
        flip=True,
        clip=False,
        variance=(0.1,),
        image_size=None,
        step=None,
        offset=0.5,
        data_format=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.min_size = list(min_size)
        self.max_size = list(max_size)
        self.aspect_ratio = list(aspect_ratio)
        self.flip = flip
        self.clip = clip
        self.variance = list(variance)
        self.image_size = image_size and list(image_size)
        self.step = step and list(step)
        self.offset = offset
        self.data_format = data_format or keras.config.image_data_format()
        ratios = _all_ratios(self.aspect_ratio, self.flip)
        self.sizes = list(_sized(self.min_size, self.max_size, ratios))

    def call(self, inputs):
        features, image = inputs
        return ops.convert_to_tensor(self._values(features.shape, image.shape))

    def _plane(self, shape):
        """Returns (height, width); a blob without these axes has 1 there."""
        height, width = (
            *(shape[2:] if self.data_format == "channels_first" else shape[1:-1]),
            1,
            1,
        )[:2]
        if None in (height, width):
            raise ValueError(f"Height and width must be known. Received: {shape}")
        return height, width

    def _values(self, features, image):
        cells = self._plane(features)
        extent = self.image_size or self._plane(image)
        step = self.step or np.divide(extent, cells, dtype="float32")
        rows, columns = (
            (np.arange(number, dtype="float32") + np.float32(self.offset))
            * np.float32(pixels)
            for number, pixels in zip(cells, step, strict=True)
        )
        centers = np.stack(np.meshgrid(columns, rows), axis=-1)[:, :, None]
        centers, half = centers.astype("float64"), np.float32(self.sizes) / 2.0
        boxes = np.concatenate([centers - half, centers + half], axis=-1)
        boxes = (boxes / [*extent[::-1], *extent[::-1]]).astype("float32")
        if self.clip:
            boxes = np.clip(boxes, 0, 1)
        variances = np.broadcast_to(np.array(self.variance, "float32"), boxes.shape)
        return np.stack([boxes.reshape(-1), variances.reshape(-1)])[None]

    def compute_output_spec(self, inputs):
        height, width = self._plane(inputs[0].shape)
        values = height * width * len(self.sizes) * 4
        return keras.KerasTensor((1, 2, values), "float32")

    def get_config(self):
        return {
            **super().get_config(),
            "min_size": self.min_size,
            "max_size": self.max_size,
            "aspect_ratio": self.aspect_ratio,
            "flip": self.flip,
            "clip": self.clip,
            "variance": self.variance,
            "image_size": self.image_size,
            "step": self.step,
            "offset": self.offset,
            "data_format": self.data_format,
        }
