"""A script: runs cases on the Keras backend of the environment, and reports.

A process has one backend, so the tests of another one start this in a process of its
own. For each folder that standard input names, standard output gets a line of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import keras

from tests.conformance.emitted import (
    Arrays,
    EmittedNet,
    Tensors,
    as_array,
    translated,
)
from tests.conformance.suite import Measured, error, load

Pass = tuple[Tensors, Tensors, dict[str, object]]
"""The outputs and losses of a model, and the gradients of its inputs."""


def measure(folder: Path, scratch: Path) -> list[Measured]:
    """How far each output and each input's gradient of the case is from Caffe's."""
    case = load(folder)
    translation = translated(case.net, case.weights, case.phase, scratch)
    net = EmittedNet(translation, scratch, case.phase)
    run = {"torch": _with_torch, "jax": _with_jax}[keras.backend.backend()]
    tensors = net.tensors(case.of("in"))
    outputs, losses, din = run(net, tensors, case.of("dout"))
    found = net.tops(tensors, outputs, losses)
    measured = [
        Measured("out", name, error(found[name], value))
        for name, value in case.of("out").items()
    ]
    for name, value in case.of("din").items():
        gradient = net.to_caffe(as_array(din[name]))
        measured.append(Measured("din", name, error(gradient, value)))
    return measured


def _with_torch(net: EmittedNet, tensors: dict[str, Any], douts: Arrays) -> Pass:
    inputs = {name: t.clone().requires_grad_() for name, t in tensors.items()}
    outputs, losses = net.call(inputs)
    objective: Any = net.objective(outputs, losses, douts)
    if objective.requires_grad:
        objective.backward()
    din = {
        name: keras.ops.zeros_like(t) if t.grad is None else t.grad
        for name, t in inputs.items()
    }
    return outputs, losses, din


def _with_jax(net: EmittedNet, tensors: dict[str, Any], douts: Arrays) -> Pass:
    import jax

    def objective(tensors: dict[str, Any]) -> tuple[object, tuple[Tensors, Tensors]]:
        with keras.StatelessScope(collect_losses=True):
            outputs, losses = net.call(tensors)
            return net.objective(outputs, losses, douts), (outputs, losses)

    run = jax.grad(objective, has_aux=True)
    if net.supports_jit:
        run = jax.jit(run)
    din, (outputs, losses) = run(tensors)
    return outputs, losses, din


def main() -> None:
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        report: dict[str, object] = {"case": folder.name}
        with tempfile.TemporaryDirectory() as scratch:
            try:
                measured = measure(folder, Path(scratch) / "out")
                report["off"] = [str(m) for m in measured if not m.ok]
            except Exception as e:  # noqa: BLE001 - whatever it is, it goes into the report
                report["off"] = [f"{type(e).__name__}: {e}"]
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
