"""A Caffe project as its user names it: a net, a solver, a script, or a run of Caffe."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from caffe2k.diagnostics import Diagnostics, SourceSpan
from caffe2k.ir.net import Phase
from caffe2k.ops.plugins import load_installed
from caffe2k.prototxt.read import load, read, read_net, read_solver
from caffe2k.prototxt.upgrade import upgrade
from caffe2k.schema.message import Entry, Message
from caffe2k.shell.flags import CaffeRun
from caffe2k.shell.script import is_script, read_script
from caffe2k.sources.lookup import find_beside


@dataclass(frozen=True, eq=False)
class Project:
    """The messages of a project, upgraded, and the folder that Caffe would run in.

    `run` is the command line that it comes from, `weights` and `snapshot` the files that
    are named there.
    """

    net: Message
    net_name: str
    root: Path
    solver: Message | None = None
    solver_name: str = ""
    run: CaffeRun | None = None
    weights: tuple[Path, ...] = ()
    snapshot: Path | None = None

    @property
    def states(self) -> dict[Phase, Message]:
        """What the solver and the command line add to the net's state in each phase."""
        states = self._solver_states()
        if self.run is not None:
            phase = run_phase(self.run) or Phase.TRAIN
            states[phase] = _with_flags(states.get(phase), self.run)
        return states

    def _solver_states(self) -> dict[Phase, Message]:
        if self.solver is None:
            return {}
        states = {}
        if self.solver.has("train_state"):
            states[Phase.TRAIN] = self.solver.train_state
        if self.solver.has("test_state"):
            states[Phase.TEST] = self.solver.test_state[0]
        return states


def run_phase(run: CaffeRun) -> Phase | None:
    """The one phase of a run's net; None for a training, which tests too."""
    if run.action == "train":
        return None
    return Phase[run.text("phase") or "TRAIN"] if run.action == "time" else Phase.TEST


def _with_flags(state: Message | None, run: CaffeRun) -> Message:
    """A state with the level and the stages of a command line (tools/caffe.cpp).

    The level is always the flag's, which is 0 where it is not given.
    """
    joined = Message("NetState")
    for name, entry in state.entries() if state is not None else ():
        joined.add(name, entry)
    joined.set("level", Entry(run.level, run.span_of("level")))
    for stage in run.names("stage"):
        joined.add("stage", Entry(stage, run.span_of("stage")))
    return joined


def read_project(
    path: Path | CaffeRun, solver_path: Path | None, diagnostics: Diagnostics
) -> Project:
    """Reads a net (also in a caffemodel), a solver with its net, or what a run names.

    A run stands in a shell script, or was made in the working directory. What is wrong
    is added to `diagnostics`, and the rest of the project returned. Raises
    TranslationError where nothing of a file can be read, or a solver names no net.
    """
    load_installed()  # what parameters a layer can have depends on them
    if isinstance(path, CaffeRun):
        return _from_run(path, Path(), diagnostics)
    if is_script(path):
        return _from_script(path, solver_path, diagnostics)
    if carries_net(path):
        return _from_caffemodel(path, solver_path, diagnostics)
    message = _something(read(path, diagnostics), diagnostics)
    if message.schema.name == "SolverParameter":
        if solver_path is not None:
            diagnostics.error(
                "two-solvers",
                f"`{path.name}` is a solver itself",
                help="give the net, and its solver with --solver",
            )
            diagnostics.raise_if_errors()
        return _with_weights(_from_solver(message, path, diagnostics), diagnostics)
    solver = _beside(solver_path, diagnostics)
    net = _upgraded(message, diagnostics)
    solver_name = solver_path.name if solver_path else ""
    root = _data_root(net, path.parent)
    project = Project(net, path.name, root, solver, solver_name)
    return _with_weights(project, diagnostics)


def _with_weights(project: Project, diagnostics: Diagnostics) -> Project:
    """With the files of the solver's `weights`, which may name several with commas."""
    solver = project.solver
    found: list[Path] = []
    for index, names in enumerate(solver.weights if solver is not None else ()):
        for name in map(str.strip, names.split(",")):
            file = find_beside(name, project.root)
            if file is not None:
                found.append(file)
            elif solver is not None:
                diagnostics.error(
                    "missing-caffe-file",
                    f"the solver's weights `{name}` are not there",
                    solver.span_of("weights", index),
                    help="paths are looked up in the net's folder, the folders above it, "
                    "and the working directory",
                )
    return replace(project, weights=tuple(found))


def carries_net(path: Path) -> bool:
    """Whether a file is a caffemodel by its name: it holds a net with its weights."""
    return path.name.endswith((".caffemodel", ".caffemodel.h5"))


