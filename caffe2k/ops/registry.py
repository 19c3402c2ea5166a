"""The register of layer types; a type is declared once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar

from caffe2k.ops.base import LayerOp

_OPS: dict[str, type[LayerOp]] = {}

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
    return _OPS.get(layer_type)


def registered_ops() -> Mapping[str, type[LayerOp]]:
    """All ops by layer type."""
    return MappingProxyType(_OPS)
