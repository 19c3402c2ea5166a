"""A whole translation: a project read, its net lowered, its files emitted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from caffe2k import __version__
from caffe2k.codegen.data_layers import DataLayer
from caffe2k.codegen.data_script import DataScript, custom_data
from caffe2k.codegen.data_script import render as render_data
from caffe2k.codegen.data_wiring import data_functions
from caffe2k.codegen.formatting import format_python
from caffe2k.codegen.log_outputs import log_outputs
from caffe2k.codegen.logged_nets import LoggedNets, TestNet
from caffe2k.codegen.model_script import model_script
from caffe2k.codegen.names import Names, keras_name
from caffe2k.codegen.output import Writer, write_folder
from caffe2k.codegen.readme import readme
from caffe2k.codegen.runtime_files import runtime_files
from caffe2k.codegen.shards import read_shards
from caffe2k.codegen.solver_checks import check_solver
from caffe2k.codegen.stubs import KEPT
from caffe2k.codegen.train_script import train_script
from caffe2k.diagnostics import Diagnostic, Diagnostics, SourceSpan, printable
from caffe2k.ir.net import Net, Phase
from caffe2k.ops import find_op
from caffe2k.ops.data import SourceOp, place
from caffe2k.ops.errors import OpError
from caffe2k.ops.plugins import blamed, plugged_in_runtime
from caffe2k.ops.stub import StubData
from caffe2k.passes.frozen_recurrence import warn_of_frozen_recurrence
from caffe2k.passes.unread import report_unread
from caffe2k.passes.weight_plan import multipliers
from caffe2k.pipeline import Options, TranslatedNet, translate_net
from caffe2k.prediction import predict_scripts
from caffe2k.project import Project, read_project, run_phase
from caffe2k.resources import template
from caffe2k.runs import flag_defaults, run_scripts, snapshot_writer
from caffe2k.shell.flags import CaffeRun
from caffe2k.sources.lookup import find_beside
from caffe2k.tested import TestScripts, tested_nets, translate_tests
from caffe2k.weights.coverage import CoverageReport
from caffe2k.weights.errors import WeightsError


@dataclass(frozen=True, eq=False)
class Translation:
    """What a translation gives: the files, not written yet, and what to know of them."""

    net: TranslatedNet
    scripts: dict[str, str]
    """model.py, train.py, data.py and README.md, as far as there are any."""
    writers: dict[str, Writer]
    """What is no text: weights and means."""
    ported: Mapping[str, CoverageReport]
    """Each file of weights, and what it covers of the net."""
    warnings: tuple[Diagnostic, ...]
    root: Path
    """The folder that the project's data is named from."""
    inputs: tuple[Path, ...]
    """The binary files, weights and means, whose contents are in the output."""

    @property
    def name(self) -> str:
        """The net's name as a file name."""
        return keras_name(self.net.message.name or "net")

    def digest(self) -> str:
        """What is another one where anything in the output would be another."""
        digest = hashlib.sha256(__version__.encode())
        for path, content in sorted(self.files().items()):
            digest.update(f"\0{path}\0".encode())
            if isinstance(content, str):
                digest.update(content.encode("utf-8", "surrogateescape"))
        for array in self.net.whole.arrays.values():
            digest.update(array.tobytes())
        for file in self.inputs:
            digest.update(_file_digest(file))
        return digest.hexdigest()

    @property
    def weights_file(self) -> str | None:
        """The first file of weights."""
        return next(iter(self.ported), None)

    @property
    def model(self) -> str:
        """model.py as it is written."""
        return format_python(self.scripts["model.py"])

    def files(self) -> dict[str, str | Writer]:
        """All files by their path in the output."""
        scripts = [text for name, text in self.scripts.items() if name.endswith(".py")]
        return {
            **self.scripts,
            "ruff.toml": template("ruff.toml"),
            **runtime_files(scripts, plugged_in_runtime()),
            **self.writers,
        }

    def top_level_files(self) -> list[str]:
        """The names that appear in the output folder, folders with a slash."""
        names = (path.partition("/") for path in self.files())
        return sorted({name + slash for name, slash, _ in names})

    def write(self, folder: Path, *, force: bool = False) -> None:
        """Writes all files, or none; raises TranslationError if the folder exists."""
        write_folder(folder, self.files(), force=force, kept=KEPT)


