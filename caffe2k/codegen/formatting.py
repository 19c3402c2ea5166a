"""Formats emitted files with ruff, in its default style."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ruff.__main__ import find_ruff_bin

_FORMAT = (find_ruff_bin(), "format", "--isolated", "--no-cache")


def format_python(text: str) -> str:
    """A Python source as `ruff format` leaves it."""
    done = subprocess.run(
        [*_FORMAT, "-"], input=text.encode("utf-8"), capture_output=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"ruff can't format:\n{done.stderr.decode('utf-8')}\n{text}")
    return done.stdout.decode("utf-8")


def format_files(paths: Sequence[Path]) -> None:
    """Formats Python files in place, in one go."""
    if paths:
        command = [*_FORMAT, "--quiet", *map(str, paths)]
        subprocess.run(command, check=True)
