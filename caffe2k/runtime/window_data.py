"""Caffe's WindowData layer: windows of images, objects and background, for R-CNN."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .image_data import read_file
from .images import decode_image, mirrored, resize_image
from .labelled_images import LabelledImages
from .reading import Cycle

_float = np.float32


@dataclass(frozen=True)
class Window:
    """A box (x1, y1, x2, y2), its edges included, in the image file `path`."""

    path: str
    label: int
    box: tuple[int, int, int, int]


class WindowWarp:
    """Cuts a window out of an image, warps it to a square, and subtracts the mean.

    crop_size: the edge of the square. mirror: every second window by chance.
    mean: an array of shape (C, H, W), whose middle is subtracted. mean_values: one value
    for all channels, or one a channel. scale: WindowDataParameter's own.
    context_pad: so much of the square lies around the window; crop_mode: "square" takes
    the tightest square around the window, anything else the window as it is.

    Where a window with its context leaves the image, zeros remain.
    """

    def __init__(
        self,
        crop_size,
        *,
        mirror=False,
        mean=None,
        mean_values=(),
        scale=1.0,
        context_pad=0,
        crop_mode="warp",
    ):
        if crop_size <= 2 * context_pad:
            raise ValueError(
                f"a crop_size of {crop_size} has no room for a context of {context_pad}"
            )
        if mean is not None and len(mean_values):
            raise ValueError("mean_file and mean_value exclude each other")
        if len(mean_values) not in (0, 1, 3):
            raise ValueError(f"{len(mean_values)} mean_value for 3 channels")
        self.crop_size = crop_size
        self.mirror = mirror
        self.scale = _float(scale)
        self.context_pad = context_pad
        self.square = crop_mode == "square"
        self._mean = np.array(mean_values or 0, _float)
        if mean is not None:
            self._mean = self._middle(np.moveaxis(mean, 0, -1).astype(_float))

    def draw(self, rng, count):
        """Whether each window of a batch is mirrored."""
        return rng.integers(2, size=count) if self.mirror else [0] * count

    def into(self, target, image, flip):
        """Writes a window, (image (C, H, W), box), to `target`, an array (H, W, C)."""
        pixels, box = image
        target[:] = 0
        part, (height, width), top, left = self._place(box, pixels.shape[1:], flip)
        x1, y1, x2, y2 = part
        if not (0 <= x1 <= x2 < pixels.shape[2] and 0 <= y1 <= y2 < pixels.shape[1]):
            raise ValueError(
                f"it is not within the image of {pixels.shape[1]} x {pixels.shape[2]}"
            )
        if min(height, width) < 1:
            raise ValueError("nothing is left of it in the image")
        window = pixels[:, y1 : y2 + 1, x1 : x2 + 1]
        warped = resize_image(window, height, width).transpose(1, 2, 0)
        place = np.s_[top : top + height, left : left + width]
        mean = self._mean[place] if self._mean.ndim == 3 else self._mean
        values = np.float32(mirrored(warped) if flip else warped)
        target[place] = (values - mean) * self.scale

    def _place(self, box, image_size, flip):
        """The part of the image to take, its new (height, width), and where it goes."""
        size = self.crop_size
        if not (self.context_pad or self.square):
            return box, (size, size), 0, 0
        x1, y1, x2, y2 = self._with_context(box)
        unclipped = (y2 - y1 + 1, x2 - x1 + 1)
        before = (max(0, -y1), max(0, -x1))
        after = (max(0, y2 - image_size[0] + 1), max(0, x2 - image_size[1] + 1))
        part = (x1 + before[1], y1 + before[0], x2 - after[1], y2 - after[0])
        clipped = (part[3] - part[1] + 1, part[2] - part[0] + 1)
        scales = [_float(size) / _float(length) for length in unclipped]
        height, width = (
            _round(_float(n) * s) for n, s in zip(clipped, scales, strict=True)
        )
        top = _round(_float(before[0]) * scales[0])
        left = _round(_float((after if flip else before)[1]) * scales[1])
        return part, (min(height, size - top), min(width, size - left)), top, left

    def _with_context(self, box):
        """The box around `box` that leaves context_pad on each side when it is warped."""
        x1, y1, x2, y2 = box
        size = self.crop_size
        grown = _float(size) / _float(size - 2 * self.context_pad)
        half_height = _float((y2 - y1 + 1) / 2)
        half_width = _float((x2 - x1 + 1) / 2)
        x, y = _float(x1) + half_width, _float(y1) + half_height
        if self.square:
            half_height = half_width = max(half_height, half_width)
        return (
            _round(x - half_width * grown),
            _round(y - half_height * grown),
            _round(x + half_width * grown),
            _round(y + half_height * grown),
        )

    def _middle(self, mean):
        """The part of the mean under the square: both ways by the mean's width."""
        first = (mean.shape[1] - self.crop_size) // 2
        middle = mean[first : first + self.crop_size, first : first + self.crop_size]
        if first < 0 or middle.shape != (self.crop_size, self.crop_size, 3):
            shape = tuple(np.moveaxis(mean, -1, 0).shape)
            raise ValueError(
                f"a mean of shape {shape} does not hold a square of {self.crop_size}"
            )
        return middle


