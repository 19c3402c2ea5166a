"""The text format: what is read, where comments go, and what is said of each mistake."""

from __future__ import annotations

from typing import Any

import pytest

from caffe2k.diagnostics import Diagnostics, SourceFile
from caffe2k.prototxt import read_net
from caffe2k.prototxt.parse import parse
from caffe2k.prototxt.tree import Block, Items, Scalar


def plain(value: Any) -> Any:
    """A tree as nested tuples and lists."""
    if isinstance(value, Block):
        return [(f.name, plain(f.value)) for f in value.fields]
    if isinstance(value, Items):
        return ("list", *(plain(v) for v in value.values))
    assert isinstance(value, Scalar)
    return None if value.kind == "MISSING" else value.text


def parsed(text: str) -> list[tuple[str, Any]]:
    """The tree of a text without mistakes."""
    diagnostics = Diagnostics()
    tree = parse(SourceFile("test.prototxt", text), diagnostics)
    assert not list(diagnostics)
    return plain(tree)


def mistakes(text: str) -> list[str]:
    """What is wrong with a net: place, message and help of each diagnostic, in order."""
    diagnostics = Diagnostics()
    read_net(SourceFile("test.prototxt", text), diagnostics)
    found = []
    for d in diagnostics:
        assert d.span is not None
        help = f" | {d.help}" if d.help else ""
        found.append(f"{d.span.line}:{d.span.column} {d.code}: {d.message}{help}")
    return found


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", []),
        ("  \n\t# nothing\n", []),
        ("a: 1", [("a", "1")]),
        ("a:1,b:2", [("a", "1"), ("b", "2")]),
        ("a: 1 b: 2", [("a", "1"), ("b", "2")]),
        ("a: 1, b: 2; c: 3,", [("a", "1"), ("b", "2"), ("c", "3")]),
        ("a { b: 1 }", [("a", [("b", "1")])]),
        ("a: { b: 1 }", [("a", [("b", "1")])]),
        ("a < b: 1 >", [("a", [("b", "1")])]),
        ("a: < b { c: 1 }; >", [("a", [("b", [("c", "1")])])]),
        ("a{}", [("a", [])]),
        ("a: [1, 2]", [("a", ("list", "1", "2"))]),
        ("a: []", [("a", ("list",))]),
        ("a: [x]", [("a", ("list", "x"))]),
        ("a [{ b: 1 }, < >]", [("a", ("list", [("b", "1")], []))]),
        ("a: [{ b: 1 }]", [("a", ("list", [("b", "1")]))]),
        ("a: 'x' \"y\"'z'", [("a", "'x' \"y\" 'z'")]),
        ("a: 'x'\n  # comment\n  'y'", [("a", "'x' 'y'")]),
        (r'a: "\"#{"', [("a", r'"\"#{"')]),
        ("a: '\"'", [("a", "'\"'")]),
        ("a: -5 b: - 5", [("a", "-5"), ("b", "-5")]),
        ("a: -inf", [("a", "-inf")]),
        ("a:\n\n1", [("a", "1")]),
        ("a: 1e-4 b: .5 c: 1. d: 1.5e+3f", None),
        ("a: 1\r\nb: 2\r\n", [("a", "1"), ("b", "2")]),
        ("a:\t1\v\fb: 2", [("a", "1"), ("b", "2")]),
        ("a: 1 # \N{LATIN SMALL LETTER E WITH ACUTE}\nb: '\N{SNOWMAN}'", None),
        ("inf: 1 true: 2 layer: 3", [("inf", "1"), ("true", "2"), ("layer", "3")]),
        ("a: inf b: nan c: true", [("a", "inf"), ("b", "nan"), ("c", "true")]),
    ],
)
def test_accepted(text: str, tree: list[tuple[str, Any]] | None) -> None:
    result = parsed(text)
    if tree is not None:
        assert result == tree


def test_names_numbers_and_fields_know_their_places() -> None:
    text = 'layer {\n  name: "a" "b"\n}\n'
    tree = parse(SourceFile("test.prototxt", text), Diagnostics())
    (layer,) = tree.fields
    assert text[layer.start : layer.end] == "layer"
    assert isinstance(layer.value, Block)
    assert text[layer.value.start : layer.value.end] == '{\n  name: "a" "b"\n}'
    (name,) = layer.value.fields
    assert text[name.start : name.end] == "name"
    assert text[name.value.start : name.value.end] == '"a" "b"'


