"""Reads the .solverstate.h5 files that Caffe writes with snapshot_format: HDF5."""

from __future__ import annotations

from pathlib import Path

import h5py

from caffe2k.weights.blob import SolverState
from caffe2k.weights.errors import not_a_solverstate
from caffe2k.weights.h5_arrays import HDF5_ERRORS, corrupt_hdf5, read_hdf5_blob


def read_solverstate_h5(path: Path) -> SolverState:
    """The state of a file with `iter`, `current_step`, `learned_net` and a group `history`.

    Raises WeightsError (sgd_solver.cpp, SGDSolver::RestoreSolverStateFromHDF5).
    """
    try:
        with h5py.File(path, "r") as file:
            history = file.get("history")
            if "iter" not in file or not isinstance(history, h5py.Group):
                raise not_a_solverstate(path)
            return SolverState(
                iteration=_number(file, "iter"),
                current_step=_number(file, "current_step"),
                learned_net=_text(file, "learned_net"),
                history=tuple(
                    read_hdf5_blob(path, history[str(i)]) for i in range(len(history))
                ),
            )
    except HDF5_ERRORS as error:
        raise corrupt_hdf5(path, error) from None


def _number(file: h5py.File, name: str) -> int:
    return int(file[name][()].reshape(-1)[0])


def _text(file: h5py.File, name: str) -> str:
    if name not in file:
        return ""
    return str(file[name].asstr(errors="surrogateescape")[()])
