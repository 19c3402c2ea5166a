"""Gives each comment of a prototxt to the field that it stands with."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from lark import Token

from caffe2k.diagnostics import printable
from caffe2k.prototxt.scan import end_of, start_of
from caffe2k.prototxt.tree import Block, Field, Items, Value

_SEPARATORS = ("_COMMA", "_SEMICOLON")


def attach_comments(
    root: Block, tokens: Sequence[Token], comments: Sequence[Token], text: str
) -> None:
    """Fills in the comments of all fields and blocks of a tree.

    A comment behind a token belongs to the field that ends (or opens) there; any other
    to the field, or the end of the block, that comes next. A comment in the middle of a
    value is dropped.
    """
    if comments:
        _Attacher(tokens, comments, text).attach(root)


class _Attacher:
    def __init__(
        self, tokens: Sequence[Token], comments: Sequence[Token], text: str
    ) -> None:
        self._text = text
        self._trailing: dict[int, str] = {}
        self._above: dict[int, list[Token]] = {}
        starts = [start_of(t) for t in tokens]
        for comment in comments:
            following = bisect.bisect_left(starts, start_of(comment))
            before = following - 1
            if before >= 0 and not self._lines_between(tokens[before], comment):
                while before > 0 and tokens[before].type in _SEPARATORS:
                    before -= 1
                self._trailing[end_of(tokens[before])] = _words(comment)
            else:
                self._above.setdefault(starts[following], []).append(comment)

    def attach(self, root: Block) -> None:
        root.closing_comments = self._run(self._above.get(len(self._text), []))
        blocks = [root]
        while blocks:
            for field in blocks.pop().fields:
                self._attach_to_field(field)
                for block in _blocks(field.value):
                    closing = self._above.get(block.end - 1, [])
                    block.closing_comments = self._run(closing)
                    blocks.append(block)

    def _attach_to_field(self, field: Field) -> None:
        above = self._above.get(field.start, [])
        direct = len(above)
        below = field.start
        while (
            direct > 0 and self._text.count("\n", end_of(above[direct - 1]), below) < 2
        ):
            direct -= 1
            below = start_of(above[direct])
        field.detached = self._run(above[:direct])
        field.comments = self._run(above[direct:])
        ends = [field.value.end]
        if isinstance(field.value, Block):
            ends.insert(0, field.value.start + 1)
        field.trailing = " ".join(
            self._trailing[e] for e in ends if e in self._trailing
        )

    def _run(self, comments: Sequence[Token]) -> tuple[str, ...]:
        """The words of comments, with an empty one where a blank line sets them apart."""
        lines = [""]
        for i, comment in enumerate(comments):
            apart = i > 0 and self._lines_between(comments[i - 1], comment) > 1
            words = _words(comment)
            if lines[-1] and (apart or not words):
                lines.append("")
            if words:
                lines.append(words)
        return tuple(lines[1:] if lines[-1] else lines[1:-1])

    def _lines_between(self, above: Token, below: Token) -> int:
        return self._text.count("\n", end_of(above), start_of(below))


def _blocks(value: Value) -> Sequence[Block]:
    if isinstance(value, Block):
        return [value]
    if isinstance(value, Items):
        return [v for v in value.values if isinstance(v, Block)]
    return []


def _words(comment: Token) -> str:
    words = comment.lstrip("#").rstrip().replace("\t", " ")
    return printable(words.removeprefix(" "))
