"""Reads nets and solvers from files: what the rest of the package calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from caffe2k.diagnostics import Diagnostics, SourceFile, SourceSpan, did_you_mean
from caffe2k.prototxt.bind import bind
from caffe2k.prototxt.parse import parse
from caffe2k.prototxt.tree import Field
from caffe2k.schema.message import Message, message_type

Kind = Literal["net", "solver"]

_TYPES: dict[Kind, str] = {"net": "NetParameter", "solver": "SolverParameter"}
_LARGEST = 64 * 2**20
_SAMPLE = 4096
_CONTROL = bytes({*range(9), *range(14, 27), *range(28, 32), 127})
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read(source: SourceFile | str | Path, diagnostics: Diagnostics) -> Message:
    """The net or the solver in a file, as written; its own schema says which it is.

    Like `read_net` and `read_solver`, it reports what is wrong and returns what could
    be read: a caller goes on after `raise_if_errors`. Nothing is upgraded.
    """
    return _read(source, None, diagnostics)


def read_net(source: SourceFile | str | Path, diagnostics: Diagnostics) -> Message:
    """The NetParameter in a file (ReadProtoFromTextFile, util/io.cpp)."""
    return _read(source, "net", diagnostics)


def read_solver(source: SourceFile | str | Path, diagnostics: Diagnostics) -> Message:
    """The SolverParameter in a file (ReadProtoFromTextFile, util/io.cpp)."""
    return _read(source, "solver", diagnostics)


def sniff(fields: Sequence[Field]) -> Kind:
    """Whether the fields of a file are those of a net or of a solver."""
    return "solver" if _known(fields, "solver") > _known(fields, "net") else "net"


def _known(fields: Sequence[Field], kind: Kind) -> int:
    schema = message_type(_TYPES[kind]).fields
    return sum(field.name in schema for field in fields)


def _read(
    source: SourceFile | str | Path, kind: Kind | None, diagnostics: Diagnostics
) -> Message:
    if not isinstance(source, SourceFile):
        loaded = load(source, diagnostics)
        if loaded is None:
            return Message(_TYPES[kind or "net"])
        source = loaded
    message, found = _attempt(source, kind, by_indentation=False)
    if found.has_errors:
        # Two wrong brackets can match each other; then the indentation says more.
        other, found_there = _attempt(source, kind, by_indentation=True)
        if _size(other) > _size(message):
            message, found = other, found_there
    diagnostics.extend(found)
    return message


def _size(message: Message) -> int:
    """How many fields were bound, at any depth."""
    values = (entry.value for _, entry in message.entries())
    return sum(1 + (_size(v) if isinstance(v, Message) else 0) for v in values)


def _attempt(
    source: SourceFile, kind: Kind | None, *, by_indentation: bool
) -> tuple[Message, Diagnostics]:
    found = Diagnostics()
    tree = parse(source, found, by_indentation=by_indentation)
    fields = [field for field in tree.fields if field.name]
    sniffed = sniff(fields)
    kind = kind or sniffed
    wrong = sniffed != kind or not _may_be_misspelt(fields, kind)
    if wrong and fields and not _known(fields, kind):
        _report_wrong_file(fields[0], kind, sniffed, found, source)
        return Message(_TYPES[kind]), found
    return bind(tree, _TYPES[kind], found, source), found


def _may_be_misspelt(fields: Sequence[Field], kind: Kind) -> bool:
    known = message_type(_TYPES[kind]).fields
    return any(did_you_mean(name, known) for name in {f.name for f in fields})


def _report_wrong_file(
    first: Field, kind: Kind, sniffed: Kind, found: Diagnostics, source: SourceFile
) -> None:
    if sniffed != kind:
        message = f"this is a {sniffed}, not a {kind}"
    else:
        message = "this is neither a net nor a solver"
    span = SourceSpan(source, first.start, first.end)
    found.error("wrong-file", message, span, help=f"a {kind} is expected here")


def load(path: str | Path, diagnostics: Diagnostics) -> SourceFile | None:
    """The text of a file; None, and an error, where it can't be a prototxt.

    Bytes that are no UTF-8, which Caffe doesn't mind, are kept as surrogates.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        message = f"can't read `{path}`: {reason}"
        help = "give the path of a .prototxt"
        diagnostics.error("unreadable-file", message, help=help)
        return None
    if len(data) > _LARGEST:
        help = f"a prototxt has at most {_LARGEST // 2**20} MB"
        diagnostics.error("unreadable-file", f"`{path}` is too large", help=help)
        return None
    if data.startswith(_UTF16_MARKS):
        help = "save it as UTF-8"
        diagnostics.error("binary-file", f"`{path}` is a text in UTF-16", help=help)
        return None
    if _is_binary(data):
        diagnostics.error(
            "binary-file",
            f"`{path}` is a binary file, not a prototxt",
            help="`caffe2k inspect` shows what it holds, with --prototxt the net in a "
            "caffemodel",
        )
        return None
    return SourceFile(str(path), data.decode("utf-8", "surrogateescape"))


def _is_binary(data: bytes) -> bool:
    """Whether more than one byte in fifty is a control character."""
    sample = data[:_SAMPLE]
    control = len(sample) - len(sample.translate(None, _CONTROL))
    return control * 50 > len(sample)
