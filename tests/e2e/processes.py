"""Emitted scripts, run as their user runs them: in a process and a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def python(
    *command: str | Path,
    folder: Path,
    data: Path | None = None,
    fails: bool = False,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    """Runs Python in `folder` with the data of another, and sees how it ends."""
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    if data is not None:
        variables["CAFFE_DATA_ROOT"] = str(data)
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done
