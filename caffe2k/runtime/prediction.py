"""Images for a net that classifies them, and what it says of them."""

import argparse
import math
import os

import numpy as np

from .datum import DatumError, fields, read_varint
from .images import decode_image, resize_image
from .readers import channels_last


class Preparation:
    """From an image file to a net's input, as data_transformer.cpp does it in TEST.

    The image is resized to `resize` (height, width), without regard to its proportions,
    and cropped in its middle to `shape` (C, H, W); then the mean is subtracted and `scale`
    multiplied. `mean`: None, one value or one a channel, or an array (C, H, W) of the
    size before or after the crop. Colours are BGR. Raises ValueError where the sizes
    don't fit. (python/classify.py; caffe/io.py)
    """

    def __init__(self, shape, resize=None, mean=None, scale=1.0):
        self.shape = tuple(shape)
        self.resize = tuple(resize or shape[1:])
        self.scale = np.float32(scale)
        self.mean = (
            np.zeros(1, "float32") if mean is None else np.asarray(mean, "float32")
        )
        if self.mean.ndim < 3:
            self.mean = self.mean.reshape(-1, 1, 1)
        if any(r < s for r, s in zip(self.resize, self.shape[1:], strict=True)):
            raise ValueError(
                f"{self.resize} is smaller than the input, {self.shape[1:]}"
            )
        fitting = {(1, 1), self.resize, self.shape[1:]}
        if self.mean.shape[0] not in (1, self.shape[0]) or (
            self.mean.shape[1:] not in fitting
        ):
            raise ValueError(
                f"the mean has the shape {self.mean.shape}, an image "
                f"{(self.shape[0], *self.resize)} before the crop, {self.shape} after it"
            )

    def __call__(self, path, oversample=False, data_format="channels_last"):
        """The input for one image file: a batch of one, or of ten with `oversample`.

        Those are the four corners and the middle, and their mirror images.
        """
        with open(path, "rb") as file:
            data = file.read()
        try:
            image = decode_image(data, color=self.shape[0] == 3)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if image.shape[1:] != self.resize:
            image = resize_image(image, *self.resize)
        batch = np.stack([self._crop(image, *at) for at in self._places(oversample)])
        if oversample:
            batch = np.concatenate([batch, batch[..., ::-1]])
        return channels_last(batch) if data_format == "channels_last" else batch

    def _places(self, oversample):
        """Top and left edges of the crops."""
        down, right = (r - s for r, s in zip(self.resize, self.shape[1:], strict=True))
        middle = (down // 2, right // 2)
        if not oversample:
            return [middle]
        return [(0, 0), (0, right), (down, 0), (down, right), middle]

    def _crop(self, image, top, left):
        _, height, width = self.shape
        window = np.s_[:, top : top + height, left : left + width]
        mean = self.mean
        if mean.shape[1:] == self.resize != self.shape[1:]:
            mean = mean[window]
        return (image[window].astype("float32") - mean) * self.scale


def mean_of(text):
    """A mean: the array in a .binaryproto or .npy file, or the numbers in "104,117,123"."""
    if not os.path.exists(text):
        try:
            return np.array([float(part) for part in text.split(",")], "float32")
        except ValueError:
            message = f"{text!r} is neither a file nor numbers like 104,117,123"
            raise argparse.ArgumentTypeError(message) from None
    if text.endswith(".npy"):
        return np.load(text)
    with open(text, "rb") as file:
        array = read_binaryproto(file.read())
    return array[0] if array.ndim == 4 else array


def read_binaryproto(data):
    """The array in the bytes of a BlobProto (caffe.proto), such as a mean image.

    Raises ValueError for anything else.
    """
    sizes, shape, values, double = {}, [], [], []
    try:
        for field, value in fields(data):
            if field <= 4 and isinstance(value, int):
                sizes[field] = value
            elif field == 5:
                values.append(np.frombuffer(value, "<f4"))
            elif field == 8:
                double.append(np.frombuffer(value, "<f8"))
            elif field == 7:
                shape = [n for _, dims in fields(value) for n in _numbers(dims)]
    except DatumError as error:
        raise ValueError(f"not a binaryproto: {error}") from None
    shape = shape or [sizes.get(i, 1) for i in (1, 2, 3, 4)]
    array = np.concatenate([*(double or values), np.empty(0, "float32")])
    if array.size != math.prod(shape) or not array.size:
        raise ValueError(f"a blob of the shape {shape} with {array.size} values")
    return array.astype("float32").reshape(shape)


def _numbers(value):
    """The numbers of a repeated integer field, packed or not."""
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = read_varint(value, at)
        numbers.append(number)
    return numbers


def size_of(text):
    """(height, width) of "256,256" or "256"."""
    try:
        sizes = [int(part) for part in text.split(",")]
        height, width = sizes * 2 if len(sizes) == 1 else sizes
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 256,256") from None
    return height, width


def best(scores, count):
    """The `count` highest of the scores, as (index, score), from the highest on."""
    scores = np.ravel(scores)
    return [
        (int(i), float(scores[i])) for i in np.argsort(-scores, kind="stable")[:count]
    ]


def read_labels(path, classes):
    """The lines of a file such as synset_words.txt: a class each.

    Raises ValueError where there are not so many (examples/cpp_classification).
    """
    with open(path, encoding="utf-8") as file:
        labels = file.read().splitlines()
    if len(labels) != classes:
        raise ValueError(f"{path} names {len(labels)} classes, the net has {classes}")
    return labels
