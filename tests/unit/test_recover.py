"""After a mistake: one run finds all others, nothing follows from the first, no crash."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe2k.diagnostics import Diagnostics, SourceFile
from caffe2k.prototxt import read, read_net, to_prototxt, upgrade


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


BROKEN = """\
name: "broken"
layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"
  top: "conv1"
  convolution_param {
    num_output: "twenty"
    kernal_size: 5
    stride: -1
    pad:
    weight_filler { type: xavier }
  }
layer {
  name: "pool1"
  type: "Pooling"
  top "pool1"
  pooling_param { pool: AVG kernel_size: 2 stride: 99999999999 }
}
layer {
  name: "ip"
  name: "ip1"
  }
  top: "ip1
  num_output: 10
  inner_product_param { num_output: 08 bias_term = yes }
}
// the loss
layer { name: "\\q" relu_param: 5 include { phase: "TRAIN" } }
"""


def test_one_run_finds_every_mistake_in_order() -> None:
    assert mistakes(BROKEN) == [
        "2:7 syntax: the `{` of `layer` is never closed | add a `}` before line 14",
        '8:17 wrong-type: `num_output` takes an integer, not the string `"twenty"` | for example: `num_output: 1`',
        (
            "9:5 unknown-field: `convolution_param` has no field `kernal_size` | "
            "did you mean `kernel_size`?"
        ),
        (
            "10:13 out-of-range: -1 is out of range for `stride` | "
            "it goes from 0 to 4294967295"
        ),
        "11:5 syntax: `pad` has no value | write `pad: ...` or `pad { ... }`",
        (
            "12:27 wrong-type: `type` takes a string in quotes, not the name `xavier` | "
            'put it in quotes: `type: "xavier"`'
        ),
        '17:7 syntax: expected `:` after `top` | write `top: "pool1"`',
        "18:25 unknown-enum-value: `pool` has no value `AVG` | did you mean `AVE`?",
        (
            "18:52 out-of-range: 99999999999 is out of range for `stride` | "
            "it goes from 0 to 4294967295"
        ),
        (
            "22:3 duplicate-field: `name` is set twice | "
            "it is set in line 21 already; keep one of them"
        ),
        (
            "23:3 syntax: one `}` too many | "
            "remove it, or add the bracket that it should close"
        ),
        '24:8 syntax: a string is not closed | end it with `"` on the same line',
        (
            "25:3 unknown-field: `layer` has no field `num_output` | "
            "it is a field of `inner_product_param`"
        ),
        "26:37 bad-number: `08` is no number | a number that begins with 0 is octal: leave out the 0",
        "26:50 syntax: expected `:` after `bias_term`, found `=` | write `bias_term: ...`",
        "26:52 wrong-type: `bias_term` takes `true` or `false`, not the name `yes` | for example: `bias_term: true`",
        "28:1 syntax: a comment begins with `#` | write `#` instead",
        (
            "29:16 bad-string: `\\q` is no escape sequence | "
            "a backslash itself is written `\\\\`"
        ),
        (
            "29:32 wrong-type: `relu_param` takes fields in braces, not `5` | "
            "write `relu_param { ... }`"
        ),
        (
            "29:51 wrong-type: `phase` takes a name without quotes, "
            'not the string `"TRAIN"` | write `phase: TRAIN`'
        ),
    ]


@pytest.mark.parametrize("gone", range(1, BROKEN.count("\n")))
def test_fewer_lines_still_give_no_traceback(gone: int) -> None:
    lines = BROKEN.splitlines(keepends=True)
    assert mistakes("".join(lines[:gone] + lines[gone + 1 :]))


INDENTED = """\
layer {
  name: "a"
  type: "ReLU"
  relu_param {
    negative_slope: 0.1
  }
  include {
    phase: TRAIN
  }
}
layer {
  name: "b"
  include { phase: TEST }
}
"""


@pytest.mark.parametrize(
    "line", [i for i, x in enumerate(INDENTED.splitlines()) if "}" in x]
)
def test_a_missing_brace_has_no_followers(line: int) -> None:
    lines = INDENTED.splitlines(keepends=True)
    lines[line] = lines[line].replace("}", "")
    (found,) = mistakes("".join(lines))
    assert "is never closed" in found


@pytest.mark.parametrize("line", range(len(INDENTED.splitlines())))
def test_a_brace_too_many_has_no_followers(line: int) -> None:
    lines = INDENTED.splitlines(keepends=True)
    lines.insert(line, "      }\n")
    (found,) = mistakes("".join(lines))
    assert "one `}` too many" in found


def test_unindented_text_with_a_missing_brace_has_no_followers() -> None:
    lines = [line.strip() + "\n" for line in INDENTED.splitlines()]
    del lines[9]
    (found,) = mistakes("".join(lines))
    assert found.startswith("1:7 syntax: the `{` of `layer` is never closed")


def test_after_a_hundred_syntax_errors_reading_ends() -> None:
    found = mistakes("name @\n" * 1000)
    assert len(found) == 101
    assert found[-1] == (
        "101:6 syntax: more than 100 syntax errors; the rest is not read | "
        "is it a prototxt?"
    )


@pytest.mark.parametrize(
    "text",
    [
        "layer {" * 10_000,
        "a {" * 10_000 + "}" * 10_000,
        "a: [{" * 5_000,
        "<" * 10_000,
        "}" * 10_000,
        "a{b<c[" * 3_000 + "}>]" * 3_000,
        "a" * 100_000 + ": 5",
        'name: "' + "\\" * 100_001,
        "name: " + "-" * 10_000,
        "input_dim: 1" + "0" * 10_000,
        "\x00" * 1_000,
        '"' * 10_001,
    ],
    ids=lambda text: text[:8],
)
def test_hostile_texts_give_diagnostics(text: str) -> None:
    found = Diagnostics()
    read(SourceFile("test.prototxt", text), found)
    assert found.has_errors
    assert all(len(d.render()) < 2_000 for d in found)


PIECES = [
    *"{}<>[]:;,\"'#\n-.\\@/= \x00\t5",
    "layer {",
    "name",
    '"x"',
    "//",
    "1e",
    ": :",
]
NET = INDENTED + "# end\ninput: 'x' input_dim: [1, 2, 0x3, -4]\n"


@pytest.mark.slow
@given(
    edits=st.lists(
        st.tuples(
            st.integers(0, len(NET)), st.integers(0, 12), st.sampled_from(PIECES)
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=200, deadline=None)
def test_no_edit_gives_a_traceback(edits: list[tuple[int, int, str]]) -> None:
    text = NET
    for at, removed, added in edits:
        text = text[:at] + added + text[at + removed :]
    found = Diagnostics()
    net = upgrade(read(SourceFile("test.prototxt", text), found), found)
    assert [d.render() for d in found] or to_prototxt(net) is not None
    for d in found:
        assert d.span is None or 0 <= d.span.start <= d.span.end <= len(text)


@given(text=st.text())
@settings(max_examples=200, deadline=None)
def test_no_text_gives_a_traceback(text: str) -> None:
    read(SourceFile("test.prototxt", text), Diagnostics())
