"""Keeps the plug-ins that a test loads from the tests after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from caffe2k.ops import plugins, registry
from caffe2k.schema.message import message_type


@contextmanager
def forgotten() -> Iterator[None]:
    """Ops, parameters and runtime modules of plug-ins are gone afterwards."""
    layer = message_type("LayerParameter")
    own = dict(layer._own)
    loaded = plugins._Loaded({}, {}, installed=True)
    with (
        mock.patch.object(registry, "_PLUGGED_IN", {}),
        mock.patch.object(plugins, "_loaded", loaded),
    ):
        yield
    layer._own, layer._fields = own, None
