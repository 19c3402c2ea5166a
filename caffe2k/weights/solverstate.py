"""Reads the .solverstate files that Caffe writes beside its .caffemodel snapshots."""

from __future__ import annotations

from pathlib import Path

from caffe2k.weights import wire
from caffe2k.weights.binary_blob import read_blob
from caffe2k.weights.blob import Blob, SolverState
from caffe2k.weights.errors import WeightsError, not_a_solverstate
from caffe2k.weights.mapping import HDF5_MAGIC, map_file

_ITER, _LEARNED_NET, _HISTORY, _CURRENT_STEP = 1, 2, 3, 4
_MINIMUM_LOSS, _ITER_LAST_EVENT = 5, 6


def read_solverstate(path: Path) -> SolverState:
    """The state in a .solverstate, binary or HDF5; history is loaded when it is asked for.

    Raises WeightsError (sgd_solver.cpp, SGDSolver::RestoreSolverStateFromBinaryProto and
    RestoreSolverStateFromHDF5).
    """
    buffer = map_file(path)
    if buffer[: len(HDF5_MAGIC)] == HDF5_MAGIC:
        from caffe2k.weights.solverstate_h5 import read_solverstate_h5

        return read_solverstate_h5(path)
    try:
        return _read(path, buffer)
    except wire.WireError as error:
        raise WeightsError(
            "file-corrupt",
            f"`{path}` is damaged, or not a solverstate: {error}",
            help="fetch it again",
        ) from None


def _read(path: Path, buffer: memoryview) -> SolverState:
    numbers: dict[int, int] = {}
    learned_net = ""
    history: list[Blob] = []
    minimum_loss: float | None = None
    for field in wire.fields(buffer, 0, len(buffer)):
        if field.wire_type == wire.VARINT:
            numbers[field.number] = wire.signed(field.value, 32)
        elif field.wire_type == wire.FIXED32 and field.number == _MINIMUM_LOSS:
            (minimum_loss, *_) = wire.fixed_values(buffer, field, "<f4").tolist()
        elif field.wire_type == wire.LENGTH and field.number == _LEARNED_NET:
            text = bytes(buffer[field.start : field.stop])
            learned_net = text.decode("utf-8", "surrogateescape")
        elif field.wire_type == wire.LENGTH and field.number == _HISTORY:
            history.append(read_blob(buffer, field.start, field.stop))
    if _ITER not in numbers:
        raise not_a_solverstate(path)
    return SolverState(
        iteration=numbers[_ITER],
        current_step=numbers.get(_CURRENT_STEP, 0),
        learned_net=learned_net,
        history=tuple(history),
        minimum_loss=minimum_loss,
        iter_last_event=numbers.get(_ITER_LAST_EVENT),
    )
