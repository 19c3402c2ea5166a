"""Reads the weights that Keras writes: .h5 by layer name, .weights.h5, and .keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from caffe2k.weights.blob import Blob
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.h5_arrays import (
    HDF5_ERRORS,
    BufferFile,
    corrupt_hdf5,
    member,
    members,
    names,
    read_hdf5_blob,
)
from caffe2k.weights.h5_heaps import check_heaps
from caffe2k.weights.mapping import HDF5_MAGIC, is_archive_with, map_archive, map_file

KerasBlobs = Mapping[str, tuple[Blob, ...]]
"""The weights of Keras layers in their order, by layer name."""

_WEIGHTS_IN_ARCHIVE = "model.weights.h5"
_LAYERS = "layers"
_LISTING = "layer_names"
_WHOLE_MODEL = "model_weights"
"""Where `save("x.h5")` puts what `save_weights` puts at the top."""

_DEEPEST = 16


def is_keras_file(path: Path) -> bool:
    """Whether a file holds Keras weights, and not Caffe's.

    Raises WeightsError if it can't be read.
    """
    if is_archive_with(path, _WEIGHTS_IN_ARCHIVE):
        return True
    if map_file(path)[: len(HDF5_MAGIC)] != HDF5_MAGIC:
        return False
    check_heaps(path)
    try:
        with h5py.File(path, "r") as file:
            of_caffe = {"data", "history"} & set(names(file))
            return bool({_LISTING, f"{_LISTING}0"} & set(file.attrs)) or not of_caffe
    except HDF5_ERRORS as error:
        raise corrupt_hdf5(path, error) from None


def read_keras_file(path: Path) -> KerasBlobs:
    """The weights of every layer, to be loaded when they are asked for.

    Raises WeightsError if the file holds none, or can't be read.
    """
    inside = None
    if is_archive_with(path, _WEIGHTS_IN_ARCHIVE):
        inside = map_archive(path, _WEIGHTS_IN_ARCHIVE)
    check_heaps(path, inside)
    try:
        with h5py.File(path if inside is None else BufferFile(inside), "r") as file:
            found = _Reader(path, inside).layers(file)
    except HDF5_ERRORS as error:
        raise corrupt_hdf5(path, error) from None
    if not found:
        raise WeightsError(
            "keras-no-layers",
            f"`{path}` holds no weights of Keras layers",
            help="give what save_weights() or save() wrote",
        )
    return found


class _Reader:
    """The layers of an HDF5 file, which may be a part of another file."""

    def __init__(self, path: Path, inside: memoryview | None) -> None:
        self._path = path
        self._inside = inside

    def layers(self, file: h5py.File) -> dict[str, tuple[Blob, ...]]:
        """All layers that have weights."""
        top = dict(members(self._path, file))
        is_listing = bool(_names(file, _LISTING))
        listing = file if is_listing else top.get(_WHOLE_MODEL, file)
        listed = _names(listing, _LISTING)
        root = top.get(_LAYERS)
        if listed:
            found = [(name, self._legacy(listing, name)) for name in listed]
        else:
            found = list(self._saved(root, _DEEPEST)) if _is_group(root) else []
        return {name: blobs for name, blobs in found if blobs}

    def _legacy(self, listing: h5py.Group, name: str) -> tuple[Blob, ...]:
        """A layer that the file lists, as `load_weights(by_name=True)` reads it."""
        group = member(self._path, listing, name)
        return tuple(self._blob(group, name) for name in _names(group, "weight_names"))

    def _saved(
        self, group: h5py.Group, deepest: int
    ) -> Iterator[tuple[str, tuple[Blob, ...]]]:
        """Layers below a group as Keras 3 saves them, each called what `vars` says."""
        for name, inner in members(self._path, group):
            if not _is_group(inner) or not deepest:
                continue
            if name == "vars" and "name" in inner.attrs:
                weights = (self._blob(inner, str(i)) for i in range(len(names(inner))))
                yield "".join(_texts(inner, "name")), tuple(weights)
            else:
                yield from self._saved(inner, deepest - 1)

    def _blob(self, group: h5py.Group, name: str) -> Blob:
        dataset = member(self._path, group, name)
        return read_hdf5_blob(self._path, dataset, self._inside)


def _is_group(found: h5py.Group | h5py.Dataset | None) -> bool:
    return isinstance(found, h5py.Group)


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Names in an attribute, or in those called attribute0, attribute1, ..."""
    numbered = (f"{attribute}{number}" for number in range(len(group.attrs)))
    keys = [key for key in (attribute, *numbered) if key in group.attrs]
    return [text for key in keys for text in _texts(group, key)]


def _texts(group: h5py.Group, attribute: str) -> list[str]:
    """The strings in an attribute.

    libhdf5 may crash on what else a damaged file has there. An empty list, which has no
    type, is one of numbers.
    """
    found = group.attrs.get_id(attribute)
    if 0 in found.shape:
        return []
    if h5py.check_string_dtype(found.dtype) is None:
        raise TypeError(f"`{attribute}` of `{group.name}` is no text")
    return [
        text.decode() if isinstance(text, bytes) else str(text)
        for text in np.ravel(group.attrs[attribute])
    ]