COMMENTED = """\
# Licence,
#   indented

# two
## convolutions
name: "net"  # a name

layer {  # first
\t#\ttabbed
  # second line
  type: "X", # kind
  # commented: out

  # last
}  # end
# the end
"""


def test_comments_go_with_fields() -> None:
    tree = parse(SourceFile("test.prototxt", COMMENTED), Diagnostics())
    name, layer = tree.fields
    assert name.detached == ("Licence,", "  indented")
    assert name.comments == ("two", "convolutions")
    assert name.trailing == "a name"
    assert layer.comments == ()
    assert layer.trailing == "first end"
    assert isinstance(layer.value, Block)
    (kind,) = layer.value.fields
    assert kind.comments == ("tabbed", "second line")
    assert kind.trailing == "kind"
    assert layer.value.closing_comments == ("commented: out", "", "last")
    assert tree.closing_comments == ("the end",)


def test_comments_cannot_drive_a_terminal() -> None:
    tree = parse(SourceFile("test.prototxt", "# \x1b[31m\x07\na: 1"), Diagnostics())
    assert tree.fields[0].comments == (
        "\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}",
    )


def test_byte_order_mark_is_a_warning() -> None:
    diagnostics = Diagnostics()
    net = read_net(SourceFile("test.prototxt", '\ufeffname: "net"'), diagnostics)
    assert net.name == "net"
    assert [d.render() for d in diagnostics.warnings] == [
        (
            "warning[byte-order-mark]: the file begins with a byte order mark, "
            "which Caffe refuses\n"
            " --> test.prototxt:1:1\n"
            "  |\n"
            '1 | \N{REPLACEMENT CHARACTER}name: "net"\n'
            "  | ^\n"
            "  = help: save it as UTF-8 without a byte order mark"
        )
    ]
    assert not diagnostics.has_errors


