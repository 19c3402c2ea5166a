"""Where Keras's own files of weights have the layers of the emitted model."""

from __future__ import annotations

import re
from collections import Counter

from caffe2k.codegen.program import KerasLayer, Program, Step, Tensor


def saved_groups(program: Program) -> dict[str, str]:
    """Layer name -> its group in what `model.save_weights("x.weights.h5")` writes.

    Keras calls groups after classes, numbered in the order of `model.layers`
    (keras/src/saving/saving_lib.py, _save_container_state).
    """
    layers = list(program.layers())
    if not program.is_chain:
        layers = _in_keras_order(program)
    numbers: Counter[str] = Counter()
    groups: dict[str, str] = {}
    for layer in layers:
        name = _snake_case(layer.call.target.name)
        number = numbers[name]
        numbers[name] += 1
        if layer.name is not None:
            groups[layer.name] = (
                f"layers/{name}_{number}" if number else f"layers/{name}"
            )
    return groups


def _snake_case(name: str) -> str:
    """keras/src/utils/naming.py, to_snake_case."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _in_keras_order(program: Program) -> list[KerasLayer]:
    """The layers of a functional model, the farthest from its outputs first.

    Layers as far away as each other come in the order in which a walk from the outputs
    first meets them (keras/src/ops/function.py, map_graph).
    """
    met, finished = _walk(program)
    makers = _makers(program)
    step_depths: dict[Step, int] = {}
    layer_depths: dict[KerasLayer, int] = {}
    for step in reversed(finished):
        depth = max(step_depths.get(step, 0), layer_depths.get(step.layer, 0))
        step_depths[step] = layer_depths[step.layer] = depth
        for tensor in step.inputs:
            if (source := makers.get(tensor)) is not None:
                step_depths[source] = max(depth + 1, step_depths.get(source, 0))
    return sorted(met, key=lambda layer: (-layer_depths[layer], met[layer]))


def _makers(program: Program) -> dict[Tensor, Step]:
    return {tensor: step for step in program.steps for tensor in step.outputs}


def _walk(program: Program) -> tuple[dict[KerasLayer, int], list[Step]]:
    """When a walk from the outputs first meets each layer, and in which order it ends.

    The walk keeps its own stack, since nets are deeper than Python's.
    """
    makers = _makers(program)
    met: dict[KerasLayer, int] = {}
    started: set[Step] = set()
    finished: list[Step] = []
    # Keras goes through a dict of outputs in the order of its keys.
    outputs = sorted(program.outputs, key=lambda output: output.key, reverse=True)
    stack = [(makers[output.tensor], False) for output in outputs]
    while stack:
        step, is_done = stack.pop()
        if is_done:
            finished.append(step)
            continue
        if step in started:
            continue
        started.add(step)
        met.setdefault(step.layer, len(met))
        stack.append((step, True))
        sources = (makers.get(tensor) for tensor in reversed(step.inputs))
        stack += [(source, False) for source in sources if source is not None]
    return met, finished
