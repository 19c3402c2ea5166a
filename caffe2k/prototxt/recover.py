"""Goes on after a syntax error, so that one run finds every mistake of a prototxt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lark import Token, UnexpectedToken

from caffe2k.diagnostics import Diagnostics, SourceFile, SourceSpan
from caffe2k.prototxt.balance import balance
from caffe2k.prototxt.garbage import describe, gather, sentence_about
from caffe2k.prototxt.scan import CLOSERS, UNKNOWN, end_of, parser, start_of, token
from caffe2k.prototxt.tree import Block

_MOST_ERRORS = 100
_SCALAR = frozenset({"NAME", "NUMBER", "STRING", "MINUS"})
_VALUE = _SCALAR | {"OPEN_BRACE", "OPEN_ANGLE"}
_CLOSING = frozenset(CLOSERS.values())
_FIELD_HELP = "a field is written `name: value` or `name { ... }`"
_AFTER_FIELD_NAME = frozenset({"COLON", *CLOSERS})


def recover(
    tokens: Sequence[Token],
    source: SourceFile,
    diagnostics: Diagnostics,
    *,
    by_indentation: bool,
) -> Block:
    """The tree of a text with syntax errors, each reported once.

    The parser is fed what it needs to end the field that went wrong, its value is
    MISSING, and what follows is skipped up to the next field, or the end of the block.
    """
    return _Recovery(tokens, source, diagnostics).parse(by_indentation)


class _TooManyErrors(Exception):
    """Ends the recovery of a text that is no prototxt at all."""


class _Recovery:
    def __init__(
        self, tokens: Sequence[Token], source: SourceFile, diagnostics: Diagnostics
    ) -> None:
        self._source = source
        self._diagnostics = diagnostics
        self._errors = 0
        self._tokens: Sequence[Token] = gather(tokens, source.text)
        self._at = 0
        self._reported_at = -1
        self._parser = parser().parse_interactive()
        self._tree: Block | None = None
        self._previous = token("$START", "", 0)
        self._name = self._previous
        self._open: list[str] = []

    def parse(self, by_indentation: bool) -> Block:
        try:
            self._tokens = balance(
                self._tokens,
                self._source,
                self._report,
                by_indentation=by_indentation,
            )
            while self._tree is None:
                self._step()
        except _TooManyErrors:
            return Block([], 0, 0, complete=False)
        return self._tree

    def _step(self) -> None:
        current = self._current
        holds_next_field = self._previous.type == "COLON" and current.type == "NAME"
        if holds_next_field and self._following.type in _AFTER_FIELD_NAME:
            self._end_without_value()
        elif self._feed(current):
            self._at += 1
        else:
            self._repair(current)

    @property
    def _current(self) -> Token:
        return self._tokens[self._at]

    @property
    def _following(self) -> Token:
        return self._tokens[min(self._at + 1, len(self._tokens) - 1)]

    def _feed(self, item: Token) -> bool:
        try:
            self._tree = self._parser.feed_token(item)
        except UnexpectedToken:
            return False
        if self._previous.type == "NAME" and item.type in _AFTER_FIELD_NAME:
            self._name = self._previous
        if item.type in CLOSERS:
            self._open.append(item.type)
        elif item.type in _CLOSING:
            self._open.pop()
        self._previous = item
        return True

    def _feed_colon(self) -> None:
        self._feed(token("COLON", "", end_of(self._previous)))

    def _feed_nameless(self) -> None:
        """Puts in a field without a name or value, for one that was skipped."""
        self._feed(token("NAME", "", end_of(self._previous)))
        self._feed_colon()
        self._feed_missing()

    def _feed_missing(self) -> None:
        """Puts in a value; to the parser it is a name, to the tree a mistake."""
        self._feed(token("NAME", "", end_of(self._previous)))
        self._previous.type = "MISSING"

    def _repair(self, current: Token) -> None:
        accepted: set[str] = self._parser.accepts()  # type: ignore[no-untyped-call]
        if "COLON" in accepted:
            self._repair_name(current)
        elif "NUMBER" not in accepted and "CLOSE_LIST" not in accepted:
            self._repair_field(current)
        elif self._open[-1:] == ["OPEN_LIST"]:
            self._repair_list(current, expects_value="NUMBER" in accepted)
        else:
            self._repair_value(current)

    def _repair_name(self, current: Token) -> None:
        """After the name of a field."""
        name = self._previous
        if current.type == UNKNOWN and current.startswith("="):
            message = f"expected `:` after `{name}`, found `=`"
            self._complain(current, message, f"write `{name}: ...`")
            self._feed_colon()
            self._at += 1
        elif current.type == UNKNOWN:
            self._complain_of_unknown(current, f"write `{name}: ...`")
            self._feed_colon()
            self._feed_missing()
            self._skip_to_field()
        elif self._is_value_of(name, current):
            help = f"write `{name}: {describe(current).strip('`')}`"
            self._complain(current, f"expected `:` after `{name}`", help)
            self._feed_colon()
        else:
            self._name = name
            self._feed_colon()
            self._end_without_value()

    def _is_value_of(self, name: Token, current: Token) -> bool:
        if current.type not in _SCALAR or self._line(current) != self._line(name):
            return False
        return current.type != "NAME" or self._following.type not in _AFTER_FIELD_NAME

    def _end_without_value(self) -> None:
        name = self._name
        self._complain(
            name,
            f"`{name}` has no value",
            f"write `{name}: ...` or `{name} {{ ... }}`",
        )
        self._feed_missing()

    def _repair_value(self, current: Token) -> None:
        """After the colon of a field, or after a minus."""
        if current.type == "COLON":
            self._complain(current, "one `:` is enough", "remove this one")
            self._at += 1
        elif current.type == UNKNOWN:
            self._complain_of_unknown(current, _quotes_help(self._name))
            self._feed_missing()
            self._skip_to_field()
        elif self._previous.type == "MINUS":
            self._complain(
                current,
                f"expected a number after `-`, found {describe(current)}",
                "write the number right behind the `-`",
            )
            self._feed_missing()
        else:
            self._end_without_value()

    def _repair_list(self, current: Token, *, expects_value: bool) -> None:
        """Between square brackets."""
        if not expects_value and current.type in _VALUE:
            self._complain(
                current,
                f"expected `,` or `]`, found {describe(current)}",
                "the values of a list stand between `,`",
            )
            self._feed(token("_COMMA", "", start_of(current)))
            return
        if expects_value and current.type in ("_COMMA", "CLOSE_LIST"):
            message = f"expected a value before `{current}`"
            self._complain(current, message, "the values of a list stand between `,`")
        elif current.type == UNKNOWN:
            self._complain_of_unknown(current, _quotes_help(self._name))
        else:
            self._complain(
                current,
                f"unexpected {describe(current)} in a list",
                "the values of a list stand between `,`",
            )
        if expects_value:
            self._feed_missing()
        self._skip(lambda item: item.type in ("_COMMA", "CLOSE_LIST"))

    def _repair_field(self, current: Token) -> None:
        """Where a field, or the end of a block, should be."""
        previous = self._previous
        after_value = previous.type in ("NAME", "NUMBER", "STRING")
        after_value = after_value and self._line(previous) == self._line(current)
        if current.type == UNKNOWN:
            help = _quotes_help(self._name) if after_value else _FIELD_HELP
            self._complain_of_unknown(current, help)
        elif after_value:
            self._complain(
                current,
                f"unexpected {describe(current)} after the value of `{self._name}`",
                "one value ends a field: remove this, or write another field",
            )
        else:
            self._complain(
                current,
                f"expected the name of a field, found {describe(current)}",
                _FIELD_HELP,
            )
        if after_value:
            previous.type = "MISSING"
        first = self._at
        self._skip_to_field()
        if any(map(_may_be_field, self._tokens[first : self._at])):
            self._feed_nameless()

    def _skip_to_field(self) -> None:
        """Skips to the next field on this line, or to the first on another."""
        line = self._line(self._current)

        def begins_field(item: Token) -> bool:
            if item.type in _CLOSING or item.type == "$END":
                return True
            named = self._following.type in _AFTER_FIELD_NAME
            return item.type == "NAME" and (named or self._line(item) > line)

        self._skip(begins_field)

    def _skip(self, stop: Callable[[Token], bool]) -> None:
        """Skips tokens, and blocks as a whole, up to one to stop at."""
        depth = 0
        while depth or not stop(self._current):
            if self._current.type in CLOSERS:
                depth += 1
            elif self._current.type in _CLOSING:
                depth -= 1
            self._at += 1

    def _complain_of_unknown(self, item: Token, help: str | None) -> None:
        message, own_help = sentence_about(item)
        self._complain(item, message, own_help or help)

    def _complain(self, item: Token, message: str, help: str | None) -> None:
        """Reports what is wrong at the current token, unless that was done already."""
        if self._reported_at != self._at:
            self._reported_at = self._at
            self._report(item, message, help)

    def _report(self, item: Token, message: str, help: str | None) -> None:
        span = SourceSpan(self._source, start_of(item), end_of(item))
        if self._errors == _MOST_ERRORS:
            message = f"more than {_MOST_ERRORS} syntax errors; the rest is not read"
            self._diagnostics.error("syntax", message, span, help="is it a prototxt?")
            raise _TooManyErrors
        self._errors += 1
        self._diagnostics.error("syntax", message, span, help=help)

    def _line(self, item: Token) -> int:
        return self._source.position(start_of(item))[0]


def _may_be_field(item: Token) -> bool:
    """Whether a skipped token was a part of a field."""
    return item.type in _AFTER_FIELD_NAME or item.startswith(("'", '"'))


def _quotes_help(name: Token) -> str:
    return f'put text in quotes: `{name}: "..."`'
