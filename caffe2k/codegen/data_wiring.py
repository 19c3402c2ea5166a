"""Which top of which data layer goes where: the functions of data.py."""

from __future__ import annotations

from collections.abc import Mapping

from caffe2k.codegen.data_script import DataFunction, DataLayer, Wiring
from caffe2k.codegen.program import Program


def data_functions(
    program: Program, layers: Mapping[str, tuple[DataLayer, ...]]
) -> tuple[DataFunction, ...]:
    """train_data and test_data, for the phases ("TRAIN", "TEST") that have data layers."""
    inputs, outputs = _inputs(program), _targets(program)
    return tuple(
        DataFunction(f"{phase.lower()}_data", phase, layers[phase], inputs, outputs)
        for phase in ("TRAIN", "TEST")
        if layers.get(phase)
    )


def _inputs(program: Program) -> Wiring:
    if len(program.inputs) == 1:
        return program.inputs[0].blob
    return {model_input.name: model_input.blob for model_input in program.inputs}


def _targets(program: Program) -> Wiring | None:
    """The label of each output that a loss or metric reads.

    Other outputs get one of these labels, which nobody reads: with metrics, Keras wants a
    target for every output.
    """
    targets = {term.output: term.target_blob for term in program.terms}
    if not targets:
        return None
    first = next(iter(targets.values()))
    if len(program.outputs) == 1:
        return first
    return {output.key: targets.get(output.key, first) for output in program.outputs}
