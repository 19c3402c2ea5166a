"""The register of layer types; a type is declared once.

An op's module is imported when one of its types is first asked for: a translation uses
few of them, and has half a second in all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from caffe2k.ops.base import LayerOp

_OPS: dict[str, type[LayerOp]] = {}
_DECLARATION = re.compile(r"^@layer_op\(([^)]*)\)", re.MULTILINE)

Op = TypeVar("Op", bound=type[LayerOp])


def layer_op(*types: str) -> Callable[[Op], Op]:
    """Registers an op for one or more Caffe layer types; a second one is refused."""

    def register(op: Op) -> Op:
        for name in types:
            if name in _OPS:
                raise ValueError(f"layer type {name} is registered twice")
            _OPS[name] = op
        return op

    return register


def find_op(layer_type: str) -> type[LayerOp] | None:
    """The op of a Caffe layer type, or None where there is none."""
    if layer_type not in _OPS and layer_type in _declared():
        import_module(_declared()[layer_type])
    return _OPS.get(layer_type)


def registered_ops() -> Mapping[str, type[LayerOp]]:
    """All ops by layer type."""
    for module in set(_declared().values()):
        import_module(module)
    return MappingProxyType(_OPS)


@lru_cache(maxsize=1)
def _declared() -> Mapping[str, str]:
    """Layer type -> the module of this package whose source declares it."""
    found: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        for names in _DECLARATION.findall(source):
            for name in re.findall(r'"([^"]+)"', names):
                found[name] = f"{__package__}.{path.stem}"
    return found
