"""Which runtime modules the emitted scripts need."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from caffe2k.resources import runtime_module


def runtime_files(scripts: Iterable[str]) -> dict[str, str]:
    """Path in the output -> text of each runtime module that `scripts` import.

    With what those import in turn, byte for byte; empty if none is needed.
    """
    waiting = [name for script in scripts for name in _imported(script)]
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = runtime_module(name)
            waiting.extend(_siblings(found[name]))
    if found:
        found["__init__"] = runtime_module("__init__")
    return {f"caffe_runtime/{name}.py": found[name] for name in sorted(found)}


def _imported(script: str) -> list[str]:
    prefix = "caffe_runtime."
    return [
        node.module.removeprefix(prefix)
        for node in ast.walk(ast.parse(script))
        if isinstance(node, ast.ImportFrom)
        and node.module is not None
        and node.module.startswith(prefix)
    ]


def _siblings(module: str) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names += [node.module] if node.module else [a.name for a in node.names]
    return names
