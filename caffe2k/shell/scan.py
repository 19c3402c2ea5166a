"""The words of a shell script, with what a shell would put in place of variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from caffe2k.diagnostics import Diagnostics, SourceFile, SourceSpan


@dataclass(frozen=True)
class Part:
    """A piece of a word: text, or what stands in `${...}` or `$(...)`."""

    text: str
    kind: str = "text"  # or "variable", "command"
    quoted: bool = False
    source: str = ""
    """The piece as it is written, where it is no text."""


@dataclass(frozen=True)
class RawWord:
    """A word before its variables are known."""

    parts: tuple[Part, ...]
    span: SourceSpan


_SPACE = re.compile(r"(?:[ \t\r]|\\\r?\n)+")
_COMMENT = re.compile(r"#[^\n]*")
_REDIRECTION = re.compile(r"(?:\d+|&)?(?:<<<|<<-?|>>|>\||[<>]&|<>|[<>])[ \t]*")
_SEPARATOR = re.compile(r"\n|;;|;|&&|\|\||\|&|[|&()]")
_PLAIN = re.compile(r"[^\s;&|()<>'\"\\$`]+")
_VARIABLE = re.compile(r"\$(?:(\w+)|([@*#?!$-]))")


def commands(source: SourceFile, diagnostics: Diagnostics) -> Iterator[list[RawWord]]:
    """The simple commands of a script in its order, without redirections.

    A quote or bracket without its end is an error, and ends the script.
    """
    return _Scanner(source, diagnostics).commands()


@dataclass
class _Scanner:
    source: SourceFile
    diagnostics: Diagnostics
    at: int = 0
    documents: list[str] = field(default_factory=list)
    """The words that end the here-documents of this line."""

    @property
    def text(self) -> str:
        return self.source.text

    def commands(self) -> Iterator[list[RawWord]]:
        words: list[RawWord] = []
        while self.at < len(self.text):
            if self._skip(_SPACE) or self._skip(_COMMENT):
                continue
            if found := _REDIRECTION.match(self.text, self.at):
                self._redirection(found)
            elif found := _SEPARATOR.match(self.text, self.at):
                self.at = found.end()
                if found[0] == "\n":
                    self._skip_documents()
                yield words
                words = []
            else:
                words.append(self._word())
        yield words

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        found = pattern.match(self.text, self.at)
        if found is not None:
            self.at = found.end()
        return found is not None

    def _redirection(self, found: re.Match[str]) -> None:
        self.at = found.end()
        target = self._word()
        if "<<" in found[0] and "<<<" not in found[0]:
            self.documents.append("".join(part.text for part in target.parts))

    def _skip_documents(self) -> None:
        for end in self.documents:
            found = re.compile(rf"^\t*{re.escape(end)}$", re.MULTILINE).search(
                self.text, self.at
            )
            self.at = len(self.text) if found is None else found.end()
        self.documents = []

    def _word(self) -> RawWord:
        start, parts = self.at, list[Part]()
        while self.at < len(self.text):
            piece = self._piece()
            if piece is None:
                break
            parts += piece
        return RawWord(tuple(parts), SourceSpan(self.source, start, self.at))

    def _piece(self) -> list[Part] | None:
        """The next piece of a word; None where the word ends."""
        if found := _PLAIN.match(self.text, self.at):
            self.at = found.end()
            return [Part(found[0])]
        match self.text[self.at]:
            case "'":
                return [Part(self._until("'"), quoted=True)]
            case '"':
                return self._quoted()
            case "$" | "`":
                return [self._expansion(quoted=False)]
            case "\\" if not self._skip(re.compile(r"\\\r?\n")):
                self.at += 2
                return [Part(self.text[self.at - 1 : self.at], quoted=True)]
            case "\\":
                return []
        return None

    def _quoted(self) -> list[Part]:
        opening = self.at
        self.at += 1
        parts = [Part("", quoted=True)]
        while self.at < len(self.text):
            if found := re.compile(r'[^"\\$`]+').match(self.text, self.at):
                self.at = found.end()
                parts.append(Part(found[0], quoted=True))
                continue
            match self.text[self.at]:
                case '"':
                    self.at += 1
                    return parts
                case "\\":
                    self.at += 2
                    escaped = self.text[self.at - 1 : self.at]
                    kept = escaped if escaped in '"\\$`' else f"\\{escaped}"
                    parts.append(Part("" if escaped == "\n" else kept, quoted=True))
                case _:
                    parts.append(self._expansion(quoted=True))
        self._unclosed(opening, '"')
        return parts

    def _expansion(self, *, quoted: bool) -> Part:
        """A variable or a command in its place, from its `$` or backquote on."""
        start = self.at
        if found := _VARIABLE.match(self.text, start):
            self.at = found.end()
            return Part(found[1] or found[2], "variable", quoted, found[0])
        if self.text[start] == "`":
            kind, inner = "command", self._until("`")
        elif self.text.startswith("$(", start):
            kind, inner = "command", self._balanced("(", ")")
        elif self.text.startswith("${", start):
            kind, inner = "variable", self._balanced("{", "}")
        else:
            self.at += 1
            return Part("$", quoted=True)
        return Part(inner, kind, quoted, self.text[start : self.at])

    def _until(self, quote: str) -> str:
        """The text up to the next `quote`, from one on."""
        opening = self.at
        end = self.text.find(quote, opening + 1)
        if end < 0:
            self._unclosed(opening, quote)
            return ""
        self.at = end + 1
        return self.text[opening + 1 : end]

    def _balanced(self, opening: str, closing: str) -> str:
        start = self.at
        depth = 0
        for at in range(start + 1, len(self.text)):
            depth += (self.text[at] == opening) - (self.text[at] == closing)
            if depth == 0:
                self.at = at + 1
                return self.text[start + 2 : at]
        self._unclosed(start, closing)
        return ""

    def _unclosed(self, opening: int, missing: str) -> None:
        span = SourceSpan(self.source, opening, opening + 1)
        self.diagnostics.error(
            "shell-syntax",
            f"what opens here has no closing `{missing}`",
            span,
            help="close it; the rest of the script is not read",
        )
        self.at = len(self.text)
