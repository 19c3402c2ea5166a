"""Reads the .solverstate.h5 files that Caffe writes with snapshot_format: HDF5."""

from __future__ import annotations

from pathlib import Path

import h5py

from caffe2k.weights.blob import Blob, SolverState
from caffe2k.weights.errors import not_a_solverstate
from caffe2k.weights.h5_arrays import (
    HDF5_ERRORS,
    corrupt_hdf5,
    member,
    names,
    read_hdf5_blob,
)
from caffe2k.weights.h5_heaps import check_heaps


def read_solverstate_h5(path: Path) -> SolverState:
    """The state of a file with `iter`, `current_step`, `learned_net` and a group `history`.

    Raises WeightsError (sgd_solver.cpp, SGDSolver::RestoreSolverStateFromHDF5).
    """
    check_heaps(path)
    try:
        with h5py.File(path, "r") as file:
            if "iter" not in file or "history" not in file:
                raise not_a_solverstate(path)
            history = member(path, file, "history")
            return SolverState(
                iteration=_number(path, file, "iter"),
                current_step=_number(path, file, "current_step"),
                learned_net=_text(path, file, "learned_net"),
                history=tuple(
                    _blob(path, history, str(i)) for i in range(len(names(history)))
                ),
            )
    except HDF5_ERRORS as error:
        raise corrupt_hdf5(path, error) from None


def _blob(path: Path, group: h5py.Group, name: str) -> Blob:
    return read_hdf5_blob(path, member(path, group, name))


def _number(path: Path, file: h5py.File, name: str) -> int:
    return int(_blob(path, file, name).view().reshape(-1)[0])


def _text(path: Path, file: h5py.File, name: str) -> str:
    """A string of fixed length, as Caffe writes it: others lie elsewhere, in a heap."""
    if name not in file:
        return ""
    dataset = member(path, file, name)
    text = h5py.check_string_dtype(dataset.dtype)
    if text is None or text.length is None:
        raise TypeError(f"`{name}` is no text of Caffe's")
    return str(dataset.asstr(errors="surrogateescape")[()])
