"""Source spans, diagnostics, how they are shown, and the error that carries them."""

from __future__ import annotations

import bisect
import dataclasses
import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

_SHOWN_WIDTH = 100
_LONGEST_MESSAGE = 400


@dataclass(frozen=True)
class SourceFile:
    """A text with the name that its user knows it by."""

    name: str
    text: str

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(found.end() for found in re.finditer("\n", self.text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both counted from 1."""
        line = bisect.bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a line (counted from 1), without its end."""
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : len(self.text) if end < 0 else end].rstrip("\r")


@dataclass(frozen=True)
class SourceSpan:
    """Characters `start` to `end` (exclusive) of a source file."""

    source: SourceFile = field(repr=False)
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


class Severity(Enum):
    """An error means that nothing is written; a warning is a difference from Caffe."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Diagnostic:
    """One finding: a code, a sentence, where it is, and what to do about it."""

    severity: Severity
    code: str
    message: str
    span: SourceSpan | None = None
    help: str | None = None

    def render(self) -> str:
        """The diagnostic as its user reads it: place, line, caret and help."""
        head = f"{self.severity.value}[{self.code}]: {_sentence(self.message)}"
        if self.span is None:
            gutter, lines = " ", [head]
        else:
            gutter = " " * len(str(self.span.line))
            lines = [head, *_excerpt(self.span, gutter)]
        if self.help is not None:
            lines.append(f"{gutter} = help: {_sentence(self.help)}")
        return "\n".join(lines)


def printable(text: str) -> str:
    """`text` without control characters, so that a name can't drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _sentence(text: str) -> str:
    """A text that is shown on one line, however long the names in it are."""
    shown = printable(text[: _LONGEST_MESSAGE + 1])
    return shown if len(text) <= _LONGEST_MESSAGE else f"{shown[:-1]}..."


def _excerpt(span: SourceSpan, gutter: str) -> list[str]:
    number, column = span.line, span.column
    text = span.source.line(number).replace("\t", " ")
    width = max(1, min(span.end - span.start, len(text) - column + 1))
    first = max(0, column - 1 - _SHOWN_WIDTH // 2) if len(text) > _SHOWN_WIDTH else 0
    shown = printable(text[first : first + _SHOWN_WIDTH])
    offset = column - 1 - first
    marked = shown[offset : offset + width]
    caret = " " * _columns(shown[:offset]) + "^" * max(1, _columns(marked))
    return [
        f"{gutter}--> {printable(span.source.name)}:{number}:{column}",
        f"{gutter} |",
        f"{number} | {shown}".rstrip(),
        f"{gutter} | {caret}",
    ]


def _columns(text: str) -> int:
    """How many columns a terminal takes for a text; ideographs take two each."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def did_you_mean(word: str, choices: Iterable[str]) -> str | None:
    """A help sentence that names the choice nearest to `word`, if any is near."""
    near = nearest(word, choices)
    return f"did you mean `{near}`?" if near else None


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The choice that `word` may be a misspelling of, whatever its capitals.

    `cutoff` is how alike they must be, from 0 to 1 for the same letters.
    """
    by_letters = {_letters(choice): choice for choice in choices}
    near = difflib.get_close_matches(_letters(word), by_letters, n=1, cutoff=cutoff)
    return by_letters[near[0]] if near else None


def _letters(word: str) -> str:
    return word[:_LONGEST_MESSAGE].lower().replace("_", "")


class TranslationError(Exception):
    """Raised when a run cannot go on; carries every diagnostic of the run so far."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n\n".join(d.render() for d in self.diagnostics))


class Diagnostics:
    """Collects the diagnostics of one run, in the order of the source."""

    def __init__(self) -> None:
        self._found: dict[Diagnostic, None] = {}

    def error(
        self,
        code: str,
        message: str,
        span: SourceSpan | None = None,
        *,
        help: str | None = None,
    ) -> None:
        self._add(Diagnostic(Severity.ERROR, code, message, span, help))

    def warning(
        self,
        code: str,
        message: str,
        span: SourceSpan | None = None,
        *,
        help: str | None = None,
    ) -> None:
        self._add(Diagnostic(Severity.WARNING, code, message, span, help))

    def _add(self, diagnostic: Diagnostic) -> None:
        self._found.setdefault(diagnostic)

    def withdraw(self, code: str, span: SourceSpan) -> None:
        """Takes back what was found at a place, as it turned out to be no mistake."""
        self._found = {d: None for d in self._found if (d.code, d.span) != (code, span)}

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        """Takes over diagnostics that were collected elsewhere."""
        for diagnostic in diagnostics:
            self._add(diagnostic)

    def __iter__(self) -> Iterator[Diagnostic]:
        """Diagnostics by source and place; those without a place come last."""
        order: dict[str, int] = {}
        for found in self._found:
            if found.span is not None:
                order.setdefault(found.span.source.name, len(order))

        def key(d: Diagnostic) -> tuple[int, int]:
            if d.span is None:
                return (len(order), 0)
            return (order[d.span.source.name], d.span.start)

        return iter(sorted(self._found, key=key))

    @property
    def has_errors(self) -> bool:
        return any(d.severity is Severity.ERROR for d in self._found)

    def make_errors(self) -> None:
        """Turns every warning into an error."""
        self._found = {
            dataclasses.replace(d, severity=Severity.ERROR): None for d in self._found
        }

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(d for d in self if d.severity is Severity.WARNING)

    def raise_if_errors(self) -> None:
        """Raises TranslationError with all diagnostics if any is an error."""
        if self.has_errors:
            raise TranslationError(tuple(self))
