"""Which top of which data layer goes where: the functions of data.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from caffe2k.codegen.data_layers import DataFunction, DataLayer, ReaderLayer, Wiring
from caffe2k.codegen.program import Program


def data_functions(
    program: Program, layers: Mapping[str, tuple[DataLayer, ...]]
) -> tuple[DataFunction, ...]:
    """train_data and test_data, for the phases ("TRAIN", "TEST") that have data layers.

    A net without losses and metrics that has nothing but Input layers, such as a deploy
    net, has none.
    """
    inputs, outputs = _inputs(program), _targets(program)
    return tuple(
        DataFunction(f"{phase.lower()}_data", phase, found, inputs, outputs)
        for phase in ("TRAIN", "TEST")
        if (found := _joined(layers.get(phase, ()), outputs is not None))
    )


def _joined(layers: tuple[DataLayer, ...], is_trained: bool) -> tuple[DataLayer, ...]:
    """The layers, all Input layers as one: the program fills them together."""
    inputs = [x for x in layers if isinstance(x, ReaderLayer) and x.takes == "blobs"]
    others = tuple(layer for layer in layers if layer not in inputs)
    if not inputs or not (others or is_trained):
        return others
    shapes = [shape for layer in inputs for shape in layer.settings["shapes"]]
    tops = tuple(top for layer in inputs for top in layer.tops)
    return (*others, replace(inputs[0], tops=tops, settings={"shapes": shapes}))


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
