"""Finds the files that the package reads: beside it in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def grammar(name: str) -> str:
    """The text of a file of grammars/, for example `prototxt.lark`."""
    return _read("grammars", name)


def template(name: str) -> str:
    """The text of a file of templates/."""
    return _read("templates", name)


def runtime_module(name: str) -> str:
    """The source of `caffe2k/runtime/<name>.py`, byte for byte."""
    path = _PACKAGE / "runtime" / f"{name}.py"
    return path.read_bytes().decode("utf-8")


def runtime_modules() -> frozenset[str]:
    """The names of all modules of the runtime."""
    return frozenset(path.stem for path in (_PACKAGE / "runtime").glob("*.py"))


def _read(folder: str, name: str) -> str:
    """A wheel carries the folder inside the package, a checkout beside it."""
    inside = _PACKAGE / folder
    home = inside if inside.is_dir() else _PACKAGE.parent / folder
    return (home / name).read_bytes().decode("utf-8")
