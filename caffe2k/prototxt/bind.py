"""Gives the fields of a prototxt their types, as Caffe's schema has them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from caffe2k.diagnostics import (
    Diagnostics,
    SourceFile,
    SourceSpan,
    did_you_mean,
    nearest,
)
from caffe2k.prototxt.scalars import BadScalar, decode, guess, wrong_type
from caffe2k.prototxt.tree import Block, Field, Items, Scalar, Value
from caffe2k.schema.message import (
    Entry,
    FieldType,
    Message,
    MessageType,
    UnknownField,
    message_type,
)

_FILE_NAMES = {"NetParameter": "a net", "SolverParameter": "a solver"}
_MOST_PLACES = 3
_MOST_FIELDS = 12
_DEEPEST = 50


def bind(
    tree: Block, type_name: str, diagnostics: Diagnostics, source: SourceFile
) -> Message:
    """The message of a type of caffe.proto that the fields of a file make up.

    Enum values become their names, strings are decoded, floats are those of the
    literal. A field that can't be bound is reported, left out, and noted as `lost`
    (TextFormat::Parser::ConsumeField, protobuf).
    """
    schema = message_type(type_name)
    message = Message(schema, SourceSpan(source, 0, 0))
    message.closing_comments = tree.closing_comments
    name = _FILE_NAMES.get(type_name, type_name)
    _Binder(diagnostics, source).fill(tree, [(name, message)])
    return message


_Path = Sequence[tuple[str, Message]]
"""The message that is bound, as the last, and those around it, with their names."""


class _Binder:
    def __init__(self, diagnostics: Diagnostics, source: SourceFile) -> None:
        self._diagnostics = diagnostics
        self._source = source

    def fill(self, block: Block, path: _Path) -> None:
        """Binds the fields of a block into the message at the end of the path."""
        _, message = path[-1]
        schema = message.schema
        known = schema.fields
        first: dict[str, Field] = {}
        if not block.complete:
            # Where the brace is missing is a guess: layers may be out of place.
            path[0][1].lost.add("layer")
        for field in block.fields:
            field_type = known.get(field.name)
            if field_type is None:
                self._unknown_field(field, block, path)
            elif not field_type.repeated and field.name in first:
                self._duplicate(field, first[field.name])
                message.lost.add(field.name)
            elif _is_missing(field):
                message.lost.add(field.name)
            else:
                first[field.name] = field
                self._add(field, field_type, path)
        for name in schema.required:
            if name not in first and name not in message.lost and block.complete:
                message.lost.add(name)
                self._diagnostics.error(
                    "missing-field",
                    f"{_quoted(path[-1][0])} needs the field `{name}`",
                    message.span,
                    help=f"write `{name}: ...` in it",
                )

    def _add(self, field: Field, field_type: FieldType, path: _Path) -> None:
        _, message = path[-1]
        span = SourceSpan(self._source, field.start, field.end)
        values = self._values(message, field, field_type)
        for i, value in enumerate(values):
            try:
                bound = self._bind(field, field_type, value, span, path)
            except BadScalar as bad:
                self._bad_value(bad, value)
                message.lost.add(field.name)
                continue
            except _Missing:
                message.lost.add(field.name)
                continue
            if i > 0:
                message.add(field.name, Entry(bound, span))
                continue
            texts = (field.comments, field.detached, field.trailing)
            message.add(field.name, Entry(bound, span, *texts))
            if isinstance(bound, Message):
                bound.comments = field.comments

    def _values(
        self, message: Message, field: Field, field_type: FieldType
    ) -> Sequence[Scalar | Block]:
        value = field.value
        if not isinstance(value, Items):
            return [value]
        if not field_type.repeated:
            message.lost.add(field.name)
            self._diagnostics.error(
                "wrong-type",
                f"`{field.name}` takes one value, not a list",
                SourceSpan(self._source, value.start, value.end),
                help=f"write `{field.name}: ...` with one of them",
            )
            return []
        if not field.colon and field_type.message is None:
            self._diagnostics.error(
                "syntax",
                f"expected `:` after `{field.name}`",
                SourceSpan(self._source, value.start, value.start + 1),
                help=f"write `{field.name}: [...]`",
            )
        return value.values

    def _bind(
        self,
        field: Field,
        field_type: FieldType,
        value: Scalar | Block,
        span: SourceSpan,
        path: _Path,
    ) -> Any:
        if isinstance(value, Block):
            if field_type.message is None:
                raise wrong_type(field_type, "a message")
            message = Message(field_type.message, span)
            message.closing_comments = value.closing_comments
            self.fill(value, [*path, (field.name, message)])
            return message
        if value.kind == "MISSING":
            raise _Missing
        if field_type.message is not None:
            help = f"write `{field.name} {{ ... }}`"
            raise wrong_type(field_type, f"`{value.text}`", help)
        return decode(value, field_type)

    def _bad_value(self, bad: BadScalar, value: Scalar | Block) -> None:
        start, end = bad.place or (value.start, value.end)
        if isinstance(value, Block):
            end = start + 1
        span = SourceSpan(self._source, start, end)
        self._diagnostics.error(bad.code, bad.message, span, help=bad.help)

    def _duplicate(self, field: Field, first: Field) -> None:
        line = self._source.position(first.start)[0]
        self._diagnostics.error(
            "duplicate-field",
            f"`{field.name}` is set twice",
            SourceSpan(self._source, field.start, field.end),
            help=f"it is set in line {line} already; keep one of them",
        )

    def _unknown_field(self, field: Field, block: Block, path: _Path) -> None:
        _, message = path[-1]
        before = frozenset(message.lost)
        _note_lost(field, path)
        self._keep(field, message, frozenset(message.lost) - before)
        around = [name for name, m in path[:-1] if field.name in m.schema.fields]
        if _is_missing(field) or (around and not block.complete):
            return  # the mistake in it, or the brace that is missing above, is reported
        owner = path[-1][0]
        self._diagnostics.error(
            "unknown-field",
            f"{_quoted(owner)} has no field `{field.name}`",
            SourceSpan(self._source, field.start, field.end),
            help=_where(field.name, around, path, {f.name for f in block.fields}),
        )

    def _keep(self, field: Field, message: Message, meant: frozenset[str]) -> None:
        """Keeps a layer's unknown field, for a stub that may stand for the layer."""
        if message.schema.name == "LayerParameter" and not _is_missing(field):
            span = SourceSpan(self._source, field.start, field.end)
            value = _guessed(field.value, _DEEPEST)
            message.unknown.append(UnknownField(field.name, value, span, meant))


