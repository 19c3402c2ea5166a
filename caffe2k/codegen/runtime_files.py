"""Which runtime modules the emitted scripts need."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from caffe2k.diagnostics import Diagnostic, Severity, TranslationError
from caffe2k.resources import runtime_module, runtime_modules


def runtime_files(
    scripts: Iterable[str], plugged_in: Mapping[str, Path] = MappingProxyType({})
) -> dict[str, str]:
    """Path in the output -> text of each runtime module that `scripts` import.

    With what those import in turn, byte for byte; empty if none is needed. `plugged_in`
    are the modules of plug-ins, by name. Raises TranslationError for one that is missing.
    """
    waiting = [name for script in scripts for name in _imported(script)]
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _source(name, plugged_in)
            waiting.extend(_siblings(found[name]))
    if found:
        found["__init__"] = runtime_module("__init__")
    return {f"caffe_runtime/{name}.py": found[name] for name in sorted(found)}


def _source(name: str, plugged_in: Mapping[str, Path]) -> str:
    if name in plugged_in:
        return plugged_in[name].read_bytes().decode("utf-8")
    if name in runtime_modules():
        return runtime_module(name)
    missing = Diagnostic(
        Severity.ERROR,
        "plugin-runtime",
        f"there is no runtime module `{name}`, which an op of a plug-in uses",
        help=f"put it beside the plug-in, as caffe_runtime/{name}.py",
    )
    raise TranslationError([missing])


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