@blamed()
def translate(
    path: Path | CaffeRun,
    *,
    solver: Path | None = None,
    weights: Path | None = None,
    options: Options = Options(),  # noqa: B008 - frozen
    allow_partial: bool = False,
    output: Path | None = None,
) -> Translation:
    """Translates a net, a solver and the net that it names, or what a run of Caffe names.

    A run is given as such, or as the shell script that it stands in. `weights` is a
    caffemodel to port along, instead of those that the run names; `output` the folder
    that the files are meant for, from which they find the data. Nothing is written yet.

    Raises TranslationError with every diagnostic of the run.
    """
    diagnostics = Diagnostics()
    project = read_project(path, solver, diagnostics)
    if project.solver is not None:
        check_solver(project.solver, diagnostics)
    if project.run is not None and options.phase is None:
        options = replace(options, phase=run_phase(project.run))
    weights_files = _weights_files(project, weights)
    defaults = flag_defaults(project, list(weights_files))
    tested = tested_nets(project, diagnostics) if options.phase is None else []
    if tested and tested[0].message is not project.net:
        options = replace(options, phase=Phase.TRAIN)
    net = translate_net(project.net, project.root, options, diagnostics, project.states)
    means = _Means(project.root, diagnostics)
    readers = {p.value: _readers(net.net, p, means, diagnostics) for p in Phase}
    if options.tfrecord is not None:
        readers = read_shards(readers, options.tfrecord, project.root, diagnostics)
    layers = [layer.message for layer in net.net.layers]
    layers += [m for layer in net.net.layers if (m := layer.test_message) is not None]
    report_unread(project.net, layers, diagnostics)
    if project.solver is not None and project.solver.clip_gradients >= 0:
        warn_of_frozen_recurrence(net.net, diagnostics)
    tests = translate_tests(
        project,
        net,
        tested,
        options,
        lambda other: _readers(other, Phase.TEST, means, diagnostics),
        diagnostics,
    )
    diagnostics.raise_if_errors()
    scripts = {"model.py": model_script(net.whole.program, project.net_name)}
    scripts |= tests.scripts
    data = _data_script(net, project, options, readers, output)
    data = replace(data, functions=(*data.functions, *tests.functions))
    if data.functions:
        scripts["data.py"] = render_data(data)
    for stubs in (net.whole.stubs, custom_data(data)):
        if stubs:
            scripts[f"{stubs.module}.py"] = stubs.script()
            if output is not None:
                stubs.warn_if_missing(output, diagnostics)
    if project.solver is not None:
        scripts["train.py"] = train_script(
            project.solver,
            project.solver_name,
            multipliers(net.whole),
            net.whole.program,
            data,
            diagnostics,
            _logged_nets(net, tests),
            defaults,
        )
    scripts |= run_scripts(net, project, data, defaults, diagnostics)
    if isinstance(path, Path) and project.solver is None:
        weights_file = next(iter(weights_files), None)
        scripts |= predict_scripts(
            net, project.net_name, path.parent, weights_file, means
        )
    _settle(diagnostics, options)
    writers, coverage = {**means.writers, **snapshot_writer(project)}, {}
    for translated in (net, *tests.programs):
        writers |= _arrays(translated)
    for name, file in weights_files.items():
        # Caffe copies the layers that it finds by name, so a training goes on.
        partial_is_fine = allow_partial or weights is None
        writers[name], coverage[name] = _ported(file, net, partial_is_fine)
    warnings = diagnostics.warnings
    scripts["README.md"] = readme(
        net.whole.program,
        net_name=project.net_name,
        solver_name=project.solver_name,
        files=list(scripts),
        weights_files=list(weights_files),
        defaults=defaults,
        warnings=[_sentence(w) for w in warnings],
        channels_last=net.whole.form.is_channels_last,
    )
    inputs = (*weights_files.values(), *means.files)
    if project.snapshot is not None:
        inputs += (project.snapshot,)
    return Translation(net, scripts, writers, coverage, warnings, project.root, inputs)


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.digest()


def _logged_nets(net: TranslatedNet, tests: TestScripts) -> LoggedNets:
    """What train.py's log prints of the trained net and of those that are tested."""
    program = net.whole.program
    outputs = {
        p: log_outputs(n, program, channels_last=net.whole.form.is_channels_last)
        for p, n in net.phases.items()
    }
    tested = tests.nets
    if not tested and Phase.TEST in outputs:
        tested = [TestNet(outputs[Phase.TEST])]
    return LoggedNets(outputs.get(Phase.TRAIN, ()), tuple(tested))


def _weights_files(project: Project, chosen: Path | None) -> dict[str, Path]:
    """The files of weights to write, and the caffemodels that they come from."""
    files = project.weights if chosen is None else (chosen,)
    if len(files) == 1:
        name = project.net.name or Path(project.net_name).stem
        return {f"{keras_name(name)}.h5": files[0]}
    names = Names()
    return {f"{names.claim(keras_name(file.stem))}.h5": file for file in files}


