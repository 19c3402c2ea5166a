"""Makes the tree of a prototxt from what the parser reduces."""

from __future__ import annotations

from typing import Any, cast

from lark import Token, Transformer

from caffe2k.prototxt.tree import Block, Field, Items, Scalar, ScalarKind, Value


class TreeBuilder(Transformer[Token, Block]):
    """One method for each rule of grammars/prototxt.lark, called with its children."""

    def start(self, fields: list[Field]) -> Block:
        return Block(fields, 0, fields[-1].value.end if fields else 0)

    def field(self, children: list[Any]) -> Field:
        name: Token = children[0]
        value: Value = children[-1]
        return Field(str(name), _start(name), _end(name), value, len(children) == 3)

    def message(self, children: list[Any]) -> Block:
        opening, *fields, closing = children
        return Block(fields, _start(opening), _end(closing), bool(closing))

    def items(self, children: list[Any]) -> Items:
        opening, *values, closing = children
        return Items(values, _start(opening), _end(closing))

    def scalar(self, tokens: list[Token]) -> Scalar:
        first, last = tokens[0], tokens[-1]
        negative = first.type == "MINUS"
        texts = tuple(str(t) for t in (tokens[1:] if negative else tokens))
        kind = cast(ScalarKind, last.type)
        return Scalar(kind, texts, _start(first), _end(last), negative)


def _start(token: Token) -> int:
    return cast(int, token.start_pos)


def _end(token: Token) -> int:
    return cast(int, token.end_pos)
