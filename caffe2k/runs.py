"""What a run of Caffe adds to a translation: defaults of flags, and scripts of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from caffe2k.codegen.data_script import DataScript
from caffe2k.codegen.flag_defaults import NO_DEFAULTS, FlagDefaults
from caffe2k.codegen.log_outputs import log_outputs
from caffe2k.codegen.run_scripts import benchmark_script, evaluate_script
from caffe2k.diagnostics import Diagnostics
from caffe2k.ir.net import Phase
from caffe2k.pipeline import TranslatedNet
from caffe2k.project import Project
from caffe2k.resuming import port_solverstate


def flag_defaults(project: Project, weights_files: list[str]) -> FlagDefaults:
    """What the run of a project makes the defaults of the scripts' flags."""
    run = project.run
    if run is None:
        named = project.solver is not None and bool(project.solver.weights)
        if not (named and project.weights):
            return NO_DEFAULTS
        return FlagDefaults(project.solver_name, weights=tuple(weights_files))
    gpus = run.text("gpu")
    return FlagDefaults(
        source=run.place or f"caffe {run.action}",
        weights=tuple(weights_files),
        snapshot=next(iter(snapshot_writer(project)), ""),
        # Only training uses more than the first.
        gpus=gpus if run.action == "train" else gpus.partition(",")[0],
        iterations=run.iterations,
    )


def run_scripts(
    net: TranslatedNet,
    project: Project,
    data: DataScript,
    defaults: FlagDefaults,
    diagnostics: Diagnostics,
) -> dict[str, str]:
    """evaluate.py for a net without a solver, benchmark.py for `caffe time`."""
    program, action = net.whole.program, project.run.action if project.run else ""
    if action == "time":
        training = Phase.TRAIN in net.phases
        text = benchmark_script(
            program, data, project.net_name, defaults, training=training
        )
        return {"benchmark.py": text}
    if project.solver is not None or Phase.TEST not in net.phases:
        return {}
    outputs = log_outputs(
        net.phases[Phase.TEST], program, channels_last=net.whole.form.is_channels_last
    )
    evaluate = evaluate_script(program, data, outputs, project.net_name, defaults)
    if evaluate is not None:
        return {"evaluate.py": evaluate}
    if action == "test":
        diagnostics.error(
            "nothing-to-test",
            f"`{project.net_name}` has no data in its TEST phase, or no averages to print",
            project.net.span,
            help="give the net that was trained, with its data, losses and accuracies",
        )
    return {}


def snapshot_writer(project: Project) -> dict[str, Callable[[Path], None]]:
    """What writes the snapshot that a training goes on from, by the file's name."""
    state, run = project.snapshot, project.run
    if state is None or run is None:
        return {}

    def write(path: Path) -> None:
        port_solverstate(state, run, path)

    return {f"{state.name.partition('.solverstate')[0]}.h5": write}
