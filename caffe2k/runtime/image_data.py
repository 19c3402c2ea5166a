"""Caffe's ImageData layer: image files that a text file lists with their labels."""

import os
import re
from pathlib import Path

import numpy as np

from .images import decode_image, resize_image
from .transform import Transformer, labelled_batches


class ImageListReader:
    """Endless batches of the images of a list, through the list and round again.

    source: a text file with a file name and a label in each line.
    root_folder: is put before each name as it is; what then is relative is looked up in
        the folder `root`.
    new_height, new_width: the size that images are brought to before they are cropped;
        both or none.
    is_color: True for three channels (BGR), False for one.
    shuffle: a new order in each round. rand_skip: begin at a random place before it.
    transform: a `Transformer`; rng: the numpy.random.Generator of shuffle and rand_skip.

    Iterating gives dicts: `tops[0]` -> float32 images (N, C, H, W), `tops[1]` ->
    float32 labels (N,). Without a crop or a new size, the batch has the size of its
    first image. Raises ValueError at once where the first image cannot be read.
    Caffe: image_data_layer.cpp.
    """

    def __init__(
        self,
        source,
        batch_size,
        tops,
        transform=None,
        *,
        root_folder="",
        new_height=0,
        new_width=0,
        is_color=True,
        shuffle=False,
        rand_skip=0,
        root=".",
        rng=None,
    ):
        if bool(new_height) != bool(new_width):
            raise ValueError("set new_height and new_width together")
        self.source = source
        self.batch_size = batch_size
        self.tops = tuple(tops)
        self.transform = transform or Transformer("TEST")
        self.root_folder = root_folder
        self.size = (new_height, new_width) if new_height else None
        self.is_color = is_color
        self.shuffle = shuffle
        self.root = root
        self.rng = np.random.default_rng() if rng is None else rng
        self.lines = _read_list(Path(source))
        self.first = self.rng.integers(rand_skip) if rand_skip else 0
        if self.first >= len(self.lines):
            raise ValueError(
                f"{source}: {len(self.lines)} images, too few to skip {self.first}"
            )
        self.transform.output_shape(self._image(self.lines[0][0]).shape)

    def __iter__(self):
        images = self._images()
        return labelled_batches(images, self.batch_size, self.tops, self.transform)

    def _images(self):
        first = self.first
        while True:
            count = len(self.lines)
            order = self.rng.permutation(count) if self.shuffle else range(count)
            for index in order[first:]:
                name, label = self.lines[index]
                yield self._image(name), label
            first = 0

    def _image(self, name):
        path = Path(self.root, self.root_folder + name)
        try:
            image = decode_image(path.read_bytes(), self.is_color)
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.source} names {name!r}: {error}") from error
        return resize_image(image, *self.size) if self.size else image


def _read_list(source):
    """Names and labels: what stands before and after the last blank of each line."""
    lines = source.read_bytes().removesuffix(b"\n").split(b"\n")
    if lines == [b""]:
        raise ValueError(f"{source} lists no images")
    return [_name_and_label(line) for line in lines]


def _name_and_label(line):
    name, blank, label = line.rpartition(b" ")
    number = re.match(rb"\s*([+-]?\d+)", label)
    return os.fsdecode(name if blank else label), int(number[1]) if number else 0
