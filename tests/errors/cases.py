"""The cases of this folder: commands that go wrong, and exactly what they print.

A case is a folder with the files of a user, the arguments of `caffe2k` in `command`, and
what it prints to stderr in `expected.txt`. `without` names a module that the user has
not installed, `environment` sets variables. Binary files are made by
tests/errors/binaries.py.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from caffe2k.cli import main
from tests.errors.binaries import BINARIES
from tests.plugins import forgotten

TEN_MISTAKES = "ten_mistakes"
"""The one case that is not called after a code."""

HERE = Path(__file__).resolve().parent
_OURS = ("command", "environment", "expected.txt", "without")


def names() -> list[str]:
    """The names of all cases."""
    return sorted(path.parent.name for path in HERE.glob("*/command"))


def expected(name: str) -> str:
    """What a case has to print to stderr."""
    return (HERE / name / "expected.txt").read_text(encoding="utf-8")


def run(name: str) -> tuple[Result, list[str]]:
    """Runs a case in a copy of its folder; also what lies there then and didn't before."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "case"
        shutil.copytree(HERE / name, folder, ignore=shutil.ignore_patterns(*_OURS))
        if name in BINARIES:
            BINARIES[name](folder)
        command = (HERE / name / "command").read_text(encoding="utf-8")
        before = set(folder.rglob("*"))
        with _inside(folder), _without(HERE / name / "without"), forgotten():
            environment = _environment(HERE / name / "environment")
            result = CliRunner(env=environment).invoke(main, shlex.split(command))
        return result, sorted(p.name for p in set(folder.rglob("*")) - before)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def _environment(listing: Path) -> dict[str, str | None]:
    lines = listing.read_text(encoding="utf-8").split() if listing.exists() else []
    return {variable: value for variable, _, value in (x.partition("=") for x in lines)}


@contextmanager
def _without(listing: Path) -> Iterator[None]:
    """Makes modules look as if they were not installed."""
    hidden = listing.read_text(encoding="utf-8").split() if listing.exists() else []
    kept = {name: sys.modules[name] for name in hidden if name in sys.modules}
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        sys.modules.update(kept)


def regenerate() -> None:
    """Writes what every case prints; part of `make golden`."""
    for name in names():
        result, _ = run(name)
        path = HERE / name / "expected.txt"
        path.write_text(result.stderr, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    regenerate()
