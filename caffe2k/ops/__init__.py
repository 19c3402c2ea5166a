"""Every Caffe layer that we know: one file per layer or close family."""

from __future__ import annotations

import importlib
import pkgutil

from caffe2k.ops.base import LayerOp
from caffe2k.ops.registry import find_op, layer_op, registered_ops

__all__ = ["LayerOp", "find_op", "layer_op", "load_all", "registered_ops"]

_NOT_OPS = {"base", "registry", "fillers", "lowering", "sharing"}


def load_all() -> None:
    """Imports every op module of this package, so that each registers its layers."""
    for module in pkgutil.iter_modules(__path__):
        if module.name not in _NOT_OPS:
            importlib.import_module(f"{__name__}.{module.name}")


load_all()
