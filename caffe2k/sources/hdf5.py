"""The shapes of the data sets in the HDF5 files of a list."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caffe2k.ir.net import Shape
from caffe2k.sources.errors import SourceError, library, missing, unreadable


def dataset_shapes(root: Path, source: str, tops: Sequence[str]) -> list[Shape]:
    """The shape of a row of each top's data set, from the first file of the list.

    Caffe: hdf5_data_layer.cpp, LoadHDF5FileData. Raises SourceError.
    """
    listing = root / source
    if not os.path.isfile(listing):
        raise missing(source)
    names = listing.read_bytes().split()
    if not names:
        raise SourceError(
            "data-refused",
            f"`{source}` lists no HDF5 files",
            refused=True,
            help="write the name of a file on each line",
        )
    name = os.fsdecode(names[0])
    if not os.path.isfile(root / name):
        raise missing(name, source)
    h5py = library("h5py", name)
    try:
        with h5py.File(root / name) as file:
            shapes = [_dataset_shape(file.get(top), top, name, h5py) for top in tops]
    except OSError as error:
        raise unreadable(name, str(error).replace(str(root / name), name)) from None
    if len({shape[0] for shape in shapes}) > 1:
        raise SourceError(
            "data-refused",
            f"the data sets of `{name}` have different numbers of rows",
            refused=True,
            help="give every data set one row for each sample",
        )
    return [shape[1:] for shape in shapes]


def _dataset_shape(dataset: Any, top: str, name: str, h5py: Any) -> Shape:
    numeric = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind in "fiu"
    if not numeric or not dataset.shape:
        raise SourceError(
            "data-refused",
            f"`{name}` has no array of numbers called `{top}`",
            refused=True,
            help="name the tops of the layer as the data sets are named",
        )
    return tuple(dataset.shape)
