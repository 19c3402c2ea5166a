"""Reads the text of a prototxt into a tree, with every syntax error reported."""

from __future__ import annotations

from collections.abc import Sequence

from lark import Token, UnexpectedToken

from caffe2k.diagnostics import Diagnostics, SourceFile, SourceSpan
from caffe2k.prototxt.comments import attach_comments
from caffe2k.prototxt.recover import recover
from caffe2k.prototxt.scan import parser, scan
from caffe2k.prototxt.tree import Block

_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


def parse(
    source: SourceFile, diagnostics: Diagnostics, *, by_indentation: bool = False
) -> Block:
    """The fields of a text; after a syntax error, those that could still be read.

    Accepts what google::protobuf::TextFormat and io::Tokenizer accept, which
    ReadProtoFromTextFile (util/io.cpp) calls, and a byte order mark, with a warning.
    `by_indentation` is for a text that is wrong: where its brackets and its indentation
    disagree, the indentation is right.
    """
    text = source.text
    if text.startswith(_BYTE_ORDER_MARK):
        diagnostics.warning(
            "byte-order-mark",
            "the file begins with a byte order mark, which Caffe refuses",
            SourceSpan(source, 0, 1),
            help="save it as UTF-8 without a byte order mark",
        )
        text = " " + text[1:]
    tokens, comments = scan(text)
    tree = None if by_indentation else _parse(tokens)
    if tree is None:
        tree = recover(tokens, source, diagnostics, by_indentation=by_indentation)
    attach_comments(tree, tokens, comments, text)
    return tree


def _parse(tokens: Sequence[Token]) -> Block | None:
    """The tree of a text without syntax errors; None of another."""
    interactive = parser().parse_interactive()
    tree: Block | None = None
    try:
        for item in tokens:
            tree = interactive.feed_token(item)
    except UnexpectedToken:
        return None
    return tree
