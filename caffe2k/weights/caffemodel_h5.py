"""Reads the .caffemodel.h5 files that Caffe writes with snapshot_format: HDF5."""

from __future__ import annotations

from pathlib import Path

import h5py

from caffe2k.weights.blob import CaffeModel, LayerBlobs
from caffe2k.weights.errors import WeightsError, solverstate_given
from caffe2k.weights.h5_arrays import HDF5_ERRORS, corrupt_hdf5, members, read_hdf5_blob
from caffe2k.weights.h5_heaps import check_heaps

_MAX_BLOBS = 1000


def read_caffemodel_h5(path: Path) -> CaffeModel:
    """The layers below `data`, each with its blobs as data sets named 0, 1, 2, ...

    A blob that another layer owns is left out by Caffe and None here, or a link to the
    other's. Layer types and the net's name aren't in the file.

    Raises WeightsError (net.cpp, Net::ToHDF5 and Net::CopyTrainedLayersFromHDF5).
    """
    check_heaps(path)
    try:
        with h5py.File(path, "r") as file:
            found = dict(members(path, file))
            if "data" not in found and "history" in found:
                raise solverstate_given(path)
            data = found.get("data")
            if not isinstance(data, h5py.Group):
                raise WeightsError(
                    "caffemodel-no-layers",
                    f"`{path}` has no group `data`",
                    help="is it a .caffemodel.h5 that Caffe wrote?",
                )
            layers = tuple(
                _read_layer(path, name, group)
                for name, group in members(path, data)
                if isinstance(group, h5py.Group)
            )
    except HDF5_ERRORS as error:
        raise corrupt_hdf5(path, error) from None
    return CaffeModel("", layers)


def _read_layer(path: Path, name: str, group: h5py.Group) -> LayerBlobs:
    found = {
        int(key): read_hdf5_blob(path, dataset)
        for key, dataset in members(path, group)
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
