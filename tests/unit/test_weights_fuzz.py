"""Damaged files of weights: an error or values, within a second and 1 GB; never a crash.

`make fuzz` does the same for longer.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count"), [("binary", 10_000), ("hdf5", 3_000), ("keras", 3_000)]
)
def test_damaged_files(kind: str, count: int) -> None:
    command = ("-m", "tests.fuzz.weights", "--kind", kind, "--count", str(count))
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    last = (done.stdout.splitlines() or [""])[-1]
    assert done.returncode == 0, f"file {last}: {done.stderr[-2000:]}"
    assert last.startswith(f"{count} files, ")
