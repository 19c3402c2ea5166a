"""Caffe's HDF5Data layer: rows of the HDF5 files that a text file lists."""

import os
from pathlib import Path

import h5py
import numpy as np

from .readers import locate


class HDF5Reader:
    """Endless batches of rows, through all files and round again.

    source: a text file that lists HDF5 files; relative names are looked up in `root`.
    batch_size: the rows of a batch; it may begin in one file and end in the next.
    tops: the data sets to read, all with the same number of rows.
    shuffle: a new order of the files in each round, and of the rows of each file.
    rng: the numpy.random.Generator of the shuffling.

    Iterating gives dicts: top -> float32 array of shape (batch_size, ...), in the axis
    order of the file. Raises FileNotFoundError at once for a file that is missing, and
    ValueError where a file does not hold the data sets: the first file at once, the
    others when their turn comes.
    Caffe: hdf5_data_layer.cpp.
    """

    def __init__(self, source, batch_size, tops, shuffle=False, root=".", rng=None):
        self.batch_size = batch_size
        self.tops = tuple(tops)
        self.shuffle = shuffle
        self.rng = np.random.default_rng() if rng is None else rng
        self.files = [
            locate(root, os.fsdecode(name), f"{source}:{number}")
            for number, line in enumerate(Path(source).read_bytes().splitlines(), 1)
            for name in line.split()
        ]
        if not self.files:
            raise ValueError(f"{source} lists no HDF5 files")
        self.row_shapes = [array.shape[1:] for array in self._load(self.files[0])]

    def __iter__(self):
        passes = self._passes()
        arrays, order = next(passes)
        while True:
            parts, missing = [], self.batch_size
            while missing:
                if not len(order):
                    arrays, order = next(passes)
                rows, order = order[:missing], order[missing:]
                parts.append([array[rows] for array in arrays])
                missing -= len(rows)
            blobs = [np.concatenate(part) for part in zip(*parts, strict=True)]
            yield dict(zip(self.tops, blobs, strict=True))

    def _passes(self):
        """The arrays of one file after the other and the order to take their rows in."""
        only = self._load(self.files[0]) if len(self.files) == 1 else None
        while True:
            for index in self._order(len(self.files)):
                arrays = only or self._load_like_first(self.files[index])
                yield arrays, self._order(len(arrays[0]))

    def _order(self, count):
        return self.rng.permutation(count) if self.shuffle else np.arange(count)

    def _load_like_first(self, path):
        arrays = self._load(path)
        for top, array, shape in zip(self.tops, arrays, self.row_shapes, strict=True):
            if array.shape[1:] != shape:
                raise ValueError(
                    f"{path}: rows of {top!r} have shape {array.shape[1:]}, "
                    f"in the first file {shape}"
                )
        return arrays

    def _load(self, path):
        with h5py.File(path) as file:
            arrays = [_read(file, top) for top in self.tops]
        counts = {top: len(array) for top, array in zip(self.tops, arrays, strict=True)}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{path}: the numbers of rows differ: {counts}")
        if not arrays[0].size:
            raise ValueError(f"{path} holds no rows")
        return arrays


def _read(file, top):
    dataset = file.get(top)
    numeric = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind in "fiu"
    if not numeric or not dataset.shape:
        raise ValueError(
            f"{file.filename} has no array of numbers {top!r}: it has {[*file]}"
        )
    return dataset[()].astype(np.float32, copy=False)
