"""A Caffe message as it was written: typed values, their places, and what was read."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message as ProtobufMessage

from caffe2k.diagnostics import SourceSpan
from caffe2k.schema import caffe_pb2
from caffe2k.schema.forks import fork_of


@dataclass(frozen=True)
class FieldType:
    """What the schema says of one field."""

    name: str
    kind: str  # "message", "enum", "string", "bytes", "bool", "int" or "float"
    repeated: bool
    default: Any
    required: bool = False
    message: MessageType | None = field(default=None, repr=False)
    enum: Mapping[str, int] = field(default_factory=dict, repr=False)
    bounds: tuple[int, int] | None = None


class MessageType:
    """What the schema says of one message; `message_type` hands out the only copy.

    `fields` are those that a plug-in declares beside, or instead of, a descriptor's.
    """

    def __init__(
        self,
        name: str,
        fields: Mapping[str, FieldType] = MappingProxyType({}),
        descriptor: Descriptor | None = None,
    ) -> None:
        self.name = name
        self._descriptor = descriptor
        self._own = dict(fields)
        self._fields: dict[str, FieldType] | None = None
        self._required: tuple[str, ...] = ()

    @property
    def fields(self) -> Mapping[str, FieldType]:
        """The fields by name, in the order of the schema."""
        if self._fields is None:
            described = self._descriptor.fields if self._descriptor else ()
            self._fields = {f.name: _field_type(f) for f in described} | self._own
            required = (f.name for f in self._fields.values() if f.required)
            self._required = tuple(required)
        return self._fields

    def add_field(self, added: FieldType) -> None:
        """Adds a field that a plug-in declares."""
        self._own[added.name] = added
        self._fields = None

    @property
    def required(self) -> tuple[str, ...]:
        """The names of the fields that must be set."""
        return self._required if self.fields else ()

    def fork_of(self, name: str) -> str | None:
        """The fork of Caffe that added a field; None for BVLC's own."""
        if self._descriptor is None or name in self._own:
            return None
        return fork_of(self._descriptor.fields_by_name[name])

    def __repr__(self) -> str:
        return f"MessageType({self.name})"


def message_type(name: str) -> MessageType:
    """The type of the message called `name` in caffe.proto."""
    return _message_type(caffe_pb2.DESCRIPTOR.message_types_by_name[name])


@cache
def _message_type(descriptor: Descriptor) -> MessageType:
    return MessageType(descriptor.name, descriptor=descriptor)


_INT_BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}

_KINDS = {
    **dict.fromkeys(_INT_BOUNDS, "int"),
    FieldDescriptor.CPPTYPE_FLOAT: "float",
    FieldDescriptor.CPPTYPE_DOUBLE: "float",
    FieldDescriptor.CPPTYPE_BOOL: "bool",
    FieldDescriptor.CPPTYPE_ENUM: "enum",
    FieldDescriptor.CPPTYPE_STRING: "string",
    FieldDescriptor.CPPTYPE_MESSAGE: "message",
}


def _field_type(f: FieldDescriptor) -> FieldType:
    is_bytes = f.type == FieldDescriptor.TYPE_BYTES
    enum = f.enum_type
    return FieldType(
        f.name,
        "bytes" if is_bytes else _KINDS[f.cpp_type],
        f.is_repeated,
        None if f.is_repeated or f.message_type else _plain(f, f.default_value),
        f.is_required,
        _message_type(f.message_type) if f.message_type else None,
        {v.name: v.number for v in enum.values} if enum else {},
        _INT_BOUNDS.get(f.cpp_type),
    )


def _plain(f: FieldDescriptor, value: Any) -> Any:
    """A value as protobuf holds it, as a Message holds it."""
    if f.enum_type is not None:
        return f.enum_type.values_by_number[value].name
    if f.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return shortest_float32(value)
    if f.type == FieldDescriptor.TYPE_STRING and isinstance(value, bytes):
        # No UTF-8, which Caffe doesn't mind: kept as the reader of prototxts keeps it.
        return value.decode("utf-8", "surrogateescape")
    return value


def shortest_float32(value: float) -> float:
    """The shortest decimal that is the same float32 as `value`: 0.1, not 0.10000000149."""
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        try:
            if struct.pack("f", short) == struct.pack("f", value):
                return short
        except OverflowError:
            continue
    return value


@dataclass(frozen=True)
class Entry:
    """One value of a field, the place of its name, and the comments that go with it.

    `comments` stand on the lines directly above the field, `detached` further up and
    set apart by a blank line (an empty comment is a blank line), `trailing` behind it.
    """

    value: Any
    span: SourceSpan | None = None
    comments: tuple[str, ...] = ()
    detached: tuple[str, ...] = ()
    trailing: str = ""

    def with_value(self, value: Any) -> Entry:
        """Another value in the same place."""
        return replace(self, value=value)


@dataclass(frozen=True)
class UnknownField:
    """A field that the schema does not have, as dicts, lists and scalars.

    `meant` are the fields that were noted as lost because it may stand for them.
    """

    name: str
    value: Any
    span: SourceSpan
    meant: frozenset[str]


