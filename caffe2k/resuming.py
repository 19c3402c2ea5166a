"""Caffe's snapshot as one of the emitted train.py: weights, history and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe2k.codegen.solver_checks import HISTORIES, check_solver
from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Phase
from caffe2k.ops.plugins import blamed
from caffe2k.pipeline import Options, TranslatedNet, translate_net
from caffe2k.project import read_project
from caffe2k.schema.message import Message
from caffe2k.shell.flags import CaffeRun
from caffe2k.sources.lookup import find_beside
from caffe2k.weights import transforms
from caffe2k.weights.coverage import CoverageReport
from caffe2k.weights.errors import WeightsError
from caffe2k.weights.plan import KerasLayer, LazyArray, PlannedLayer, PlannedWeight

if TYPE_CHECKING:
    from caffe2k.weights.blob import AnyArray, Blob, SolverState
    from caffe2k.weights.whole_file import OnProgress

_ParamName = tuple[str, int]


@blamed()
def port_solverstate(
    path: Path,
    solver: Path | CaffeRun,
    output: Path,
    *,
    net: Path | None = None,
    weights: Path | None = None,
    options: Options = Options(),  # noqa: B008 - frozen
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> CoverageReport:
    """Writes a .solverstate and its caffemodel as a file for `train.py --resume`.

    `solver` is its file, or a run that names it; `net` that of a solver that names none;
    `weights` is the caffemodel, by default the one that the state names. The data is to
    go on where Caffe's run had read to.

    Raises TranslationError; then nothing was written (sgd_solver.cpp,
    SGDSolver::RestoreSolverStateFromBinaryProto; solver.cpp, Solver::Restore).
    """
    from caffe2k.weights.caffemodel import read_caffemodel
    from caffe2k.weights.port import port
    from caffe2k.weights.solverstate import read_solverstate
    from caffe2k.weights.training_state import write_training_state

    diagnostics = Diagnostics()
    if net is None:
        project = read_project(solver, None, diagnostics)
    else:
        assert isinstance(solver, Path)
        project = read_project(net, solver, diagnostics)
    if project.solver is None:
        raise WeightsError(
            "wrong-file",
            f"`{solver}` is not a solver",
            help="give the solver.prototxt that the state is of with --solver",
        )
    check_solver(project.solver, diagnostics)
    if project.solver.has("train_net") or project.solver.has("train_net_param"):
        options = replace(options, phase=Phase.TRAIN)
    translated = translate_net(
        project.net, project.root, options, diagnostics, project.states
    )
    diagnostics.raise_if_errors()
    state = read_solverstate(path)
    model = read_caffemodel(weights or _learned_net(path, state))
    layers, coverage = port(model, translated.plan)
    histories = _histories(path, state, translated, project.solver)
    write_training_state(
        output,
        layers,
        histories,
        _place(state, project.solver),
        force=force,
        on_progress=on_progress,
    )
    return coverage


def _learned_net(path: Path, state: SolverState) -> Path:
    """The caffemodel that a state names, from where Caffe ran, or beside the state."""
    named = state.learned_net
    beside = path.with_name(Path(named).name)
    found = beside if named and beside.exists() else find_beside(named, path.parent)
    if not named or found is None:
        raise WeightsError(
            "learned-net-missing",
            f"the caffemodel `{named}` that `{path}` names is not there"
            if named
            else f"`{path}` names no caffemodel",
            help="give the one that was written with it with --weights",
        )
    return found


def _histories(
    path: Path, state: SolverState, net: TranslatedNet, solver: Message
) -> list[list[KerasLayer]]:
    """The history blobs of each slot, for the trainable weights of the model."""
    params = learnable_params(net)
    slots = HISTORIES.get(solver.type, 1)
    if len(state.history) != slots * len(params):
        raise WeightsError(
            "history-count",
            f"`{path}` has {len(state.history)} history blobs; the solver {solver.type} "
            f"has {slots * len(params)} for {len(params)} parameters",
            help="give the solver, and its net, that wrote it",
        )
    starts = range(0, len(state.history), len(params)) if params else ()
    return [
        _history(path, net, dict(zip(params, state.history[start:], strict=False)))
        for start in starts
    ]


def learnable_params(net: TranslatedNet) -> list[_ParamName]:
    """Layer and index of each parameter that is no other's, in the order of Caffe's net.

    (net.cpp, Net::AppendParam: `learnable_params`.)
    """
    train, owners = net.phases[Phase.TRAIN], net.whole.net.owners
    return [
        (layer.name, i)
        for layer in train.layers
        for i in range(len(train.param_shapes.get(layer.index, ())))
        if (layer.index, i) not in owners
    ]


def _history(
    path: Path, net: TranslatedNet, blobs: dict[_ParamName, Blob]
) -> list[KerasLayer]:
    return [
        KerasLayer(layer.keras_name, tuple(_arrays(path, layer, blobs)))
        for layer in net.plan.layers
        if any(weight.trainable for weight in layer.weights)
    ]


def _arrays(
    path: Path, layer: PlannedLayer, blobs: dict[_ParamName, Blob]
) -> list[LazyArray]:
    arrays = []
    for weight in layer.weights:
        if not weight.trainable:
            continue
        blob = _blob_of(weight, blobs)
        if blob is None or not blob.has_shape(weight.caffe_shape):
            found = "none" if blob is None else f"one of shape {blob.shape}"
            raise WeightsError(
                "history-shape",
                f"`{path}` has {found} for parameter {weight.blob_index} of layer "
                f"`{weight.caffe_layer}`, whose shape is {weight.caffe_shape}",
                help="give the solver, and its net, that wrote it",
            )
        load = partial(_load, blob, weight)
        arrays.append(LazyArray(weight.name, weight.keras_shape, load))
    return arrays


def _blob_of(weight: PlannedWeight, blobs: dict[_ParamName, Blob]) -> Blob | None:
    """The history of a weight, under the name of any layer that shares it."""
    names = [(blob.caffe_layer, blob.blob_index) for blob in weight.blobs]
    return next((blobs[name] for name in names if name in blobs), None)


def _load(blob: Blob, weight: PlannedWeight) -> AnyArray:
    return transforms.apply(weight.steps, blob.array().reshape(weight.caffe_shape))


def _place(state: SolverState, solver: Message) -> dict[str, Any]:
    """How far Caffe had come, in the form of Place in runtime/snapshots.py."""
    return {
        "iteration": state.iteration,
        "batches": [
            state.iteration * solver.iter_size,
            *_tested(state.iteration, solver, list(solver.test_iter)),
        ],
        "seed": None,
        "policy": {
            "current_step": state.current_step,
            "minimum_loss": state.minimum_loss,
            "iter_last_event": state.iter_last_event,
        },
        "type": solver.type,
    }


def _tested(iteration: int, solver: Message, test_iter: Sequence[int]) -> list[int]:
    """The test batches read so far; the test due at a snapshot comes after it."""
    if not test_iter:
        return []
    tests = -(-iteration // solver.test_interval)
    if iteration > 0 and not solver.test_initialization:
        tests -= 1
    return [tests * count for count in test_iter]
