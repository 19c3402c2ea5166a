"""Caffe's HDF5Data layer: rows of the HDF5 files that a text file lists."""

import os
import threading
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from .readers import locate
from .reading import Reader


class HDF5Reader(Reader):
    """Endless batches of rows, through all files and round again.

    source: a text file that lists HDF5 files; relative names are looked up in `root`.
    batch_size: the rows of a batch; it may begin in one file and end in the next.
    tops: the data sets to read, all with the same number of rows.
    shuffle: a new order of the files in each round, and of the rows of each file.

    Batches are dicts: top -> float32 array of shape (batch_size, ...), in the axis order
    of the file. Two files at most are held in memory. Raises FileNotFoundError at once
    for a file that is missing, and ValueError for one that does not hold the data sets.
    Caffe: hdf5_data_layer.cpp.
    """

    def __init__(self, source, batch_size, tops, shuffle=False, root="."):
        self.batch_size = batch_size
        self.tops = tuple(tops)
        self.shuffle = shuffle
        self.files = [
            locate(root, os.fsdecode(name), f"{source}:{number}")
            for number, line in enumerate(Path(source).read_bytes().splitlines(), 1)
            for name in line.split()
        ]
        if not self.files:
            raise ValueError(f"{source} lists no HDF5 files")
        shapes = [self._shapes(path) for path in self.files]
        for path, other in zip(self.files, shapes, strict=True):
            self._check_rows(path, other, shapes[0])
        self._counts = np.array([shape[0][0] for shape in shapes])
        self._lock = threading.Lock()
        self._load = lru_cache(maxsize=2)(self._load_file)

    def round(self):
        return tuple(self._counts.tolist())

    def batch(self, number, reading):
        positions = np.array(reading.positions(number, self.batch_size))
        shuffle = self.shuffle or reading.shuffle
        turns, places = np.divmod(positions, self._counts.sum())
        parts = [
            part
            for turn in np.unique(turns)
            for part in self._rows(turn, places[turns == turn], reading, shuffle)
        ]
        blobs = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        return dict(zip(self.tops, blobs, strict=True))

    def _rows(self, turn, places, reading, shuffle):
        """The arrays of some rows of a round, file by file."""
        number = len(self.files)
        files = reading.file_order(turn, number) if shuffle else np.arange(number)
        ends = np.cumsum(self._counts[files])
        which = np.searchsorted(ends, places, "right")
        for i in np.unique(which):
            file = files[i]
            rows = places[which == i] - (ends[i] - self._counts[file])
            if shuffle:
                rows = reading.order(turn, self._counts[file], file)[rows]
            with self._lock:
                arrays = self._load(file)
            yield [array[rows] for array in arrays]

    def _load_file(self, file):
        with _opened(self.files[file]) as opened:
            return [opened[top][()].astype(np.float32, copy=False) for top in self.tops]

    def _shapes(self, path):
        with _opened(path) as file:
            shapes = [_dataset(file, top).shape for top in self.tops]
        counts = {top: shape[0] for top, shape in zip(self.tops, shapes, strict=True)}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{path}: the numbers of rows differ: {counts}")
        if not shapes[0][0]:
            raise ValueError(f"{path} holds no rows")
        return shapes

    def _check_rows(self, path, shapes, expected):
        for top, shape, first in zip(self.tops, shapes, expected, strict=True):
            if shape[1:] != first[1:]:
                raise ValueError(
                    f"{path}: rows of {top!r} have shape {shape[1:]}, "
                    f"in the first file {first[1:]}"
                )


@contextmanager
def _opened(path):
    try:
        with h5py.File(path) as file:
            yield file
    except OSError as error:
        raise ValueError(f"{path} cannot be read as HDF5: {error}") from error


def _dataset(file, top):
    dataset = file.get(top)
    numeric = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind in "fiu"
    if not numeric or not dataset.shape:
        raise ValueError(
            f"{file.filename} has no array of numbers {top!r}: it has {[*file]}"
        )
    return dataset
