"""Reads the weights that Keras writes: .h5 by layer name, .weights.h5, and .keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py

from caffe2k.weights.blob import Blob
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.h5_arrays import (
    HDF5_ERRORS,
    BufferFile,
    corrupt_hdf5,
    members,
    read_hdf5_blob,
)
from caffe2k.weights.mapping import HDF5_MAGIC, is_archive_with, map_archive, map_file

KerasBlobs = Mapping[str, tuple[Blob, ...]]
"""The weights of Keras layers in their order, by layer name."""

_WEIGHTS_IN_ARCHIVE = "model.weights.h5"
_LAYERS = "layers"
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
    try:
        with h5py.File(path, "r") as file:
            of_caffe = {"data", "history"} & set(file)
            return bool(_names(file, "layer_names")) or not of_caffe
    except HDF5_ERRORS as error:
        raise corrupt_hdf5(path, error) from None


def read_keras_file(path: Path) -> KerasBlobs:
    """The weights of every layer, to be loaded when they are asked for.

    Raises WeightsError if the file holds none, or can't be read.
    """
    inside = None
    if is_archive_with(path, _WEIGHTS_IN_ARCHIVE):
        inside = map_archive(path, _WEIGHTS_IN_ARCHIVE)
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
        is_listing = bool(_names(file, "layer_names"))
        listing = file if is_listing else top.get(_WHOLE_MODEL, file)
        names = _names(listing, "layer_names")
        root = top.get(_LAYERS)
        if names:
            found = [(name, self._legacy(listing[name])) for name in names]
        else:
            found = list(self._saved(root, _DEEPEST)) if _is_group(root) else []
        return {name: blobs for name, blobs in found if blobs}

    def _legacy(self, group: h5py.Group) -> tuple[Blob, ...]:
        """A layer that the file lists, as `load_weights(by_name=True)` reads it."""
        return tuple(self._blob(group[name]) for name in _names(group, "weight_names"))

    def _saved(
        self, group: h5py.Group, deepest: int
    ) -> Iterator[tuple[str, tuple[Blob, ...]]]:
        """Layers below a group as Keras 3 saves them, each called what `vars` says."""
        for name, inner in members(self._path, group):
            if not _is_group(inner) or not deepest:
                continue
            if name == "vars" and "name" in inner.attrs:
                weights = (inner[str(i)] for i in range(len(inner)))
                yield str(inner.attrs["name"]), tuple(map(self._blob, weights))
            else:
                yield from self._saved(inner, deepest - 1)

    def _blob(self, dataset: h5py.Dataset) -> Blob:
        return read_hdf5_blob(self._path, dataset, self._inside)


def _is_group(found: h5py.Group | h5py.Dataset | None) -> bool:
    return isinstance(found, h5py.Group)


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Names in an attribute, or in those called attribute0, attribute1, ..."""
    numbered = (f"{attribute}{number}" for number in range(len(group.attrs)))
    keys = [key for key in (attribute, *numbered) if key in group.attrs]
    return [
        name.decode() if isinstance(name, bytes) else str(name)
        for key in keys
        for name in group.attrs[key]
    ]
