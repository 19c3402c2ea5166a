"""A Caffe project as its user names it: a net, or a solver that names its net."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from caffe2k.diagnostics import Diagnostics, SourceSpan
from caffe2k.ir.net import Phase
from caffe2k.prototxt.read import read, read_net, read_solver
from caffe2k.prototxt.upgrade import upgrade
from caffe2k.schema.message import Message
from caffe2k.sources.lookup import find_beside


@dataclass(frozen=True, eq=False)
class Project:
    """The messages of a project, upgraded, and the folder that Caffe would run in."""

    net: Message
    net_name: str
    root: Path
    solver: Message | None = None
    solver_name: str = ""

    @property
    def states(self) -> dict[Phase, Message]:
        """What the solver adds to the net's state in each phase."""
        if self.solver is None:
            return {}
        states = {}
        if self.solver.has("train_state"):
            states[Phase.TRAIN] = self.solver.train_state
        if self.solver.has("test_state"):
            states[Phase.TEST] = self.solver.test_state[0]
        return states


def read_project(
    path: Path, solver_path: Path | None, diagnostics: Diagnostics
) -> Project:
    """Reads a net, or a solver and the net that it names.

    What is wrong in them is added to `diagnostics`, and the rest of them returned.
    Raises TranslationError where nothing of a file can be read, or a solver names no net.
    """
    message = _something(read(path, diagnostics), diagnostics)
    if message.schema.name == "SolverParameter":
        if solver_path is not None:
            diagnostics.error(
                "two-solvers",
                f"`{path.name}` is a solver itself",
                help="give the net, and its solver with --solver",
            )
            diagnostics.raise_if_errors()
        return _from_solver(message, path, diagnostics)
    solver = None
    if solver_path is not None:
        solver = _something(read_solver(solver_path, diagnostics), diagnostics)
        solver = upgrade(solver, diagnostics)
        solver.mark_read(*_NET_FIELDS)
    net = _upgraded(message, diagnostics)
    solver_name = solver_path.name if solver_path else ""
    root = _data_root(net, path.parent)
    return Project(net, path.name, root, solver, solver_name)


def _something(message: Message, diagnostics: Diagnostics) -> Message:
    """Ends the run where a mistake left nothing of a file."""
    if not any(message.entries()):
        diagnostics.raise_if_errors()
    return message


def _upgraded(net: Message, diagnostics: Diagnostics) -> Message:
    """Ends the run where a net mixes formats, so that it can't be upgraded."""
    net = upgrade(net, diagnostics)
    if net.entries_of("layers"):
        diagnostics.raise_if_errors()
    return net


_NET_FIELDS = ("net", "train_net", "test_net", "net_param", "train_net_param")


def _from_solver(solver: Message, path: Path, diagnostics: Diagnostics) -> Project:
    solver = upgrade(solver, diagnostics)
    for field in ("net_param", "train_net_param"):
        if solver.has(field):
            net = _upgraded(getattr(solver, field), diagnostics)
            return Project(net, path.name, path.parent, solver, path.name)
    for field in ("net", "train_net"):
        if solver.has(field):
            return _from_named_net(solver, field, path, diagnostics)
    if solver.has_lost(*_NET_FIELDS):
        diagnostics.raise_if_errors()
    diagnostics.error(
        "solver-without-net",
        f"`{path.name}` names no net",
        help='add a line such as net: "train_val.prototxt", or give the net and the '
        "solver with --solver",
    )
    diagnostics.raise_if_errors()
    raise AssertionError("unreachable")


def _from_named_net(
    solver: Message, field: str, path: Path, diagnostics: Diagnostics
) -> Project:
    named: str = getattr(solver, field)
    found = find_beside(named, path.parent)
    if found is None:
        _report_missing_net(named, solver.span_of(field), path, diagnostics)
        diagnostics.raise_if_errors()
    assert found is not None
    net = _something(read_net(found, diagnostics), diagnostics)
    net = _upgraded(net, diagnostics)
    return Project(net, found.name, _start_of(found, named), solver, path.name)


def _start_of(found: Path, named: str) -> Path:
    """The folder that `named` is relative to: the one that Caffe runs in."""
    if Path(named).is_absolute():
        return found.parent
    return found.parents[len(Path(named).parts) - 1]


_SOURCES = ("data_param", "hdf5_data_param", "image_data_param", "window_data_param")


def _data_root(net: Message, folder: Path) -> Path:
    """The folder that a net's data is named from: its own, or one above it."""
    named = [
        entry.value
        for layer in net.entries_of("layer")
        for field in _SOURCES
        if (param := layer.value.peek(field)) is not None
        for entry in param.entries_of("source")
    ]
    for start in (folder, *folder.absolute().parents):
        if any(os.path.exists(start / source) for source in named):
            return start
    return folder


def _report_missing_net(
    named: str, span: SourceSpan | None, path: Path, diagnostics: Diagnostics
) -> None:
    diagnostics.error(
        "missing-net",
        f"the solver's net `{named}` is not there",
        span,
        help="paths are looked up in the solver's folder, the folders above it, and the "
        "working directory; or give the net, and the solver with --solver",
    )
