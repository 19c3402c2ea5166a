"""Characters that are no part of the text format: how far they go, what to say of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from lark import Token

from caffe2k.prototxt.scan import UNKNOWN, start_of, token

_SHOWN = 40
_SWALLOWING = re.compile(r"[\"']|//|/\*")
_CURLY_QUOTES = frozenset(
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{ACUTE ACCENT}`"
)


def gather(tokens: Sequence[Token], text: str) -> list[Token]:
    """Tokens in which an open string or a foreign comment is one unknown token.

    An open string goes to the end of its line, but leaves the brackets that stand
    there; a comment in C's style to its end.
    """
    return list(_gather(tokens, text))


def _gather(tokens: Sequence[Token], text: str) -> Iterator[Token]:
    swallowed = 0
    for item in tokens:
        if start_of(item) < swallowed and item.type != "$END":
            continue
        found = _SWALLOWING.search(item) if item.type == UNKNOWN else None
        if found is None:
            yield item
            continue
        start = start_of(item) + found.start()
        if found.start() > 0:
            yield token(UNKNOWN, item[: found.start()], start_of(item))
        swallowed = _swallowed_end(text, start, found.group())
        yield token(UNKNOWN, text[start:swallowed], start)


def _swallowed_end(text: str, start: int, opening: str) -> int:
    if opening == "/*":
        end = text.find("*/", start)
        return len(text) if end < 0 else end + 2
    end = text.find("\n", start)
    line = text[start:] if end < 0 else text[start:end]
    if opening == "//":
        return start + len(line)
    return start + max(1, len(line.rstrip("}>];, \t\r\v\f")))


def sentence_about(item: Token) -> tuple[str, str | None]:
    """What is wrong with an unknown token, and what to do about it."""
    if item[0] in "\"'":
        return "a string is not closed", f"end it with `{item[0]}` on the same line"
    if item.startswith(("//", "/*")):
        return "a comment begins with `#`", "write `#` instead"
    if item[0] in _CURLY_QUOTES:
        return f"{describe(item)} is no quotation mark here", "write `\"` or `'`"
    return f"unexpected {describe(item)}", None


def describe(item: Token) -> str:
    """A token as a sentence names it."""
    if item.type == "$END":
        return "the end of the file"
    if item.type == UNKNOWN and not "!" <= item[0] <= "~":
        return (
            f"U+{ord(item[0]):04X} ({unicodedata.name(item[0], 'a control character')})"
        )
    shown = str(item) if len(item) <= _SHOWN else f"{item[:_SHOWN]}..."
    return f"`{shown}`"
