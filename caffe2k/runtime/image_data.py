"""Caffe's ImageData layer: image files that a text file lists with their labels."""

import os
import re
from pathlib import Path

from .images import decode_image, resize_image
from .labelled_images import LabelledImages
from .reading import Cycle
from .transform import Transformer


class ImageListReader(LabelledImages):
    """Endless batches of the images of a list, through the list and round again.

    source: a text file with a file name and a label in each line.
    root_folder: is put before each name as it is; what then is relative is looked up in
        the folder `root`.
    new_height, new_width: the size that images are brought to before they are cropped;
        both or none.
    is_color: True for three channels (BGR), False for one.
    shuffle: a new order in each round. rand_skip: begin at a random place before it.
    transform: a `Transformer`.

    Raises ValueError at once where the list is empty or the first image cannot be read.
    Of several ranks, each reads its own share; Caffe's layer reads all in each.
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
        self.rand_skip = rand_skip
        self.root = root
        self.items = Cycle(_read_list(Path(source)))

    def first(self, reading):
        first = reading.start(self.rand_skip) if self.rand_skip else 0
        if first >= len(self.items):
            raise ValueError(
                f"{self.source}: {len(self.items)} images, too few to skip {first}"
            )
        return first

    def read(self, record):
        name, label, _ = record
        path = Path(self.root, self.root_folder + name)
        image = decode_image(read_file(path), self.is_color)
        return resize_image(image, *self.size) if self.size else image, label

    def name(self, record):
        name, _, line = record
        return f"{self.source}:{line}, image {name!r}"


def read_file(path):
    """The bytes of a file; FileNotFoundError says what was tried, and no more."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path.resolve()}") from None


def _read_list(source):
    """The name, the label and the line's number of each image."""
    lines = source.read_bytes().removesuffix(b"\n").split(b"\n")
    if lines == [b""]:
        raise ValueError(f"{source} lists no images")
    return [(*_name_and_label(line), i) for i, line in enumerate(lines, 1)]


def _name_and_label(line):
    """What stands before and after the last blank."""
    name, blank, label = line.rpartition(b" ")
    number = re.match(rb"\s*([+-]?\d+)", label)
    return os.fsdecode(name if blank else label), int(number[1]) if number else 0
