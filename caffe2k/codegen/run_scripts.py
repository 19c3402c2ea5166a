"""evaluate.py and benchmark.py: what `caffe test` and `caffe time` do with a net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffe2k.codegen.data_script import DataScript
from caffe2k.codegen.flag_defaults import NO_DEFAULTS, FlagDefaults
from caffe2k.codegen.logged_nets import compile_arguments
from caffe2k.codegen.program import Call, ModelInput, Program
from caffe2k.codegen.templates import render


@dataclass(frozen=True)
class EvaluateScript:
    """The whole context of templates/evaluate.py.j2."""

    net_name: str
    outputs: Sequence[Call]
    model_names: Sequence[str]
    compile_arguments: Sequence[str]
    defaults: FlagDefaults


@dataclass(frozen=True)
class BenchmarkScript:
    """The whole context of templates/benchmark.py.j2.

    `function` is that of data.py which gives the batch; "" where zeros do.
    """

    net_name: str
    model_names: Sequence[str]
    compile_arguments: Sequence[str]
    function: str
    inputs: Sequence[ModelInput]
    training: bool
    defaults: FlagDefaults


def evaluate_script(
    program: Program,
    data: DataScript,
    outputs: Sequence[Call],
    net_name: str,
    defaults: FlagDefaults = NO_DEFAULTS,
) -> str | None:
    """The text of evaluate.py; None for a net without test data or outputs to print."""
    if not outputs or not _gives_batches(data, "test_data"):
        return None
    return render(
        "evaluate.py.j2",
        EvaluateScript(
            net_name, outputs, _names(program), compile_arguments(program), defaults
        ),
    )


def benchmark_script(
    program: Program,
    data: DataScript,
    net_name: str,
    defaults: FlagDefaults,
    *,
    training: bool,
) -> str:
    """The text of benchmark.py, for the phase that the program was made for.

    A net that reads no files runs on zeros, as in Caffe.
    """
    function = "train_data" if training else "test_data"
    has_data = _gives_batches(data, function)
    return render(
        "benchmark.py.j2",
        BenchmarkScript(
            net_name=net_name,
            model_names=_names(program) if has_data else ["build_model"],
            compile_arguments=compile_arguments(program) if has_data else [],
            function=function if has_data else "",
            inputs=program.inputs,
            training=training,
            defaults=defaults,
        ),
    )


def _gives_batches(data: DataScript, name: str) -> bool:
    """Whether data.py has a function that needs nothing to give batches."""
    return any(f.name == name and not f.takes for f in data.functions)


def _names(program: Program) -> list[str]:
    """What a script imports from model.py."""
    used = " ".join(compile_arguments(program))
    names = ("LOSS_WEIGHTS", "build_model", "losses", "metrics")
    return [name for name in names if name == "build_model" or f"={name}" in used]
