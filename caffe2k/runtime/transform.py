"""Caffe's transform_param: crop, mirror, mean and scale of an image."""

import os

import numpy as np

from .images import mirrored


def load_mean(path, named_in):
    """The mean image (C, H, W) in a .npy file, which a net names at `named_in`.

    Raises FileNotFoundError, which says so, where the file is missing.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"no {path}: the mean_file that {named_in} names")
    return np.load(path)


class ShapeError(ValueError):
    """An image that differs in shape from the others of its batch."""


class Transformer:
    """What transform_param asks for, in Caffe's order: crop, mirror, mean, scale.

    phase: "TRAIN" crops at random places, "TEST" in the middle.
    mean: an array of shape (C, H, W), of the size that images have before the crop.
    mean_values: one value for all channels, or one a channel.
    mirror: every second image by chance, in both phases.
    force_color, force_gray: the channels of encoded images.

    Colours are BGR. Raises ValueError where Caffe refuses: mean and mean_values
    together, a crop larger than an image, images of a batch that differ in shape.
    Caffe: data_transformer.cpp.
    """

    def __init__(
        self,
        phase,
        *,
        scale=1.0,
        mean=None,
        mean_values=(),
        crop_size=0,
        mirror=False,
        force_color=False,
        force_gray=False,
    ):
        if mean is not None and len(mean_values):
            raise ValueError("mean_file and mean_value exclude each other")
        self.phase = phase
        self.scale = np.float32(scale)
        self.mean_values = np.array(mean_values, np.float32)
        self.crop_size = crop_size
        self.mirror = mirror
        self.force_color = force_color
        self.force_gray = force_gray
        self._mean = None
        if mean is not None:
            self._mean = np.ascontiguousarray(np.moveaxis(mean, 0, -1), np.float32)

    @property
    def decode_as_color(self):
        """What `decode_image` takes as `color`: True, False, or None for as it is."""
        if self.force_color and self.force_gray:
            raise ValueError("force_color and force_gray exclude each other")
        if self.force_color or self.force_gray:
            return self.force_color
        return None

    def output_shape(self, shape):
        """The shape (C, H, W) that an image of shape `shape` leaves with."""
        channels, height, width = shape
        crop = self.crop_size
        if min(height, width) < crop:
            raise ValueError(
                f"crop_size {crop} is larger than an image of {height} x {width}"
            )
        if self._mean is not None and self._mean.shape != (height, width, channels):
            mean = tuple(np.moveaxis(self._mean, -1, 0).shape)
            raise ValueError(f"the mean has shape {mean}, the image {tuple(shape)}")
        if self.mean_values.size not in (0, 1, channels):
            raise ValueError(
                f"{self.mean_values.size} mean_value for {channels} channels: "
                "give one, or one a channel"
            )
        return (channels, crop or height, crop or width)

    def draw(self, rng, count):
        """What `into` takes as `chance`, for each image of a batch.

        Whether it is mirrored, and how far down and right the crop lies: from 0 to 1 of
        the way, or None for the middle.
        """
        flips = rng.integers(2, size=count) if self.mirror else np.zeros(count, int)
        if self.crop_size and self.phase == "TRAIN":
            places = rng.random((count, 2)).tolist()
        else:
            places = [(None, None)] * count
        return list(zip(flips.tolist(), places, strict=True))

    def into(self, target, image, chance):
        """Writes an image (C, H, W) to `target`, a float32 array (H, W, C)."""
        flip, (down, right) = chance
        height, width, channels = target.shape
        if self.output_shape(image.shape) != (channels, height, width):
            raise ShapeError(
                f"an image of shape {image.shape} in a batch of "
                f"{(channels, height, width)}"
            )
        top = _edge(image.shape[1] - height, down)
        left = _edge(image.shape[2] - width, right)
        window = np.s_[top : top + height, left : left + width]
        pixels = image.transpose(1, 2, 0)[window]
        if self._mean is not None:
            np.subtract(pixels, self._mean[window], out=target)
            if flip:
                target[:] = mirrored(target)
        else:
            target[:] = mirrored(pixels) if flip else pixels
        if self.mean_values.size:
            target -= self._mean_row(width, channels)
        if self.scale != 1:
            target *= self.scale

    def _mean_row(self, width, channels):
        """The mean values of a row of pixels: NumPy is slow where the last axis is short."""
        return np.broadcast_to(self.mean_values, (width, channels)).copy()


def _edge(spare, place):
    return spare // 2 if place is None else int(place * (spare + 1))