class WindowReader(LabelledImages):
    """Endless batches of windows by chance: background first, then objects.

    source: the window file. For each image it has `# index`, the file's name, channels,
        height, width, the number of windows, and for each window its class, overlap,
        x1, y1, x2 and y2.
    root_folder: is put before each name as it is; what then is relative is looked up in
        the folder `root`.
    fg_threshold, bg_threshold: windows that overlap at least so much are objects, those
        that overlap less are background; others are left out.
    fg_fraction: the part of a batch that are objects.
    cache_images: keeps the image files in memory.
    transform: a `WindowWarp`, which brings each window to one size.

    Raises ValueError where the file is not a window file, or has no object or no
    background.
    Caffe: window_data_layer.cpp.
    """

    def __init__(
        self,
        source,
        batch_size,
        tops,
        transform,
        *,
        fg_threshold=0.5,
        bg_threshold=0.5,
        fg_fraction=0.25,
        root_folder="",
        cache_images=False,
        root=".",
    ):
        self.source = source
        self.batch_size = batch_size
        self.tops = tuple(tops)
        self.transform = transform
        self.root_folder = root_folder
        self.root = root
        self._cache = {} if cache_images else None
        self._objects, self._background = _read_windows(
            Path(source), _float(fg_threshold), _float(bg_threshold)
        )
        self._number = int(_float(batch_size) * _float(fg_fraction))
        self.items = Cycle(self._objects)

    def round(self):
        return None

    def output_shape(self, image):
        return (3, self.transform.crop_size, self.transform.crop_size)

    def pick(self, number, reading, rng):
        background = self.batch_size - self._number
        kinds = [(self._background, background), (self._objects, self._number)]
        return [
            windows[i]
            for windows, count in kinds
            for i in rng.integers(len(windows), size=count)
        ]

    def read(self, window):
        return (decode_image(self._file(window.path), True), window.box), window.label

    def name(self, window):
        return f"{self.source}, window {window.box} of {window.path!r}"

    def _file(self, name):
        path = Path(self.root, self.root_folder + name)
        if self._cache is None:
            return read_file(path)
        if name not in self._cache:
            self._cache[name] = read_file(path)
        return self._cache[name]


def _round(value):
    """C's round: halves go away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))


def _read_windows(source, fg_threshold, bg_threshold):
    """The windows of objects and of background in a window file.

    Caffe: window_data_layer.cpp, DataLayerSetUp.
    """
    words = iter(source.read_text(errors="surrogateescape").split())
    paths, windows = [], []
    try:
        for mark in words:
            index = _image(mark, words, paths)
            windows += [_window(words, index) for _ in range(int(next(words)))]
    except (StopIteration, ValueError) as error:
        raise ValueError(
            f"{source} is not a window file: after {len(paths)} images, "
            f"{str(error) or 'it ends'}"
        ) from None
    objects, background = [], []
    for index, label, overlap, box in windows:
        if not 0 <= index < len(paths):
            raise ValueError(
                f"{source} has {len(paths)} images, and none of number {index}"
            )
        path = paths[index]
        if overlap >= fg_threshold:
            objects.append(Window(path, label, box))
        elif overlap < bg_threshold:
            background.append(Window(path, 0, box))
    if any(window.label < 1 for window in objects):
        raise ValueError(f"{source}: an object has a class below 1")
    if not (objects and background):
        raise ValueError(
            f"{source} has {len(objects)} windows of objects and {len(background)} "
            "of background: each is needed"
        )
    return objects, background


def _image(mark, words, paths):
    """Reads the head of an image up to its size; its name goes to `paths`."""
    if mark != "#":
        raise ValueError(f"an image begins with '#', not {mark!r}")
    index = int(next(words))
    paths.append(next(words))
    for _ in range(3):
        int(next(words))
    return index


def _window(words, index):
    label, overlap = int(next(words)), _float(next(words))
    box = tuple(int(next(words)) for _ in range(4))
    return index, label, overlap, box
