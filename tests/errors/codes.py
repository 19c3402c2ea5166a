"""Finds the code of every diagnostic that the sources of caffe2k can give."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import caffe2k

PACKAGE = Path(caffe2k.__file__).resolve().parent

PUT_TOGETHER = {
    "f'{word}-count'": {"bottom-count", "top-count"},
    "f\"unknown-{what.replace('_', '-').replace(' ', '-')}\"": {
        "unknown-solver-type",
        "unknown-lr-policy",
        "unknown-regularization-type",
        "unknown-eval-type",
        "unknown-ap-version",
    },
}
"""Codes that are not written out in one piece, by the expression that makes them."""


@cache
def all_codes() -> dict[str, str]:
    """Code -> file and line that gives it.

    Where a function or class has a parameter `code`, what is passed for it is one.
    Raises ValueError for an expression that can't be told.
    """
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in _sources()}
    own = {path: dict(_takers(tree)) for path, tree in trees.items()}
    public = {
        name: position
        for taken in own.values()
        for name, position in taken.items()
        if not name.startswith("_")
    }
    found: dict[str, str] = {}
    for path, tree in trees.items():
        takers = public | own[path]
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and _name(call.func) in takers:
                place = f"{path.relative_to(PACKAGE.parent)}:{call.lineno}"
                for code in _codes(call, takers[_name(call.func)], place):
                    found.setdefault(code, place)
    return found


def _sources() -> Iterator[Path]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] != "runtime":
            yield path


def _takers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Name and position of `code` of each function and class that takes one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name != "__init__":
            yield from _taker(node.name, [a.arg for a in node.args.args])
        elif isinstance(node, ast.ClassDef):
            fields = [
                item.target.id
                for item in node.body
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
            ]
            yield from _taker(node.name, fields)
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    yield from _taker(node.name, [a.arg for a in item.args.args])


def _taker(name: str, parameters: list[str]) -> Iterator[tuple[str, int]]:
    parameters = [p for p in parameters if p != "self"]
    if "code" in parameters:
        yield name, parameters.index("code")


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _codes(call: ast.Call, position: int, place: str) -> set[str]:
    by_name = [k.value for k in call.keywords if k.arg == "code"]
    given = (call.args[position : position + 1] or by_name)[0]
    match given:
        case ast.Constant(value=str(code)):
            return {code}
        case ast.Name(id="code") | ast.Attribute(attr="code"):
            return set()  # passed on
    text = ast.unparse(given)
    if text not in PUT_TOGETHER:
        raise ValueError(f"{place}: which codes are {text}?")
    return PUT_TOGETHER[text]