NO_VALUE = "has no value | write `name: ...` or `name { ... }`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name:", [f"1:1 syntax: `name` {NO_VALUE}"]),
        ("name", [f"1:1 syntax: `name` {NO_VALUE}"]),
        ("name\nforce_backward: true", [f"1:1 syntax: `name` {NO_VALUE}"]),
        ("name:\nforce_backward: true", [f"1:1 syntax: `name` {NO_VALUE}"]),
        ("name:\nlayer { }", [f"1:1 syntax: `name` {NO_VALUE}"]),
        ("name: ;", [f"1:1 syntax: `name` {NO_VALUE}"]),
        ("layer { name: }", [f"1:9 syntax: `name` {NO_VALUE}"]),
        (
            'name: - "a"',
            [
                '1:9 syntax: expected a number after `-`, found `"a"` | write the number right behind the `-`'
            ],
        ),
        ('name "a"', ['1:6 syntax: expected `:` after `name` | write `name: "a"`']),
        (
            "force_backward true",
            [
                (
                    "1:16 syntax: expected `:` after `force_backward` | "
                    "write `force_backward: true`"
                )
            ],
        ),
        (
            "input_dim: 1b:2",
            [
                "1:14 syntax: unexpected `:` after the value of `input_dim` | one value ends a field: remove this, or write another field"
            ],
        ),
        (
            'name = "a"',
            ["1:6 syntax: expected `:` after `name`, found `=` | write `name: ...`"],
        ),
        ('name:: "a"', ["1:6 syntax: one `:` is enough | remove this one"]),
        (
            'name: "a',
            ['1:7 syntax: a string is not closed | end it with `"` on the same line'],
        ),
        (
            "layer { name: 'a }",
            ["1:15 syntax: a string is not closed | end it with `'` on the same line"],
        ),
        (
            'name: "a\n"',
            [
                '1:7 syntax: a string is not closed | end it with `"` on the same line',
            ],
        ),
        (
            'name: "a" 5',
            [
                "1:11 syntax: unexpected `5` after the value of `name` | one value ends a field: remove this, or write another field"
            ],
        ),
        (
            'name: "a";;',
            [
                "1:11 syntax: expected the name of a field, found `;` | a field is written `name: value` or `name { ... }`"
            ],
        ),
        (
            '; name: "a"',
            [
                "1:1 syntax: expected the name of a field, found `;` | a field is written `name: value` or `name { ... }`"
            ],
        ),
        (
            '5: "a"',
            [
                "1:1 syntax: expected the name of a field, found `5` | a field is written `name: value` or `name { ... }`"
            ],
        ),
        (
            '"name": "a"',
            [
                '1:1 syntax: expected the name of a field, found `"name"` | a field is written `name: value` or `name { ... }`'
            ],
        ),
        (
            '[ext.name]: "a"',
            [
                "1:1 syntax: expected the name of a field, found `[` | a field is written `name: value` or `name { ... }`"
            ],
        ),
        (
            "{ }",
            [
                "1:1 syntax: expected the name of a field, found `{` | a field is written `name: value` or `name { ... }`"
            ],
        ),
        (
            "name: a.b",
            ['1:8 syntax: unexpected `.` | put text in quotes: `name: "..."`'],
        ),
        (
            "name: /a/b.c",
            ['1:7 syntax: unexpected `/` | put text in quotes: `name: "..."`'],
        ),
        (
            "name: +5",
            ['1:7 syntax: unexpected `+` | put text in quotes: `name: "..."`'],
        ),
        ("name @", ["1:6 syntax: unexpected `@` | write `name: ...`"]),
        (
            "@ name: 'a'",
            [
                "1:1 syntax: unexpected `@` | a field is written `name: value` or `name { ... }`"
            ],
        ),
        ("// name: 'a'", ["1:1 syntax: a comment begins with `#` | write `#` instead"]),
        (
            "/* name: 'a'\n layer { */ name: 'b'",
            ["1:1 syntax: a comment begins with `#` | write `#` instead"],
        ),
        (
            "name: \N{LEFT DOUBLE QUOTATION MARK}a\N{RIGHT DOUBLE QUOTATION MARK}",
            [
                "1:7 syntax: U+201C (LEFT DOUBLE QUOTATION MARK) is no quotation mark here | write `\"` or `'`"
            ],
        ),
        (
            "name:\N{NO-BREAK SPACE}'a'",
            [
                '1:6 syntax: unexpected U+00A0 (NO-BREAK SPACE) | put text in quotes: `name: "..."`'
            ],
        ),
        (
            "\x00name: 'a'",
            [
                "1:1 syntax: unexpected U+0000 (a control character) | a field is written `name: value` or `name { ... }`"
            ],
        ),
        (
            "input: ['a' 'b', ]",
            [
                "1:18 syntax: expected a value before `]` | the values of a list stand between `,`"
            ],
        ),
        (
            "input: [, 'a']",
            [
                "1:9 syntax: expected a value before `,` | the values of a list stand between `,`"
            ],
        ),
        (
            "input_dim: [1 2]",
            [
                "1:15 syntax: expected `,` or `]`, found `2` | the values of a list stand between `,`"
            ],
        ),
        (
            "input_dim: [1; 2]",
            [
                "1:14 syntax: unexpected `;` in a list | the values of a list stand between `,`"
            ],
        ),
        (
            "input_dim: [1, @]",
            ['1:16 syntax: unexpected `@` | put text in quotes: `input_dim: "..."`'],
        ),
        (
            "input_dim: [1, 2\nname: 'a'",
            [
                "1:12 syntax: the `[` of `input_dim` is never closed | add a `]` before line 2"
            ],
        ),
        (
            "input_dim [1, 2]",
            ["1:11 syntax: expected `:` after `input_dim` | write `input_dim: [...]`"],
        ),
        (
            "layer {",
            [
                "1:7 syntax: the `{` of `layer` is never closed | add a `}` where it ends"
            ],
        ),
        (
            "layer { relu_param {",
            [
                "1:7 syntax: the `{` of `layer` is never closed | add a `}` where it ends; 2 brackets are open at the end"
            ],
        ),
        (
            "}",
            [
                "1:1 syntax: one `}` too many | remove it, or add the bracket that it should close"
            ],
        ),
        (
            "layer { } }",
            [
                "1:11 syntax: one `}` too many | remove it, or add the bracket that it should close"
            ],
        ),
        (
            "layer { > }",
            [
                "1:9 syntax: one `>` too many | remove it, or add the bracket that it should close"
            ],
        ),
        ("layer { >", ["1:9 syntax: `{` is closed by `>` | write `}`"]),
        (
            "layer { name: 'a' } type: 'X' }",
            [
                "1:19 syntax: one `}` too many | remove it, or add the bracket that it should close"
            ],
        ),
    ],
)
def test_each_mistake_is_one_diagnostic(text: str, expected: list[str]) -> None:
    assert mistakes(text) == expected