class Message:
    """A message of a known type with the fields that were set.

    Reading a field, by attribute or by `has`, remembers that it was read: what nobody
    read is what the translation would silently drop, and `unread` lists it. Attributes
    give the value that was set, else the schema's default; a list for a repeated field;
    an empty message for a message field that was not set. Enum values are their names.

    `lost` names the fields of which a mistake in the text took something away: what
    they would have said is not known. `unknown` are fields of a layer that the schema
    does not have: a layer of a type that nobody knows may need them.
    """

    __slots__ = (
        "_entries",
        "_read",
        "closing_comments",
        "comments",
        "lost",
        "schema",
        "span",
        "unknown",
    )

    def __init__(
        self,
        schema: MessageType | str,
        span: SourceSpan | None = None,
        comments: tuple[str, ...] = (),
        closing_comments: tuple[str, ...] = (),
    ) -> None:
        self.schema = message_type(schema) if isinstance(schema, str) else schema
        self.span = span
        self.comments = comments
        self.closing_comments = closing_comments
        self._entries: dict[str, list[Entry]] = {}
        self._read: set[str] = set()
        self.lost: set[str] = set()
        self.unknown: list[UnknownField] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            f = self.schema.fields[name]
        except KeyError:
            raise AttributeError(f"{self.schema.name} has no field {name}") from None
        self._read.add(name)
        entries = self._entries.get(name, ())
        if f.repeated:
            return [e.value for e in entries]
        if entries:
            return entries[-1].value
        if f.message is not None:
            return Message(f.message, self.span)
        return f.default

    def has(self, name: str) -> bool:
        """Whether the field was set (for a repeated field: at least once)."""
        self._read.add(name)
        return bool(self._entries.get(name))

    def peek(self, name: str) -> Any:
        """The value that was last set, or None; does not count as reading it."""
        entries = self._entries.get(name)
        return entries[-1].value if entries else None

    def child(self, name: str, span: SourceSpan | None) -> Message:
        """The message in a message field, put in at a place if there is none yet."""
        existing: Message | None = self.peek(name)
        if existing is not None:
            return existing
        schema = self.schema.fields[name].message
        assert schema is not None
        new = Message(schema, span)
        self.add(name, Entry(new, span))
        return new

    def span_of(self, name: str, index: int = 0) -> SourceSpan | None:
        """Where the field's index-th value stands; the message's place if it was not set."""
        entries = self._entries.get(name, ())
        return entries[index].span if index < len(entries) else self.span

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """All that was set, as (field, entry), fields in the order they first appeared."""
        for name, entries in self._entries.items():
            for entry in entries:
                yield name, entry

    def entries_of(self, name: str) -> list[Entry]:
        """The entries of one field; does not count as reading it."""
        return list(self._entries.get(name, ()))

    def has_lost(self, *names: str) -> bool:
        """Whether a mistake took something away from one of the fields, at any depth."""
        return any(
            name in self.lost or any(_lost_any(e.value) for e in self.entries_of(name))
            for name in names
        )

    def unread(self) -> Iterator[tuple[str, Entry]]:
        """What was set and never read, as (dotted path, entry)."""
        for name, entry in self.entries():
            if name not in self._read:
                yield name, entry
            elif isinstance(entry.value, Message):
                for path, inner in entry.value.unread():
                    yield f"{name}.{path}", inner

    def mark_read(self, *names: str) -> None:
        """Declares fields as looked at, with all that is inside them."""
        for name in names:
            self._read.add(name)
            for entry in self._entries.get(name, ()):
                if isinstance(entry.value, Message):
                    entry.value.mark_read(*entry.value._entries)

    def same_values(self, other: Message) -> bool:
        """Whether both set the same fields to the same values, in whatever order."""
        return self.schema is other.schema and self._values() == other._values()

    def _values(self) -> dict[str, list[Any]]:
        return {
            name: [v._values() if isinstance(v, Message) else v for v in values]
            for name, entries in self._entries.items()
            if (values := [e.value for e in entries])
        }

    def add(self, name: str, entry: Entry) -> None:
        """Appends an entry to a field. Only binding and upgrading change messages."""
        self._entries.setdefault(name, []).append(entry)

    def set(self, name: str, *entries: Entry) -> None:
        """Replaces all entries of a field."""
        self._entries[name] = list(entries)

    def clear(self, name: str) -> list[Entry]:
        """Removes a field and returns its entries."""
        return self._entries.pop(name, [])

    def __repr__(self) -> str:
        return f"<{self.schema.name} with {', '.join(self._entries) or 'nothing'}>"


def _lost_any(value: Any) -> bool:
    if not isinstance(value, Message):
        return False
    return bool(value.lost) or any(_lost_any(e.value) for _, e in value.entries())


def message_from_pb(message: ProtobufMessage) -> Message:
    """A message as binding would have made it, from the one that protobuf holds.

    float32 values become the shortest decimals that stand for them. Nothing has a
    place. For the net inside a caffemodel take out the `blobs` first: they are lists of
    numbers here.
    """
    result = Message(_message_type(message.DESCRIPTOR))
    for f, value in message.ListFields():
        for item in value if f.is_repeated else [value]:
            plain = message_from_pb(item) if f.message_type else _plain(f, item)
            result.add(f.name, Entry(plain))
    return result
