"""Python text from data: the only way in which a value reaches an emitted file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from caffe2k.codegen.program import Argument, Call, Target

_NOTHING: Mapping[Call, str] = {}


def literal(value: Argument) -> str:
    """The Python expression that gives `value`; whatever it holds, it stays data."""
    if isinstance(value, Call):
        return call_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, tuple):
        inner = ", ".join(literal(v) for v in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, list):
        return f"[{', '.join(literal(v) for v in value)}]"
    if isinstance(value, Mapping):
        pairs = (f"{literal(k)}: {literal(v)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    raise TypeError(f"no literal for a {type(value).__name__}")


def call_text(
    call: Call, name: str | None = None, named: Mapping[Call, str] = _NOTHING
) -> str:
    """`layers.Conv2D(20, 5, name="conv1")`; calls in `named` have an expression."""

    def text(value: Argument) -> str:
        if isinstance(value, Call) and value in named:
            return named[value]
        return literal(value)

    arguments = [text(value) for value in call.args]
    arguments += [f"{key}={text(value)}" for key, value in call.kwargs]
    if name is not None:
        arguments.append(f"name={literal(name)}")
    return f"{target_text(call.target)}({', '.join(arguments)})"


def target_text(target: Target) -> str:
    """A Keras class by its module's last word, a runtime class by its own name."""
    if target.is_runtime:
        return target.name
    return f"{target.module.rpartition('.')[2]}.{target.name}"


_PRAGMA = re.compile(
    r"#\s*(?=noqa|(ruff|fmt|yapf|isort|flake8|mypy|pyright|pylint)\b|type:\s*ignore)",
    re.IGNORECASE,
)


def comment(text: str) -> str:
    """One line of a prototxt's comment as a Python comment, and as no tool's setting."""
    clean = "".join(c if c.isprintable() else " " for c in text).strip()
    return _PRAGMA.sub("# - ", f"# {clean}") if clean else "#"


def prose(text: str) -> str:
    """A name from a prototxt as it may stand in a docstring."""
    clean = "".join(c if c.isalnum() or c in " .-_/" else "?" for c in text).strip()
    return clean if len(clean) <= 60 else f"{clean[:57]}..."
