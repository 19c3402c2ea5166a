"""What the readers of labelled images share: records, one after the other, to a batch."""

import threading

import numpy as np

from .reading import Reader
from .transform import ShapeError


class RecordError(ValueError):
    """A record that cannot be read, or does not fit its batch; the message names it."""


class Listed:
    """Records in their order, and round again; listed as far as is needed.

    source: what holds them. Raises ValueError where there is none.
    """

    _CHUNK = 1024

    def __init__(self, source):
        self._source = source
        self._known = []
        self._complete = False
        self._lock = threading.Lock()

    def more(self, last, count):
        """Up to `count` records behind `last`, or from the first on for None."""
        raise NotImplementedError

    def __getitem__(self, position):
        if position >= len(self._known):
            self._list(position + 1)
        return self._known[position % len(self._known)]

    def __len__(self):
        self._list(float("inf"))
        return len(self._known)

    def _list(self, wanted):
        with self._lock:
            while not self._complete and len(self._known) < wanted:
                last = self._known[-1] if self._known else None
                chunk = self.more(last, self._CHUNK)
                self._known += chunk
                self._complete = len(chunk) < self._CHUNK
        if not self._known:
            raise ValueError(f"{self._source} holds no records")


class LabelledImages(Reader):
    """Batches of transformed images and their labels.

    Batches are dicts: `tops[0]` -> float32 images (N, C, H, W), and where there is a
    second top its float32 labels (N,). In memory the channels lie last. A batch has the
    shape of its first image.

    A reader gives `items`, a sequence of records that begins again after its end, a
    `transform` as the class Transformer, and the two methods below.
    """

    shuffle = False
    _shape = None

    def read(self, record):
        """The image (C, H, W) and the label of a record; ValueError if it has none."""
        raise NotImplementedError

    def name(self, record):
        """The record in words, for messages."""
        raise NotImplementedError

    def output_shape(self, image):
        """The shape (C, H, W) that an image leaves with."""
        return self.transform.output_shape(image.shape)

    def check(self, reading):
        self._shape = self._first_shape(reading)

    def first(self, reading):
        """How many records are passed over before the first batch."""
        return 0

    def pick(self, number, reading, rng):
        """The records of a batch."""
        start = self.first(reading)
        return reading.pick(self.items, number, self.batch_size, self.shuffle, start)

    def batch(self, number, reading):
        rng = reading.draws(number)
        records = self.pick(number, reading, rng)
        chances = self.transform.draw(rng, len(records))
        pixels = None if reading.bad is None else self._empty(self._shape)
        labels = np.empty(len(records), np.float32)
        good, bad = [], []
        for i, record in enumerate(records):
            try:
                image, labels[i] = self.read(record)
                if pixels is None:
                    pixels = self._empty(self.output_shape(image))
                self.transform.into(pixels[i], image, chances[i])
                good.append(i)
            except (ValueError, OSError) as error:
                self._tolerate(record, self._explained(error, pixels, records), reading)
                bad.append(i)
        if bad:
            _replace(bad, good, pixels, labels)
        values = (np.moveaxis(pixels, -1, 1), labels)
        return dict(zip(self.tops, values, strict=False))

    def _empty(self, shape):
        channels, height, width = shape
        return np.empty((self.batch_size, height, width, channels), np.float32)

    def _explained(self, error, pixels, records):
        """The error; of an image beside one of a rare shape, it names that one too."""
        if not isinstance(error, ShapeError) or pixels.shape[1:3] == self._shape[1:]:
            return error
        return f"{error}, which {self.name(records[0])} begins"

    def _tolerate(self, record, error, reading):
        name = self.name(record)
        if reading.bad is None:
            raise RecordError(f"{name}: {error}")
        reading.bad.add(name)

    def _first_shape(self, reading):
        """The shape that the first record leaves with, of those that can be read."""
        start = self.first(reading)
        for position in range(start, start + self.batch_size):
            record = self.items[position]
            try:
                return self.output_shape(self.read(record)[0])
            except (ValueError, OSError) as error:
                self._tolerate(record, error, reading)
                last = f"{self.name(record)}: {error}"
        raise RecordError(f"none of the first batch can be read; {last}")


def _replace(bad, good, *arrays):
    """Puts in the place of each bad record the next good one of the batch."""
    if not good:
        raise RecordError(f"none of the {len(bad)} records of a batch can be read")
    for i in bad:
        after = min(good, key=lambda j: (j - i) % (len(bad) + len(good)))
        for array in arrays:
            array[i] = array[after]
