"""Diagnostics: places, how they are shown, their order, and the error that carries them."""

from __future__ import annotations

import pytest

from caffe2k.diagnostics import (
    Diagnostic,
    Diagnostics,
    Severity,
    SourceFile,
    SourceSpan,
    TranslationError,
    did_you_mean,
    printable,
)

TEXT = "layer {\n  convolution_param {\n\tkernal_size: 5\r\n  }\n}\n"
SOURCE = SourceFile("train_val.prototxt", TEXT)


def span_of(word: str, source: SourceFile = SOURCE) -> SourceSpan:
    start = source.text.index(word)
    return SourceSpan(source, start, start + len(word))


def rendered(text: str, word: str) -> list[str]:
    """The excerpt of a diagnostic at a word of a text."""
    span = span_of(word, SourceFile("f", text))
    return Diagnostic(Severity.ERROR, "code", "message", span).render().split("\n")[1:]


def test_positions() -> None:
    assert SOURCE.position(0) == (1, 1)
    assert SOURCE.position(7) == (1, 8)
    assert SOURCE.position(8) == (2, 1)
    assert SOURCE.position(len(TEXT)) == (6, 1)
    assert [SOURCE.line(n) for n in (1, 3, 6)] == ["layer {", "\tkernal_size: 5", ""]
    assert str(span_of("kernal_size")) == "train_val.prototxt:3:2"


def test_a_diagnostic_as_its_user_reads_it() -> None:
    found = Diagnostic(
        Severity.ERROR,
        "unknown-field",
        "`convolution_param` has no field `kernal_size`",
        span_of("kernal_size"),
        "did you mean `kernel_size`?",
    )
    assert found.render() == (
        "error[unknown-field]: `convolution_param` has no field `kernal_size`\n"
        " --> train_val.prototxt:3:2\n"
        "  |\n"
        "3 |  kernal_size: 5\n"
        "  |  ^^^^^^^^^^^\n"
        "  = help: did you mean `kernel_size`?"
    )


def test_without_a_place() -> None:
    found = Diagnostic(Severity.WARNING, "code", "message", help="help")
    assert found.render() == "warning[code]: message\n  = help: help"


def test_the_gutter_is_as_wide_as_the_line_number() -> None:
    assert rendered("\n" * 99 + "word", "word") == [
        "   --> f:100:1",
        "    |",
        "100 | word",
        "    | ^^^^",
    ]


def test_the_end_of_a_file_has_a_caret() -> None:
    source = SourceFile("f", "a {")
    found = Diagnostic(Severity.ERROR, "code", "message", SourceSpan(source, 3, 3))
    assert found.render().endswith("1 | a {\n  |    ^")


def test_a_span_over_lines_is_marked_on_its_first() -> None:
    assert rendered("ab cd\nef", "cd\nef")[-1] == "  |    ^^"


def test_long_lines_are_cut_around_the_caret() -> None:
    lines = rendered("a" * 1_000 + "word" + "b" * 1_000, "word")
    assert lines[-2] == "1 | " + "a" * 50 + "word" + "b" * 46
    assert lines[-1] == "  | " + " " * 50 + "^^^^"
    assert rendered("x" * 5_000, "x" * 5_000)[-1] == "  | " + "^" * 100


def test_wide_characters_take_two_columns() -> None:
    assert rendered('"\u5377\u79ef" word', "word")[-1] == "  | " + " " * 7 + "^^^^"
    assert rendered("e\u0301 word", "word")[-1] == "  | " + " " * 2 + "^^^^"


def test_nothing_can_drive_a_terminal() -> None:
    hostile = "\x1b[31mred\x07\n"
    source = SourceFile(hostile, hostile + "word")
    found = Diagnostic(
        Severity.ERROR, "code", hostile, span_of("word", source), hostile
    )
    assert "\x1b" not in found.render()
    assert "\x07" not in found.render()
    assert found.render().count("\n") == 5
    assert printable("a\tb\x00\u202e") == "a\ufffdb\ufffd\ufffd"


def test_long_sentences_are_cut() -> None:
    found = Diagnostic(Severity.ERROR, "code", "n" * 10_000, help="h" * 10_000)
    first, second = found.render().split("\n")
    assert first == "error[code]: " + "n" * 400 + "..."
    assert second.endswith("h...")


def test_did_you_mean() -> None:
    assert (
        did_you_mean("kernal_size", ["pad", "kernel_size"])
        == "did you mean `kernel_size`?"
    )
    assert did_you_mean("zzz", ["pad", "kernel_size"]) is None


def test_order_is_that_of_the_source() -> None:
    found = Diagnostics()
    other = SourceFile("solver.prototxt", "x")
    found.error("none", "no place")
    found.error("late", "message", span_of("kernal_size"))
    found.error("other", "message", SourceSpan(other, 0, 1))
    found.warning("early", "message", span_of("layer"))
    assert [d.code for d in found] == ["early", "late", "other", "none"]
    assert [d.code for d in found.warnings] == ["early"]


def test_each_finding_is_told_once() -> None:
    found, more = Diagnostics(), Diagnostics()
    for _ in range(2):
        found.error("code", "message", span_of("layer"))
    more.error("code", "message", span_of("layer"))
    more.error("code", "message", span_of("kernal_size"))
    found.extend(more)
    assert len(list(found)) == 2


def test_only_errors_are_raised() -> None:
    found = Diagnostics()
    found.warning("code", "a warning")
    assert not found.has_errors
    found.raise_if_errors()
    found.error("code", "an error", help="help")
    assert found.has_errors
    with pytest.raises(TranslationError) as error:
        found.raise_if_errors()
    assert [d.message for d in error.value.diagnostics] == ["a warning", "an error"]
    assert str(error.value) == (
        "warning[code]: a warning\n\nerror[code]: an error\n  = help: help"
    )
