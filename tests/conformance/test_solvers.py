"""Whole training runs of Caffe, repeated by the emitted train.py on the case's own data."""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pytest

from caffe2k.resuming import port_solverstate
from tests.conformance.suite import GIVEN, cases, error
from tests.conformance.training import Run, trained

EXACT_SOLVERS = ('type: "SGD"', 'type: "Nesterov"')
EXACT, CLOSE = 1e-5, 5e-5
NUMBER = re.compile(r"-?\d[\d.]*(?:e[+-]?\d+)?")


@pytest.mark.slow
@pytest.mark.parametrize("folder", cases("solvers"))
def test_run(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All that Caffe recorded, and the lines that it printed in their order."""
    run = trained(folder, tmp_path, monkeypatch)
    assert wrong(run, folder) == {}
    logged = (folder / "caffe.log").read_text(encoding="utf-8")
    ours, caffes = progress(capsys.readouterr().out), progress(logged)
    different = [p for p in zip_longest(ours, caffes) if not same(*p, limit(folder))]
    assert different == []


def resumable() -> list[object]:
    """A case of each solver type, of each snapshot format, and where counting is hard."""
    chosen = ("adadelta", "adagrad", "adam", "nesterov", "rmsprop", "sgd_batchnorm")
    chosen += ("sgd_hdf5_snapshot", "sgd_iter_size", "sgd_multistep", "sgd_siamese")
    return cases("solvers") if GIVEN else cases("solvers", chosen)


@pytest.mark.slow
@pytest.mark.parametrize("folder", resumable())
def test_caffes_snapshot_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty iterations from Caffe's own state after ten."""

    def snapshot(scratch: Path) -> Path:
        state = next(folder.glob("snap_iter_10.solverstate*"))
        port_solverstate(state, folder / "solver.prototxt", scratch / "snap.h5")
        return scratch / "snap.h5"

    run = trained(folder, tmp_path, monkeypatch, snapshot)
    assert len(run.loss) == 20
    assert wrong(run, folder, start=10) == {}


def limit(folder: Path) -> float:
    """The suite's tolerance for a case."""
    solver = (folder / "solver.prototxt").read_text(encoding="utf-8")
    exact = "type:" not in solver or any(kind in solver for kind in EXACT_SOLVERS)
    return EXACT if exact else CLOSE


def wrong(run: Run, folder: Path, start: int = 0) -> dict[str, str]:
    """What differs from Caffe's recording after the iteration `start`, and how much."""
    with np.load(folder / "trajectory.npz") as npz:
        caffe = dict(npz)
    worst = {
        "loss": error(np.array(run.loss), caffe["loss"][start:]),
        "lr": error(np.array(run.lr), caffe["lr"][start:]),
    }
    for key, expected in caffe.items():
        kind, _, rest = key.partition("/")
        iteration, _, name = rest.partition("/")
        if kind not in ("param", "test") or int(iteration) < start:
            continue
        if kind == "param":
            layer, _, index = name.rpartition("/")
            found = run.params[int(iteration)][layer, int(index)]
        else:
            found = np.array(run.tests[int(iteration)][name])
        worst[key] = error(found, expected)
    return {k: f"{e:.2e}" for k, e in worst.items() if not e <= limit(folder)}


def progress(log: str) -> list[str]:
    """The lines of a log about losses, rates and tests, without times and speeds."""
    lines = (line.partition("] ")[2] for line in log.splitlines())
    shown = ("Iteration ", "Train net output", "Test net output", "Optimization Done.")
    kept = [line.strip() for line in lines if line.strip().startswith(shown)]
    if kept[-2:] == ["Optimization Done."] * 2:
        kept.pop()  # caffe.cpp says it again
    return [re.sub(r" (\([^()]* iters\))?,", ",", line) for line in kept]


def same(ours: str | None, caffes: str | None, limit: float) -> bool:
    """Whether two lines have the same words, and numbers that agree."""
    if ours is None or caffes is None:
        return False
    pairs = zip(NUMBER.findall(ours), NUMBER.findall(caffes), strict=False)
    # Caffe prints six digits.
    near = all(
        abs(float(a) - float(b)) <= (limit + 1e-5) * max(1, abs(float(b)))
        for a, b in pairs
    )
    return near and NUMBER.sub("#", ours) == NUMBER.sub("#", caffes)