def _from_caffemodel(
    path: Path, solver_path: Path | None, diagnostics: Diagnostics
) -> Project:
    from caffe2k.weights.net_definition import read_definition, restore

    net = _upgraded(read_definition(path), diagnostics)
    restore(net)
    solver = _beside(solver_path, diagnostics)
    solver_name = solver_path.name if solver_path else ""
    root = _data_root(net, path.parent)
    return Project(net, path.name, root, solver, solver_name, weights=(path,))


def _beside(solver_path: Path | None, diagnostics: Diagnostics) -> Message | None:
    """The solver that is given beside a net."""
    if solver_path is None:
        return None
    solver = _something(read_solver(solver_path, diagnostics), diagnostics)
    solver = upgrade(solver, diagnostics)
    solver.mark_read(*_NET_FIELDS)
    return solver


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
        _report_missing_net(named, solver.span_of(field), diagnostics)
        diagnostics.raise_if_errors()
    assert found is not None
    net = _something(read_net(found, diagnostics), diagnostics)
    net = _upgraded(net, diagnostics)
    return Project(net, found.name, _start_of(found, named), solver, path.name)


def read_test_net(
    project: Project, net: Message | str, diagnostics: Diagnostics, index: int = 0
) -> Message | None:
    """A net of the solver's `test_net_param`, or of the `index`-th file of `test_net`.

    None where there is no such file, which is a diagnostic.
    """
    if isinstance(net, Message):
        return _upgraded(net, diagnostics)
    solver = project.solver
    if solver is not None and net in (solver.net, solver.train_net):
        return project.net
    found = find_beside(net, project.root)
    if found is None:
        span = solver.span_of("test_net", index) if solver is not None else None
        _report_missing_net(net, span, diagnostics)
        return None
    return _upgraded(_something(read_net(found, diagnostics), diagnostics), diagnostics)


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
    named: str, span: SourceSpan | None, diagnostics: Diagnostics
) -> None:
    diagnostics.error(
        "missing-net",
        f"the solver's net `{named}` is not there",
        span,
        help="paths are looked up in the solver's folder, the folders above it, and the "
        "working directory; or give the net, and the solver with --solver",
    )


def _from_script(
    path: Path, solver_path: Path | None, diagnostics: Diagnostics
) -> Project:
    if solver_path is not None:
        diagnostics.error(
            "two-solvers",
            f"`{path.name}` names a solver itself",
            help="give the script alone, or the net and its solver with --solver",
        )
    source = load(path, diagnostics)
    diagnostics.raise_if_errors()
    assert source is not None
    found = read_script(source, os.environ, diagnostics)
    diagnostics.raise_if_errors()
    assert found is not None
    _warn_of_effects(found.run, diagnostics)
    folder = path.parent / found.folder
    return _from_run(found.run, folder if folder.is_dir() else path.parent, diagnostics)


def _from_run(run: CaffeRun, folder: Path, diagnostics: Diagnostics) -> Project:
    flag = "solver" if run.action == "train" else "model"
    path = _file_of(run, flag, run.text(flag), folder, diagnostics)
    found = [
        _file_of(run, "weights", name, folder, diagnostics)
        for name in run.names("weights")
    ]
    snapshot = run.text("snapshot")
    if snapshot:
        state = _file_of(run, "snapshot", snapshot, folder, diagnostics)
    diagnostics.raise_if_errors()
    assert path is not None
    project = read_project(path, None, diagnostics)
    if (project.solver is None) == (flag == "solver"):
        diagnostics.error(
            "wrong-file",
            f"`--{flag}` of `caffe {run.action}` names no {flag}",
            run.span_of(flag),
            help=f"give it a {'solver' if flag == 'solver' else 'net'}",
        )
        diagnostics.raise_if_errors()
    return replace(
        project,
        run=run.naming(flag, path),
        # caffe.cpp, train(): the flags stand for what the solver says.
        weights=tuple(path for path in found if path)
        if found or snapshot
        else project.weights,
        snapshot=state if snapshot else None,
    )


def _warn_of_effects(run: CaffeRun, diagnostics: Diagnostics) -> None:
    """Says where train.py answers a signal in another way."""
    for flag, effect in (("sigint_effect", "stop"), ("sighup_effect", "snapshot")):
        if run.text(flag) not in ("", effect):
            diagnostics.warning(
                "signal-effect",
                f"train.py answers {flag[:6].upper()} with `{effect}`",
                run.span_of(flag),
                help=f"`caffe2k train` keeps to --{flag}",
            )


def _file_of(
    run: CaffeRun, flag: str, name: str, folder: Path, diagnostics: Diagnostics
) -> Path | None:
    """A file that a flag names, from the folder that Caffe was run in."""
    found = find_beside(name, folder)
    if found is None:
        diagnostics.error(
            "missing-caffe-file",
            f"the file `{name}` of `--{flag}` is not there",
            run.span_of(flag),
            help="paths are looked up in the folder of the script, the folders above it, "
            "and the working directory"
            if run.place
            else "paths are looked up in the working directory and the folders above it",
        )
    return found
