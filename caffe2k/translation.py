"""A whole translation: a project read, its net lowered, its files emitted."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from caffe2k.codegen.data_script import DataLayer, DataScript
from caffe2k.codegen.data_script import render as render_data
from caffe2k.codegen.data_wiring import data_functions
from caffe2k.codegen.formatting import format_python
from caffe2k.codegen.model_script import model_script
from caffe2k.codegen.names import keras_name
from caffe2k.codegen.output import Writer, write_folder
from caffe2k.codegen.readme import readme
from caffe2k.codegen.runtime_files import runtime_files
from caffe2k.codegen.solver_checks import check_solver
from caffe2k.codegen.train_script import train_script
from caffe2k.diagnostics import Diagnostic, Diagnostics, SourceSpan, printable
from caffe2k.ir.net import Phase
from caffe2k.ops import find_op
from caffe2k.ops.base import OpError
from caffe2k.ops.data import SourceOp, place
from caffe2k.passes.unread import report_unread
from caffe2k.passes.weight_plan import multipliers
from caffe2k.pipeline import Options, TranslatedNet, translate_net
from caffe2k.project import Project, read_project
from caffe2k.resources import template
from caffe2k.sources.lookup import find_beside
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
    weights_file: str | None
    coverage: CoverageReport | None
    warnings: tuple[Diagnostic, ...]

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
            **runtime_files(scripts),
            **self.writers,
        }

    def top_level_files(self) -> list[str]:
        """The names that appear in the output folder, folders with a slash."""
        names = (path.partition("/") for path in self.files())
        return sorted({name + slash for name, slash, _ in names})

    def write(self, folder: Path, *, force: bool = False) -> None:
        """Writes all files, or none; raises TranslationError if the folder exists."""
        write_folder(folder, self.files(), force=force)


def translate(
    path: Path,
    *,
    solver: Path | None = None,
    weights: Path | None = None,
    options: Options = Options(),  # noqa: B008 - frozen
    allow_partial: bool = False,
    output: Path | None = None,
) -> Translation:
    """Translates a net, or a solver and the net that it names.

    `weights` is a caffemodel to port along; `output` the folder that the files are meant
    for, from which they find the data. Nothing is written yet.

    Raises TranslationError with every diagnostic of the run.
    """
    diagnostics = Diagnostics()
    project = read_project(path, solver, diagnostics)
    if project.solver is not None:
        check_solver(project.solver, diagnostics)
    net = translate_net(project.net, project.root, options, diagnostics, project.states)
    means = _Means(project.root, diagnostics)
    readers = {p.value: _readers(net, p, means, diagnostics) for p in Phase}
    layers = [layer.message for layer in net.net.layers]
    layers += [m for layer in net.net.layers if (m := layer.test_message) is not None]
    report_unread(project.net, layers, diagnostics)
    diagnostics.raise_if_errors()
    scripts = {"model.py": model_script(net.whole.program, project.net_name)}
    data = _data_script(net, project, options, readers, output)
    if data.functions:
        scripts["data.py"] = render_data(data)
    if project.solver is not None:
        scripts["train.py"] = train_script(
            project.solver,
            project.solver_name,
            multipliers(net.whole),
            net.whole.program,
            data,
            diagnostics,
        )
    _settle(diagnostics, options)
    writers, weights_file, coverage = {**means.writers, **_arrays(net)}, None, None
    if weights is not None:
        weights_file = f"{keras_name(project.net.name or path.stem)}.h5"
        writers[weights_file], coverage = _ported(weights, net, allow_partial)
    warnings = diagnostics.warnings
    scripts["README.md"] = readme(
        net.whole.program,
        net_name=project.net_name,
        solver_name=project.solver_name,
        files=list(scripts),
        weights_file=weights_file,
        warnings=[_sentence(w) for w in warnings],
        channels_last=net.whole.form.is_channels_last,
    )
    return Translation(net, scripts, writers, weights_file, coverage, warnings)


def port_weights(
    net: Path,
    caffemodel: Path,
    output: Path,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
    allow_partial: bool = False,
    force: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> CoverageReport:
    """Ports a caffemodel to an .h5 keyed by layer name, for the model of a net.

    `on_progress` is told the bytes written, and those to write. Raises TranslationError
    if the file does not cover the net, without `allow_partial`, or can't be written.
    """
    from caffe2k.weights.caffemodel import read_caffemodel
    from caffe2k.weights.h5 import write_legacy_h5
    from caffe2k.weights.port import port

    diagnostics = Diagnostics()
    project = read_project(net, None, diagnostics)
    lowered = translate_net(
        project.net, project.root, options, diagnostics, project.states
    )
    diagnostics.raise_if_errors()
    layers, coverage = port(
        read_caffemodel(caffemodel), lowered.plan, allow_partial=allow_partial
    )
    write_legacy_h5(output, layers, force=force, on_progress=on_progress)
    return coverage


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
            self.writers[name] = partial(write_array, load_mean(file))
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
    net: TranslatedNet, phase: Phase, means: _Means, diagnostics: Diagnostics
) -> tuple[DataLayer, ...]:
    """The readers of a phase's data layers; none if one of them has none."""
    found: list[DataLayer] = []
    for layer in net.net.layers:
        op_type = find_op(layer.type)
        if (
            op_type is None
            or not issubclass(op_type, SourceOp)
            or phase not in layer.phases
        ):
            continue
        try:
            reader = op_type(layer).reader(means)
        except OpError as e:
            diagnostics.error(e.code, e.message, e.span(layer), help=e.help)
            layer.message.mark_read(op_type.path, "transform_param")
            continue
        if reader is not None:
            found.append(reader)
            continue
        layer.message.mark_read(op_type.path, "transform_param")
        if layer.type != "Input":
            diagnostics.warning(
                "no-reader",
                f"data.py has no batches for layer `{layer.name}` ({layer.type})",
                layer.span,
                help="write a generator of (x, y) and pass it to fit()",
            )
        return ()
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
