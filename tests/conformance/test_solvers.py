"""Whole training runs of Caffe, repeated by the emitted train.py on the case's own data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conformance.not_yet import NOT_YET_TRAINED
from tests.conformance.suite import cases, error
from tests.conformance.training import trained

EXACT_SOLVERS = ('type: "SGD"', 'type: "Nesterov"')
EXACT, CLOSE = 1e-5, 5e-5


@pytest.mark.slow
@pytest.mark.parametrize("folder", cases("solvers", NOT_YET_TRAINED))
def test_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with np.load(folder / "trajectory.npz") as npz:
        caffe = dict(npz)
    solver = (folder / "solver.prototxt").read_text(encoding="utf-8")
    exact = "type:" not in solver or any(kind in solver for kind in EXACT_SOLVERS)
    limit = EXACT if exact else CLOSE
    run = trained(folder, tmp_path, monkeypatch)
    worst = {
        "loss": error(np.array(run.loss), caffe["loss"]),
        "lr": error(np.array(run.lr), caffe["lr"]),
    }
    for key, expected in caffe.items():
        kind, _, rest = key.partition("/")
        if kind == "param":
            iteration, _, blob = rest.partition("/")
            layer, _, index = blob.rpartition("/")
            found = run.params[int(iteration)][layer, int(index)]
            worst[key] = error(found, expected)
        elif kind == "test":
            iteration, _, top = rest.partition("/")
            worst[key] = error(np.array(run.tests[int(iteration)][top]), expected)
    assert {k: f"{e:.2e}" for k, e in worst.items() if not e <= limit} == {}