def _guessed(value: Value, levels: int) -> Any:
    """A value as dicts, lists and scalars, without what lies below so many levels.

    A field that is repeated is a list.
    """
    if isinstance(value, Scalar):
        return guess(value)
    if levels == 0:
        return None
    if isinstance(value, Items):
        return [_guessed(item, levels - 1) for item in value.values]
    found: dict[str, list[Any]] = {}
    for field in value.fields:
        found.setdefault(field.name, []).append(_guessed(field.value, levels - 1))
    return {name: v[0] if len(v) == 1 else v for name, v in found.items()}


class _Missing(Exception):
    """A value that a syntax error took away; the error has been reported."""


def _quoted(owner: str) -> str:
    return owner if owner in _FILE_NAMES.values() else f"`{owner}`"


def _is_missing(field: Field) -> bool:
    """Whether a mistake took away the value, which has been reported."""
    return isinstance(field.value, Scalar) and field.value.kind == "MISSING"


def _note_lost(field: Field, path: _Path) -> None:
    """Notes what an unknown field may have been meant as, or as a part of."""
    _, message = path[-1]
    near = nearest(field.name, message.schema.fields)
    owners = _owners(field.name, message.schema)
    meant = owners or ([near] if near else [field.name])
    if meant != [field.name] or not _is_setting_of_file(field, path):
        message.lost.update(meant)
    # A brace too many, or too few, puts a field outside, or inside, of where it belongs.
    inside = [message.peek(owner) for owner in owners]
    around = [m for _, m in path[:-1] if field.name in m.schema.fields]
    for other in (*inside, *around):
        if other is not None:
            other.lost.add(field.name)


def _is_setting_of_file(field: Field, path: _Path) -> bool:
    """Whether it is one value at the top of a file, so that no layer can be meant."""
    return len(path) == 1 and isinstance(field.value, Scalar) and bool(field.name)


def _where(
    name: str, around: Sequence[str], path: _Path, present: Container[str]
) -> str | None:
    """Where a field that is unknown here belongs, or what it may be misspelt from."""
    if around:
        return f"it is a field of {_quoted(around[-1])}"
    inside = _owners(name, path[-1][1].schema)
    if inside:
        likely = [owner for owner in inside if owner in present]
        return f"it is a field of {_listed(likely or inside)}"
    beside = [owner for _, m in path[:-1] for owner in _owners(name, m.schema)]
    if beside:
        return f"it is a field of {_listed(beside)}"
    known = path[-1][1].schema.fields
    near = did_you_mean(name, known)
    if near is None and len(known) <= _MOST_FIELDS:
        return f"its fields are {', '.join(known)}"
    return near or "remove it, if nothing that Caffe knows is meant"


def _owners(name: str, schema: MessageType) -> list[str]:
    """The fields whose messages have a field of this name; BVLC's own if it has any."""
    owners = [
        f for f in schema.fields.values() if f.message and name in f.message.fields
    ]
    own = [f for f in owners if f.message and not f.message.fork_of(name)]
    return [f.name for f in own or owners]


def _listed(names: Sequence[str]) -> str:
    shown = [f"`{name}`" for name in names[:_MOST_PLACES]]
    if len(names) > _MOST_PLACES:
        return ", ".join(shown) + " and others"
    return " or ".join(shown)
