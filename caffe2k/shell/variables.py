"""Words with the values of a script's variables in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from caffe2k.diagnostics import SourceSpan
from caffe2k.shell.scan import Part, RawWord

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=")
_EXPANSION = re.compile(r"(\w+|[@*])(?::?[-=](.*))?", re.DOTALL)
_OWN_FOLDER = re.compile(
    r"dirname\b.*(?:\$0|\$\{0|\$\{?BASH_SOURCE)[]['\"0})`]*(/[\w./-]+)?"
)


@dataclass(frozen=True)
class Word:
    """A word as a command gets it; `unknown` is what in it has no known value.

    That stands in `text` as it is written.
    """

    text: str
    span: SourceSpan
    unknown: str = ""


class Variables:
    """What the variables of a script hold, as far as reading it from the top tells.

    A variable that a script sets differently in the branches of an `if`, or in a loop,
    has no known value; one that it doesn't set has that of `environment`.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._values: dict[str, str | None] = dict(environment)
        self._set_here: set[str] = set()

    def assign(self, raw: RawWord, *, certain: bool) -> bool:
        """Takes over a word `NAME=value`; False where it is none."""
        if not raw.parts or raw.parts[0].quoted or raw.parts[0].kind != "text":
            return False
        found = _ASSIGNMENT.match(raw.parts[0].text)
        if found is None:
            return False
        rest = (Part(raw.parts[0].text[found.end() :]), *raw.parts[1:])
        text, unknown = self._joined(rest)
        name, value = found[1], None if unknown else text
        known = self._values.get(name)
        if not certain and name in self._set_here and known != value:
            value = None
        self.put(name, value)
        return True

    def put(self, name: str, value: str | None) -> None:
        """Sets a variable; None where its value can't be told."""
        self._values[name] = value
        self._set_here.add(name)

    def expand(self, raw: RawWord) -> list[Word]:
        """The words that a shell makes of one: a value without quotes is split at blanks."""
        text, unknown = self._joined(raw.parts)
        if unknown or any(part.quoted or part.kind == "text" for part in raw.parts):
            words = [text] if text or _is_quoted_text(raw) else []
        else:
            words = text.split()
        return [Word(word, raw.span, unknown) for word in words]

    def _joined(self, parts: tuple[Part, ...]) -> tuple[str, str]:
        text, unknown = "", ""
        for part in parts:
            value = part.text if part.kind == "text" else self._value(part)
            if value is None:
                unknown = unknown or part.source
            text += part.source if value is None else value
        return text, unknown

    def _value(self, part: Part) -> str | None:
        if part.kind == "command":
            return _output(part.text)
        found = _EXPANSION.fullmatch(part.text)
        if found is None:
            return None
        name, default = found[1], found[2]
        if name in "@*":
            return ""
        if name == "PWD" and name not in self._set_here:
            return "."
        value = self._values.get(name)
        if value is None and name not in self._set_here and default is not None:
            return default.strip("\"'") if "$" not in default else None
        return value


def _is_quoted_text(raw: RawWord) -> bool:
    """Whether a word is there though it is empty: '' is, "$@" is not."""
    return all(part.kind == "text" for part in raw.parts)


def _output(command: str) -> str | None:
    """What a command in `$(...)` prints, where it is about the script's own folder."""
    if command.strip() == "pwd":
        return "."
    found = _OWN_FOLDER.search(command)
    if found is None:
        return None
    return "." + "/.." * (command.count("dirname") - 1) + (found[1] or "")
