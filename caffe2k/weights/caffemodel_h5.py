"""Reads the .caffemodel.h5 files that Caffe writes with snapshot_format: HDF5."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from caffe2k.weights.blob import MAX_AXES, Blob, CaffeModel, FloatArray, LayerBlobs
from caffe2k.weights.caffemodel import solverstate_given
from caffe2k.weights.errors import WeightsError

_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError)
_MAX_BLOBS = 1000


def read_caffemodel_h5(path: Path) -> CaffeModel:
    """The layers below `data`, each with its blobs as data sets named 0, 1, 2, ...

    A blob that another layer owns is left out by Caffe and None here. Layer types and the
    net's name aren't in the file.

    Raises WeightsError (net.cpp, Net::ToHDF5 and Net::CopyTrainedLayersFromHDF5).
    """
    try:
        with h5py.File(path, "r") as file:
            if "data" not in file and "history" in file:
                raise solverstate_given(path)
            data = file.get("data")
            if not isinstance(data, h5py.Group):
                raise WeightsError(
                    "caffemodel-no-layers",
                    f"`{path}` has no group `data`",
                    help="is it a .caffemodel.h5 that Caffe wrote?",
                )
            layers = tuple(
                _read_layer(path, name, group)
                for name, group in data.items()
                if isinstance(group, h5py.Group)
            )
    except _HDF5_ERRORS as error:
        raise _corrupt(path, error) from None
    return CaffeModel("", layers)


def _read_layer(path: Path, name: str, group: h5py.Group) -> LayerBlobs:
    found = {
        int(key): _read_blob(path, dataset)
        for key, dataset in group.items()
        if key.isdecimal() and isinstance(dataset, h5py.Dataset)
    }
    if any(index >= _MAX_BLOBS for index in found):
        raise WeightsError(
            "file-corrupt",
            f"`{path}` numbers a blob of layer `{name}` {max(found)}",
            help="is it a .caffemodel.h5 that Caffe wrote?",
        )
    blobs = tuple(found.get(index) for index in range(max(found, default=-1) + 1))
    return LayerBlobs(name, "", blobs)


def _read_blob(path: Path, dataset: h5py.Dataset) -> Blob:
    shape = tuple(dataset.shape)
    if dataset.dtype.kind not in "fiu" or len(shape) > MAX_AXES:
        raise WeightsError(
            "file-corrupt",
            f"`{path}`: `{dataset.name}` is not an array of numbers",
            help="is it a .caffemodel.h5 that Caffe wrote?",
        )
    load = partial(_load, path, dataset.name)
    return Blob(shape, math.prod(shape), load=load)


def _load(path: Path, name: str) -> FloatArray:
    try:
        with h5py.File(path, "r") as file:
            return np.asarray(file[name][...], np.float32)
    except _HDF5_ERRORS as error:
        raise _corrupt(path, error) from None


def _corrupt(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        "file-corrupt",
        f"`{path}` is damaged, or not HDF5: {error}",
        help="fetch it again",
    )
