"""Finds the brackets that are missing or too many, and makes the others match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lark import Token

from caffe2k.diagnostics import SourceFile
from caffe2k.prototxt.scan import CLOSERS, start_of, token

Report = Callable[[Token, str, str | None], None]

_OPENERS = {closing: opening for opening, closing in CLOSERS.items()}
_AFTER_FIELD_NAME = frozenset({"COLON", "OPEN_BRACE", "OPEN_ANGLE"})
_SIGNS = {"CLOSE_BRACE": "}", "CLOSE_ANGLE": ">", "CLOSE_LIST": "]"}


@dataclass(slots=True)
class _Open:
    """An opening bracket that waits for its end."""

    token: Token
    owner: str
    line: int
    indent: int
    child_column: int | None = None


def balance(
    tokens: Sequence[Token],
    source: SourceFile,
    report: Report,
    *,
    by_indentation: bool = False,
) -> list[Token]:
    """Tokens in which every bracket has its partner.

    Where the numbers of opening and closing brackets differ, the indentation tells
    which one is missing or too many; `by_indentation` follows it even where they don't.
    A bracket that is put in has no characters.
    """
    if not by_indentation and _balanced(tokens):
        return list(tokens)
    return _Balancer(tokens, source, report, by_indentation).run()


def _balanced(tokens: Sequence[Token]) -> bool:
    expected: list[str] = []
    for item in tokens:
        if item.type in CLOSERS:
            expected.append(CLOSERS[item.type])
        elif item.type in _OPENERS and (not expected or expected.pop() != item.type):
            return False
    return not expected


class _Balancer:
    def __init__(
        self,
        tokens: Sequence[Token],
        source: SourceFile,
        report: Report,
        by_indentation: bool,
    ) -> None:
        self._tokens = tokens
        self._source = source
        self._report = report
        self._by_indentation = by_indentation
        count = Counter(t.type for t in tokens)
        self._missing = {o: count[o] - count[c] for o, c in CLOSERS.items()}
        self._made: list[Token] = []
        self._open: list[_Open] = []
        self._last_end: int | None = None
        self._line = 0
        self._column = 0
        self._indent = 0
        self._leads = False

    def run(self) -> list[Token]:
        for i, item in enumerate(self._tokens):
            self._look_at(item)
            if item.type == "$END":
                self._finish(item)
            elif item.type in CLOSERS:
                owner = self._owner(i)
                self._open.append(_Open(item, owner, self._line, self._indent))
                self._made.append(item)
            elif item.type in _OPENERS:
                self._close(item)
            else:
                if item.type == "NAME":
                    self._end_by_field(item, self._tokens[i + 1])
                self._made.append(item)
        return self._made

    def _look_at(self, item: Token) -> None:
        """Notes where the token stands, and where the fields of its block begin."""
        line, self._column = self._source.position(start_of(item))
        self._leads = line != self._line
        if self._leads:
            self._line, self._indent = line, self._column
        if self._open and self._open[-1].child_column is None:
            self._open[-1].child_column = self._column

    def _owner(self, i: int) -> str:
        before = self._tokens[max(i - 2, 0) : i]
        return next((str(t) for t in reversed(before) if t.type == "NAME"), "")

    def _may_miss(self, top: _Open) -> bool:
        return self._by_indentation or self._missing[top.token.type] > 0

    def _end_by_field(self, name: Token, following: Token) -> None:
        """Ends the blocks that a field, by its indentation, can't be inside of."""
        while self._open and self._may_miss(self._open[-1]):
            top = self._open[-1]
            if top.token.type == "OPEN_LIST":
                outside = following.type in _AFTER_FIELD_NAME
            else:
                indented = (
                    top.child_column is not None and top.child_column > top.indent
                )
                outside = self._leads and indented and self._column <= top.indent
            if not outside:
                break
            self._end_unclosed(name)

    def _close(self, item: Token) -> None:
        opening = _OPENERS[item.type]
        if not self._open:
            self._close_nothing(item)
            return
        if self._leads and any(o.indent == self._column for o in self._open):
            while self._open[-1].indent > self._column and self._may_miss(
                self._open[-1]
            ):
                self._end_unclosed(item)
        if self._leads and self._is_too_many(item):
            self._drop(item)
            return
        if any(o.token.type == opening for o in self._open):
            while self._open[-1].token.type != opening:
                self._end_unclosed(item)
        elif self._missing[self._open[-1].token.type] <= 0:
            self._drop(item)
            return
        self._end_with(item)

    def _is_too_many(self, item: Token) -> bool:
        """Whether a closing bracket stands further in than the block that it would end."""
        top = self._open[-1]
        allowed = self._by_indentation or self._missing[_OPENERS[item.type]] < 0
        return allowed and self._column > top.indent and self._line != top.line

    def _end_with(self, item: Token) -> None:
        top = self._open.pop()
        expected = CLOSERS[top.token.type]
        if item.type != expected:
            self._missing[top.token.type] -= 1
            self._missing[_OPENERS[item.type]] += 1
            message = f"`{top.token}` is closed by `{item}`"
            self._report(item, message, f"write `{_SIGNS[expected]}`")
        self._made.append(token(expected, str(item), start_of(item)))
        if not self._open:
            self._last_end = len(self._made) - 1

    def _end_unclosed(self, before: Token) -> None:
        top = self._open.pop()
        closing = CLOSERS[top.token.type]
        line = self._source.position(start_of(before))[0]
        self._report_unclosed(top, f"add a `{_SIGNS[closing]}` before line {line}")
        self._made.append(token(closing, "", start_of(before)))
        self._missing[top.token.type] -= 1

    def _report_unclosed(self, top: _Open, help: str) -> None:
        of = f" of `{top.owner}`" if top.owner else ""
        self._report(top.token, f"the `{top.token}`{of} is never closed", help)

    def _close_nothing(self, item: Token) -> None:
        """A bracket outside of all blocks: a block has ended too early, if any has."""
        end = self._last_end
        between = self._made[end + 1 :] if end is not None else []
        if end is None or not between or self._made[end].type != item.type:
            self._drop(item)
            return
        self._drop(self._made.pop(end))
        self._made.append(item)
        self._last_end = len(self._made) - 1

    def _drop(self, item: Token) -> None:
        self._missing[_OPENERS[item.type]] += 1
        help = "remove it, or add the bracket that it should close"
        self._report(item, f"one `{item}` too many", help)

    def _finish(self, end: Token) -> None:
        if self._open:
            first = self._open[0]
            help = f"add a `{_SIGNS[CLOSERS[first.token.type]]}` where it ends"
            if len(self._open) > 1:
                help += f"; {len(self._open)} brackets are open at the end"
            self._report_unclosed(first, help)
        for top in reversed(self._open):
            self._made.append(token(CLOSERS[top.token.type], "", start_of(end)))
        self._made.append(end)
