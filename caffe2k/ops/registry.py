"""The register of layer types; a type is declared once, and a plug-in may replace it.

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
from caffe2k.ops.plugins import load_installed

_OPS: dict[str, type[LayerOp]] = {}
_PLUGGED_IN: dict[str, type[LayerOp]] = {}
_DECLARATION = re.compile(r"^@layer_op\(([^)]*)\)", re.MULTILINE)

Op = TypeVar("Op", bound=type[LayerOp])


def layer_op(*types: str) -> Callable[[Op], Op]:
    """Registers an op for one or more Caffe layer types.

    A Python layer's type is `module.layer`. A plug-in's op stands before one of the
    package, and before that of a plug-in that was loaded earlier. Raises ValueError where
    one module registers a type twice, or two modules of the package do.
    """

    def register(op: Op) -> Op:
        is_ours = op.__module__.startswith(f"{__package__}.")
        ops = _OPS if is_ours else _PLUGGED_IN
        for name in types:
            known = ops.get(name)
            if known is not None and (is_ours or known.__module__ == op.__module__):
                raise ValueError(f"layer type {name} is registered twice")
            ops[name] = op
        return op

    return register


def find_op(layer_type: str) -> type[LayerOp] | None:
    """The op of a Caffe layer type, or None where there is none."""
    load_installed()
    if layer_type in _PLUGGED_IN:
        return _PLUGGED_IN[layer_type]
    if layer_type not in _OPS and layer_type in _declared():
        import_module(_declared()[layer_type])
    return _OPS.get(layer_type)


def registered_ops() -> Mapping[str, type[LayerOp]]:
    """All ops by layer type."""
    load_installed()
    for module in set(_declared().values()):
        import_module(module)
    return MappingProxyType(_OPS | _PLUGGED_IN)


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
