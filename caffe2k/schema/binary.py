"""Messages from protobuf's binary format, and into it."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from caffe2k.schema import caffe_pb2
from caffe2k.schema.message import Message, message_from_pb


def parse(schema: str, data: bytes) -> Message:
    """The message of a type in `data`. Fields that the schema lacks are passed over.

    Raises ValueError if it is no such message.
    """
    message: ProtobufMessage = getattr(caffe_pb2, schema)()
    try:
        message.ParseFromString(data)
        return message_from_pb(message)
    except (DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None


def serialize(message: Message) -> bytes:
    """A message as protobuf writes it."""
    made: ProtobufMessage = getattr(caffe_pb2, message.schema.name)()
    _fill(made, message)
    return made.SerializePartialToString(deterministic=True)


def _fill(made: ProtobufMessage, message: Message) -> None:
    for name, entry in message.entries():
        field, value = message.schema.fields[name], entry.value
        if isinstance(value, Message):
            inner = getattr(made, name)
            inner = inner.add() if field.repeated else inner
            inner.SetInParent()
            _fill(inner, value)
            continue
        plain: Any = field.enum[value] if field.kind == "enum" else value
        if field.kind == "string":
            # protobuf refuses what is no UTF-8, which Caffe doesn't mind.
            plain = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if field.repeated:
            getattr(made, name).append(plain)
        else:
            setattr(made, name, plain)
