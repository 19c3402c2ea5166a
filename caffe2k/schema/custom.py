"""Parameter messages that a plug-in declares, beside those of caffe.proto."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caffe2k.schema.message import FieldType, MessageType, message_type

_KINDS = {bool: "bool", int: "int", float: "float", str: "string"}
_ZEROS = {"bool": False, "int": 0, "float": 0.0, "string": ""}
_INT32 = (-(2**31), 2**31 - 1)


def layer_param(name: str, **fields: Any) -> None:
    """Gives every layer a message field `name` with these fields.

    A field is declared by its default, as in `margin=0.35`, or by its type, as in
    `margin=float`; `[float]` is a repeated field, a tuple of names an enum with the first
    as its default, a dict or a MessageType a message. Where layers have the message
    already, it gains the fields that it has not. Raises ValueError for a field that is declared otherwise, or
    is not a message.
    """
    layer = message_type("LayerParameter")
    known = layer.fields.get(name)
    if known is None:
        layer.add_field(_field(name, fields))
        return
    if known.message is None:
        raise ValueError(f"`{name}` of a layer is no message")
    for field_name, declared in fields.items():
        if field_name not in known.message.fields:
            known.message.add_field(_field(field_name, declared))


def _field(name: str, declared: Any) -> FieldType:
    if isinstance(declared, list) and len(declared) == 1:
        one = _field(name, declared[0])
        return FieldType(
            name, one.kind, True, None, False, one.message, one.enum, one.bounds
        )
    if isinstance(declared, Mapping):
        fields = {key: _field(key, value) for key, value in declared.items()}
        declared = MessageType(name, fields)
    if isinstance(declared, MessageType):
        return FieldType(name, "message", False, None, message=declared)
    if isinstance(declared, tuple) and declared:
        enum = {value: number for number, value in enumerate(declared)}
        return FieldType(name, "enum", False, declared[0], enum=enum)
    kind = _KINDS.get(declared if isinstance(declared, type) else type(declared))
    if kind is None:
        raise ValueError(
            f"`{name}` is declared by {declared!r}, which is no default, no type, no "
            "[type], no tuple of names and no dict"
        )
    default = _ZEROS[kind] if isinstance(declared, type) else declared
    bounds = _INT32 if kind == "int" else None
    return FieldType(name, kind, False, default, bounds=bounds)