def _sentence(warning: Diagnostic) -> str:
    """A warning as a line of the output's README, without this machine's folders."""
    place_of = "" if warning.span is None else f"{place(warning.span)}: "
    return printable(f"{place_of}{warning.message}")


def _settle(diagnostics: Diagnostics, options: Options) -> None:
    """Ends the run where there are errors, or warnings in a strict one."""
    if options.strict and diagnostics.warnings:
        diagnostics.make_errors()
    diagnostics.raise_if_errors()


class _Means:
    """The mean files that data layers name, each ported once."""

    def __init__(self, root: Path, diagnostics: Diagnostics) -> None:
        self._root = root
        self._diagnostics = diagnostics
        self._names: dict[str, str] = {}
        self.writers: dict[str, Writer] = {}
        self.files: list[Path] = []
        self._sizes: dict[str, tuple[int, int]] = {}

    def size(self, name: str) -> tuple[int, int] | None:
        return self._sizes.get(name)

    def port(self, path: str, span: SourceSpan | None) -> str:
        if path not in self._names:
            number = len(self._names) + 1
            name = "mean.npy" if number == 1 else f"mean_{number}.npy"
            self._names[path] = name
            self._read(path, name, span)
        return self._names[path]

    def _read(self, path: str, name: str, span: SourceSpan | None) -> None:
        file = find_beside(path, self._root)
        if file is None:
            self._diagnostics.warning(
                "mean-missing",
                f"the mean file `{path}` is not there, so {name} is not written",
                span,
                help=f"put {name} beside data.py before training",
            )
            return
        from caffe2k.weights.mean import load_mean, write_array

        try:
            mean = load_mean(file)
            self.writers[name] = partial(write_array, mean)
            self.files.append(file)
            self._sizes[name] = (mean.shape[1], mean.shape[2])
        except WeightsError as e:
            for d in e.diagnostics:
                self._diagnostics.error(d.code, d.message, span, help=d.help)


def _data_script(
    net: TranslatedNet,
    project: Project,
    options: Options,
    readers: Mapping[str, tuple[DataLayer, ...]],
    output: Path | None,
) -> DataScript:
    seed = None
    if project.solver is not None and project.solver.random_seed >= 0:
        seed = project.solver.random_seed
    return DataScript(
        data_functions(net.whole.program, readers),
        _data_root(project.root, output),
        seed,
        options.data_format,
    )


def _readers(
    net: Net, phase: Phase, means: _Means, diagnostics: Diagnostics
) -> tuple[DataLayer, ...]:
    """The readers of a phase's data layers."""
    found: list[DataLayer] = []
    for layer in net.layers:
        op_type = find_op(layer.type)
        if (
            op_type is None
            or not issubclass(op_type, SourceOp)
            or phase not in layer.phases
        ):
            continue
        try:
            op = op_type(layer)
            if isinstance(op, StubData):
                found.append(op.stub_reader(net.shapes))
                stub = op.difference()
                diagnostics.warning(stub.code, stub.message, layer.span, help=stub.help)
                continue
            found.append(op.reader(means))
        except OpError as e:
            diagnostics.error(e.code, e.message, e.span(layer), help=e.help)
            layer.message.mark_read(op_type.path, "transform_param")
    return tuple(found)


def _data_root(root: Path, output: Path | None) -> str | None:
    """The way from the output to the data, where both lie below the working directory.

    Else it would spell out folders of this machine; the script then looks where it is
    run, as Caffe does.
    """
    if output is None:
        return None
    here = Path.cwd()
    root, output = root.absolute(), output.absolute()
    if not (root.is_relative_to(here) and output.is_relative_to(here)):
        return None
    return Path(os.path.relpath(root, output)).as_posix()


def _arrays(net: TranslatedNet) -> dict[str, Writer]:
    """What writes the arrays that lie beside model.py."""
    if not net.whole.arrays:
        return {}
    from caffe2k.weights.mean import write_array

    return {name: partial(write_array, a) for name, a in net.whole.arrays.items()}


def _ported(
    weights: Path, net: TranslatedNet, allow_partial: bool
) -> tuple[Writer, CoverageReport]:
    """What writes the ported weights, and what they cover; imports numpy and h5py."""
    from caffe2k.weights.caffemodel import read_caffemodel
    from caffe2k.weights.h5 import write_legacy_h5
    from caffe2k.weights.port import port

    layers, coverage = port(
        read_caffemodel(weights), net.plan, allow_partial=allow_partial
    )
    return lambda path: write_legacy_h5(path, layers), coverage
