"""Prints a message as prototxt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from caffe2k.diagnostics import printable
from caffe2k.schema.message import Entry, FieldType, Message

_INDENT = "  "
_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def to_prototxt(message: Message) -> str:
    """The text of a message, with its comments; reading it gives the same values.

    Fields come in the order in which they were first set, one a line.
    """
    return "".join(f"{line}\n" for line in _message_lines(message, ""))


def _message_lines(message: Message, indent: str) -> Iterator[str]:
    for name, entry in message.entries():
        yield from _loose_comments(entry.detached, indent, end_blank=True)
        for comment in entry.comments:
            yield indent + _comment(comment)
        yield from _field_lines(message.schema.fields[name], entry, indent)
    yield from _loose_comments(message.closing_comments, indent)


def _field_lines(field: FieldType, entry: Entry, indent: str) -> Iterator[str]:
    trailing = f"  {_comment(entry.trailing)}" if entry.trailing else ""
    if isinstance(entry.value, Message):
        yield f"{indent}{field.name} {{{trailing}"
        yield from _message_lines(entry.value, indent + _INDENT)
        yield f"{indent}}}"
    else:
        yield f"{indent}{field.name}: {_scalar(field, entry.value)}{trailing}"


def _loose_comments(
    comments: Sequence[str], indent: str, *, end_blank: bool = False
) -> Iterator[str]:
    """Comments of which the empty ones are blank lines."""
    for comment in comments:
        yield indent + _comment(comment) if comment else ""
    if comments and end_blank:
        yield ""


def _comment(text: str) -> str:
    return f"# {printable(text)}".rstrip()


def _scalar(field: FieldType, value: Any) -> str:
    if field.kind == "bool":
        return "true" if value else "false"
    if field.kind == "float":
        return repr(value).removesuffix(".0")
    if field.kind == "string":
        return _quoted(value)
    if field.kind == "bytes":
        return '"' + "".join(f"\\{byte:03o}" for byte in value) + '"'
    return str(value)


def _quoted(text: str) -> str:
    """A string in quotes; what can't be printed is written by its bytes, in octal."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    data = char.encode("utf-8", "surrogateescape")
    return "".join(f"\\{byte:03o}" for byte in data)
