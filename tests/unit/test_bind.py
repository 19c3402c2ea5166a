"""Typed values: every literal of every type, every error, and protobuf's own reading."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from caffe2k.diagnostics import Diagnostics, SourceFile, TranslationError
from caffe2k.prototxt import read, read_net, read_solver
from caffe2k.prototxt.bind import bind
from caffe2k.prototxt.parse import parse
from caffe2k.schema import caffe_pb2
from caffe2k.schema.message import Message, message_from_pb, shortest_float32

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus, ../shared/corpus, is not here"
)


def bound(text: str, type_name: str = "SolverParameter") -> tuple[Message, list[str]]:
    """The message of a text, and what was wrong with it."""
    diagnostics = Diagnostics()
    source = SourceFile("test.prototxt", text)
    message = bind(parse(source, diagnostics), type_name, diagnostics, source)
    found = []
    for d in diagnostics:
        assert d.span is not None
        help = f" | {d.help}" if d.help else ""
        found.append(f"{d.span.column} {d.code}: {d.message}{help}")
    return message, found


@pytest.mark.parametrize(
    ("field", "literal", "value"),
    [
        ("max_iter", "0", 0),
        ("max_iter", "-0", 0),
        ("max_iter", "2147483647", 2**31 - 1),
        ("max_iter", "-2147483648", -(2**31)),
        ("max_iter", "- 5", -5),
        ("max_iter", "0x1F", 31),
        ("max_iter", "-0X1f", -31),
        ("max_iter", "017", 15),
        ("random_seed", "9223372036854775807", 2**63 - 1),
        ("random_seed", "-9223372036854775808", -(2**63)),
        ("base_lr", "1", 1.0),
        ("base_lr", "1.", 1.0),
        ("base_lr", ".5", 0.5),
        ("base_lr", "-0.5", -0.5),
        ("base_lr", "1e-4", 1e-4),
        ("base_lr", "1E+4", 1e4),
        ("base_lr", "1.5e3f", 1500.0),
        ("base_lr", "1f", 1.0),
        ("base_lr", "0.1F", 0.1),
        ("base_lr", "0e1", 0.0),
        ("base_lr", "1" + "0" * 40, 1e40),
        ("base_lr", "inf", math.inf),
        ("base_lr", "-Infinity", -math.inf),
        ("debug_info", "true", True),
        ("debug_info", "True", True),
        ("debug_info", "t", True),
        ("debug_info", "1", True),
        ("debug_info", "0x1", True),
        ("debug_info", "false", False),
        ("debug_info", "False", False),
        ("debug_info", "f", False),
        ("debug_info", "0", False),
        ("debug_info", "00", False),
        ("solver_mode", "CPU", "CPU"),
        ("solver_mode", "1", "GPU"),
        ("solver_mode", "0x0", "CPU"),
        ("net", '""', ""),
        ("net", "'a\"b'", 'a"b'),
        ("net", '"a\'b"', "a'b"),
        ("net", "'a' \"b\"\n'c'", "abc"),
        ("net", r'"\a\b\f\n\r\t\v\\\?\'\""', "\a\b\f\n\r\t\v\\?'\""),
        ("net", r'"\101\60\0601"', "A001"),
        ("net", r'"\x41\X4a\x4g"', "AJ\x04g"),
        ("net", r'"\303\251"', "\u00e9"),
        ("net", r'"\351"', "\udce9"),
        ("net", r'"\u00e9\U0001F600"', "\u00e9\U0001f600"),
        ("net", r'"\ud83d\ude00"', "\U0001f600"),
        ("net", r'"\0"', "\0"),
        ("net", '"\N{SNOWMAN}\t#"', "\N{SNOWMAN}\t#"),
    ],
)
def test_literals(field: str, literal: str, value: Any) -> None:
    message, found = bound(f"{field}: {literal}")
    assert found == []
    result = getattr(message, field)
    assert result == value
    assert type(result) is type(value)


def test_nan() -> None:
    message, found = bound("base_lr: nan gamma: -nan power: NaN")
    assert found == []
    assert all(math.isnan(v) for v in (message.base_lr, message.gamma, message.power))


def test_bytes() -> None:
    message, found = bound(r'data: "a\377" "\x00"', "Datum")
    assert found == []
    assert message.data == b"a\xff\0"


INT32 = "it goes from -2147483648 to 2147483647"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "max_iter: 5.0",
            "11 wrong-type: `max_iter` takes an integer, not the fraction 5.0 | write `max_iter: 5`",
        ),
        (
            "max_iter: 5f",
            "11 wrong-type: `max_iter` takes an integer, not the fraction 5f | for example: `max_iter: 1`",
        ),
        (
            "max_iter: a",
            "11 wrong-type: `max_iter` takes an integer, not the name `a` | for example: `max_iter: 1`",
        ),
        (
            "max_iter: '5'",
            "11 wrong-type: `max_iter` takes an integer, not the string `'5'` | write `max_iter: 5`",
        ),
        (
            "max_iter: { }",
            "11 wrong-type: `max_iter` takes an integer, not a message | for example: `max_iter: 1`",
        ),
        (
            "max_iter: [1]",
            "11 wrong-type: `max_iter` takes one value, not a list | write `max_iter: ...` with one of them",
        ),
        (
            "max_iter: 2147483648",
            f"11 out-of-range: 2147483648 is out of range for `max_iter` | {INT32}",
        ),
        (
            "max_iter: -2147483649",
            f"11 out-of-range: -2147483649 is out of range for `max_iter` | {INT32}",
        ),
        (
            "max_iter: 0x",
            "11 bad-number: `0x` is no number | write it in decimal, as in 20, 0.5 or 1e-4",
        ),
        (
            "max_iter: 5a",
            "11 bad-number: `5a` is no number | write it in decimal, as in 20, 0.5 or 1e-4",
        ),
        (
            "max_iter: 09",
            "11 bad-number: `09` is no number | a number that begins with 0 is octal: leave out the 0",
        ),
        (
            "base_lr: 1.2.3",
            "10 bad-number: `1.2.3` is no number | write it in decimal, as in 20, 0.5 or 1e-4",
        ),
        (
            "base_lr: 1e",
            "10 bad-number: `1e` is no number | write it in decimal, as in 20, 0.5 or 1e-4",
        ),
        (
            "base_lr: 01.5",
            "10 bad-number: `01.5` is no number | write it in decimal, as in 20, 0.5 or 1e-4",
        ),
        (
            "base_lr: 1e5x",
            "10 bad-number: `1e5x` is no number | write it in decimal, as in 20, 0.5 or 1e-4",
        ),
        (
            "base_lr: 0x10",
            "10 wrong-type: `base_lr` takes a number, not the octal or hexadecimal `0x10` | write it in decimal",
        ),
        (
            "base_lr: 010",
            "10 wrong-type: `base_lr` takes a number, not the octal or hexadecimal `010` | write it in decimal",
        ),
        (
            "base_lr: one",
            "10 wrong-type: `base_lr` takes a number, not the name `one` | for example: `base_lr: 0.1`",
        ),
        (
            "base_lr: '0.1'",
            "10 wrong-type: `base_lr` takes a number, not the string `'0.1'` | write `base_lr: 0.1`",
        ),
        (
            "debug_info: yes",
            "13 wrong-type: `debug_info` takes `true` or `false`, not the name `yes` | for example: `debug_info: true`",
        ),
        (
            "debug_info: TRUE",
            "13 wrong-type: `debug_info` takes `true` or `false`, not the name `TRUE` | write it in small letters and without quotes",
        ),
        (
            "debug_info: 'true'",
            "13 wrong-type: `debug_info` takes `true` or `false`, not the string `'true'` | write it in small letters and without quotes",
        ),
        (
            "debug_info: 2",
            "13 wrong-type: `debug_info` takes `true` or `false`, not the number 2 | for example: `debug_info: true`",
        ),
        (
            "debug_info: -1",
            "13 wrong-type: `debug_info` takes `true` or `false`, not the number -1 | for example: `debug_info: true`",
        ),
        (
            "solver_mode: cpu",
            "14 unknown-enum-value: `solver_mode` has no value `cpu` | did you mean `CPU`?",
        ),
        (
            "solver_mode: TPU2",
            "14 unknown-enum-value: `solver_mode` has no value `TPU2` | it is one of CPU, GPU",
        ),
        (
            "solver_mode: 2",
            "14 unknown-enum-value: `solver_mode` has no value `2` | it is one of CPU, GPU",
        ),
        (
            "solver_mode: 1.0",
            "14 wrong-type: `solver_mode` takes a name without quotes, not the fraction 1.0 | it is one of CPU, GPU",
        ),
        (
            "solver_mode: 'CPU'",
            "14 wrong-type: `solver_mode` takes a name without quotes, not the string `'CPU'` | write `solver_mode: CPU`",
        ),
        (
            "solver_mode: 'gpu'",
            "14 wrong-type: `solver_mode` takes a name without quotes, not the string `'gpu'` | did you mean `GPU`?",
        ),
        (
            "net: 5",
            '6 wrong-type: `net` takes a string in quotes, not the number 5 | put it in quotes: `net: "5"`',
        ),
        (
            "net: lenet",
            '6 wrong-type: `net` takes a string in quotes, not the name `lenet` | put it in quotes: `net: "lenet"`',
        ),
        (
            r"net: 'a\q'",
            r"8 bad-string: `\q` is no escape sequence | a backslash itself is written `\\`",
        ),
        (
            r"net: '\x'",
            r"7 bad-string: `\x` is no escape sequence | a backslash itself is written `\\`",
        ),
        (
            r"net: '\u12'",
            r"7 bad-string: `\u` is no escape sequence | a backslash itself is written `\\`",
        ),
        (
            r"net: '\U00110000'",
            r"7 bad-string: `\U` is no escape sequence | a backslash itself is written `\\`",
        ),
        (
            r"net: 'C:\dir\8'",
            r"9 bad-string: `\d` is no escape sequence | a backslash itself is written `\\`",
        ),
        (
            "net: 'a\0'",
            r"8 bad-string: a string can't hold the character NUL itself | write `\0`",
        ),
        (
            "train_state: 5",
            "14 wrong-type: `train_state` takes fields in braces, not `5` | write `train_state { ... }`",
        ),
        (
            "max_iter: 1 max_iter: 1",
            "13 duplicate-field: `max_iter` is set twice | it is set in line 1 already; keep one of them",
        ),
        (
            "train_state { } train_state { }",
            "17 duplicate-field: `train_state` is set twice | it is set in line 1 already; keep one of them",
        ),
        (
            "momentun: 1",
            "1 unknown-field: a solver has no field `momentun` | did you mean `momentum`?",
        ),
        (
            "qqq: 1",
            "1 unknown-field: a solver has no field `qqq` | remove it, if nothing that Caffe knows is meant",
        ),
    ],
)
def test_each_error(text: str, expected: str) -> None:
    _, found = bound(text)
    assert found == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "layer { num_output: 5 convolution_param { } }",
            (
                "9 unknown-field: `layer` has no field `num_output` | "
                "it is a field of `convolution_param`"
            ),
        ),
        (
            "layer { negative_slope: 5 }",
            (
                "9 unknown-field: `layer` has no field `negative_slope` | "
                "it is a field of `relu_param`"
            ),
        ),
        (
            "layer { crop_size: 5 }",
            (
                "9 unknown-field: `layer` has no field `crop_size` | it is a field of "
                "`transform_param`, `data_param`, `image_data_param` and others"
            ),
        ),
        (
            "layer { relu_param { bottom: 'a' } }",
            (
                "22 unknown-field: `relu_param` has no field `bottom` | "
                "it is a field of `layer`"
            ),
        ),
        (
            "layer { data_param { mean_value: 5 } }",
            (
                "22 unknown-field: `data_param` has no field `mean_value` | "
                "it is a field of `transform_param`"
            ),
        ),
        (
            "layer { softmax_param { coeff: 5 } }",
            (
                "25 unknown-field: `softmax_param` has no field `coeff` | "
                "it is a field of `eltwise_param` or `reduction_param`"
            ),
        ),
        (
            "base_lr: 1 layer { }",
            "1 unknown-field: a net has no field `base_lr` | remove it, if nothing that Caffe knows is meant",
        ),
        (
            "layer { clip_param { min: 0 } }",
            "9 missing-field: `clip_param` needs the field `max` | write `max: ...` in it",
        ),
    ],
)
def test_help_says_where_a_field_belongs(text: str, expected: str) -> None:
    _, found = bound(text, "NetParameter")
    assert found == [expected]


def test_lists_and_repetition_mix() -> None:
    message, found = bound("stepvalue: 1 stepvalue: [2, 3] stepvalue: [] stepvalue: 4")
    assert found == []
    assert message.stepvalue == [1, 2, 3, 4]
    net, found = bound("# c\nlayer [{ name: 'a' }, < name: 'b' >]", "NetParameter")
    assert found == []
    assert [layer.name for layer in net.layer] == ["a", "b"]
    assert [layer.comments for layer in net.layer] == [("c",), ()]


def test_a_bad_item_leaves_the_others() -> None:
    message, found = bound("stepvalue: [1, x, 3]")
    assert found == [
        "16 wrong-type: `stepvalue` takes an integer, not the name `x` | for example: `stepvalue: 1`"
    ]
    assert message.stepvalue == [1, 3]


def test_entries_know_their_names_and_comments() -> None:
    text = "# detached\n\n# above\nlayer {\n  name: 'a'  # behind\n}"
    message, _ = bound(text, "NetParameter")
    (layer,) = message.entries_of("layer")
    assert (layer.comments, layer.detached) == (("above",), ("detached",))
    assert layer.value.comments == ("above",)
    assert layer.span is not None
    assert text[layer.span.start : layer.span.end] == "layer"
    (name,) = layer.value.entries_of("name")
    assert name.trailing == "behind"
    assert str(name.span) == "test.prototxt:5:3"
    assert str(message.span_of("name")) == "test.prototxt:1:1"


def test_raise_if_errors_carries_all() -> None:
    diagnostics = Diagnostics()
    read_solver(SourceFile("s", "base_lr: x max_iter: y"), diagnostics)
    with pytest.raises(TranslationError) as error:
        diagnostics.raise_if_errors()
    assert len(error.value.diagnostics) == 2


def rows() -> list[dict[str, str]]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "index.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


REFUSED = {
    # A field that no fork has.
    "hist-5e61f55__examples__mnist__lenet_stepearly_solver.prototxt",
    "hist-b442dc6__examples__mnist__lenet_consolidated_solver.prototxt",
    # Label maps and settings of other programs.
    "data__ILSVRC2016__labelmap_ilsvrc_clsloc.prototxt",
    "data__ILSVRC2016__labelmap_ilsvrc_det.prototxt",
    "create_lmdb__code__labelmap.prototxt",
    "data__WIDER_FACE__labelmap_wider.prototxt",
    "demos__K+__deact.prototxt",
    "demos__K+__gv.prototxt",
    # Templates with blanks to fill in.
    "template__MobileNetSSD_train_template.prototxt",
    "template__MobileNetSSD_test_template.prototxt",
    "hist-3c4163b__models__example.prototxt",
}


@pytest.mark.slow
@needs_corpus
@pytest.mark.parametrize("row", rows(), ids=lambda row: row["file"])
def test_corpus_is_read_as_protobuf_reads_it(row: dict[str, str]) -> None:
    path = CORPUS / row["file"]
    diagnostics = Diagnostics()
    message = read(path, diagnostics)
    if path.name in REFUSED:
        assert row["bvlc_parses"] == "no"
        assert diagnostics.has_errors
        return
    assert [d.render() for d in diagnostics if d.code != "byte-order-mark"] == []
    expected = getattr(caffe_pb2, message.schema.name)()
    text_format.Parse(path.read_text("utf-8-sig", "replace"), expected)
    assert in_float32(message) == in_float32(message_from_pb(expected))


def in_float32(message: Message) -> dict[str, list[Any]]:
    """The values of a message, floats as the float32 that Caffe makes of them."""
    values: dict[str, list[Any]] = {}
    for name, entry in message.entries():
        value = entry.value
        if isinstance(value, Message):
            value = in_float32(value)
        elif isinstance(value, float):
            value = shortest_float32(value)
        values.setdefault(name, []).append(value)
    return values


@needs_corpus
def test_what_caffe_accepts_is_all_accepted() -> None:
    accepted = {Path(row["file"]).name for row in rows() if row["bvlc_parses"] == "yes"}
    assert len(rows()) == 300
    assert not accepted & REFUSED


def test_every_field_of_a_fork_is_known() -> None:
    text = "layer { permute_param { order: 0 } lstm_param { num_output: 3 } }"
    diagnostics = Diagnostics()
    net = read_net(SourceFile("test.prototxt", text), diagnostics)
    assert not list(diagnostics)
    assert net.layer[0].permute_param.order == [0]
