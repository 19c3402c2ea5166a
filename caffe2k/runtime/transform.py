"""Caffe's transform_param: crop, mirror, mean and scale of a batch of images."""

import os
from itertools import islice

import numpy as np


def load_mean(path, named_in):
    """The mean image (C, H, W) in a .npy file, which a net names at `named_in`.

    Raises FileNotFoundError, which says so, where the file is missing.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"no {path}: the mean_file that {named_in} names")
    return np.load(path)


class Transformer:
    """What transform_param asks for, in Caffe's order: crop, mirror, mean, scale.

    phase: "TRAIN" crops at random places, "TEST" in the middle.
    mean: an array of shape (C, H, W), of the size that images have before the crop.
    mean_values: one value for all channels, or one a channel.
    mirror: every second image by chance, in both phases.
    force_color, force_gray: the channels of encoded images.
    rng: the numpy.random.Generator that crops and mirrors are drawn from.

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
        rng=None,
    ):
        if mean is not None and len(mean_values):
            raise ValueError("mean_file and mean_value exclude each other")
        self.phase = phase
        self.scale = np.float32(scale)
        self.mean = None if mean is None else np.asarray(mean, np.float32)
        self.mean_values = np.array(mean_values, np.float32)
        self.crop_size = crop_size
        self.mirror = mirror
        self.force_color = force_color
        self.force_gray = force_gray
        self.rng = np.random.default_rng() if rng is None else rng

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
        if self.mean is not None and self.mean.shape != tuple(shape):
            raise ValueError(
                f"the mean has shape {self.mean.shape}, the image {tuple(shape)}"
            )
        if self.mean_values.size not in (0, 1, channels):
            raise ValueError(
                f"{self.mean_values.size} mean_value for {channels} channels: "
                "give one, or one a channel"
            )
        return (channels, crop or height, crop or width)

    def __call__(self, images):
        """Images of shape (C, H, W) to a float32 batch of shape (N, C, H, W)."""
        shape = self.output_shape(images[0].shape)
        for image in images:
            if (
                image.shape != images[0].shape
                and self.output_shape(image.shape) != shape
            ):
                raise ValueError(
                    f"an image of shape {image.shape} in a batch of {images[0].shape}"
                )
        flips, tops, lefts = self._draw(images)
        batch = np.empty((len(images), *shape), np.float32)
        _, height, width = shape
        for image, flip, top, left, target in zip(
            images, flips, tops, lefts, batch, strict=True
        ):
            window = np.s_[:, top : top + height, left : left + width]
            if self.mean is None:
                pixels = image[window]
            else:
                pixels = image[window] - self.mean[window]
            target[:] = pixels[:, :, ::-1] if flip else pixels
        if self.mean_values.size:
            batch -= self.mean_values[:, None, None]
        if self.scale != 1:
            batch *= self.scale
        return batch

    def _draw(self, images):
        """For each image: is it mirrored, and the top and left edge of its crop."""
        count = len(images)
        if self.mirror:
            flips = self.rng.integers(2, size=count).tolist()
        else:
            flips = [0] * count
        if not self.crop_size:
            return flips, [0] * count, [0] * count
        spare = np.array([image.shape[1:] for image in images]) - self.crop_size
        random = self.phase == "TRAIN"
        edges = self.rng.integers(spare + 1) if random else spare // 2
        return flips, edges[:, 0].tolist(), edges[:, 1].tolist()


def labelled_batches(images, batch_size, tops, transform):
    """Endless dicts of a transformed batch and its labels, from (image, label) pairs.

    `tops[0]` -> float32 (N, C, H, W); where there is a `tops[1]`, it gets the labels,
    float32 (N,).
    """
    while True:
        batch, labels = zip(*islice(images, batch_size), strict=True)
        values = (transform(batch), np.array(labels, np.float32))
        yield dict(zip(tops, values, strict=False))
