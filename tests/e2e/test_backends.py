"""Training on Keras's other backends, where they are installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_solver_runs_are_caffes(backend: str) -> None:
    """A run with SGD and one with Adam, the latter also from Caffe's own snapshot."""
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    solvers = TESTS / "conformance" / "test_solvers.py"
    chosen = (
        "test_run[solvers/sgd_fixed] or test_run[solvers/adam] or goes_on[solvers/adam]"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-m",
            "slow",
            str(solvers),
            "-k",
            chosen,
        ],
        cwd=TESTS.parent,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
