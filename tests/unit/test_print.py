"""Printing: what is printed reads back the same, with us and with protobuf."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe2k.diagnostics import Diagnostics, SourceFile
from caffe2k.prototxt import read, read_net, to_prototxt, upgrade
from caffe2k.prototxt.bind import bind
from caffe2k.prototxt.parse import parse
from caffe2k.schema import caffe_pb2
from caffe2k.schema.message import (
    Entry,
    FieldType,
    Message,
    MessageType,
    message_from_pb,
    message_type,
    shortest_float32,
)

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the corpus, ../shared/corpus, is not here"
)


def read_back(text: str, type_name: str) -> Message:
    diagnostics = Diagnostics()
    source = SourceFile("printed.prototxt", text)
    message = bind(parse(source, diagnostics), type_name, diagnostics, source)
    assert [d.render() for d in diagnostics] == []
    return message


def values(field: FieldType, depth: int) -> st.SearchStrategy[Any]:
    if field.kind == "message":
        assert field.message is not None
        return messages(field.message, depth - 1)
    if field.kind == "int":
        assert field.bounds is not None
        return st.integers(*field.bounds)
    return {
        # protobuf prints the very smallest numbers with more digits than they have.
        "float": st.floats(width=32, allow_nan=False, allow_subnormal=False).map(
            shortest_float32
        ),
        "bool": st.booleans(),
        "enum": st.sampled_from(sorted(field.enum) or [""]),
        "string": st.text(max_size=6),
        "bytes": st.binary(max_size=6),
    }[field.kind]


@st.composite
def messages(draw: st.DrawFn, schema: MessageType, depth: int = 3) -> Message:
    possible = [f for f in schema.fields.values() if depth or f.kind != "message"]
    chosen = draw(
        st.lists(st.sampled_from(possible or [None]), max_size=4, unique_by=id)
    )
    fields = {f.name: f for f in chosen if f is not None}
    fields |= {name: schema.fields[name] for name in schema.required}
    message = Message(schema)
    for f in fields.values():
        count = draw(st.integers(1, 3)) if f.repeated else 1
        for _ in range(count):
            message.add(f.name, Entry(draw(values(f, depth))))
    return message


@pytest.mark.parametrize("type_name", ["NetParameter", "SolverParameter"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_is_printed_reads_back(type_name: str, data: st.DataObject) -> None:
    message = data.draw(messages(message_type(type_name)))
    text = to_prototxt(message)
    assert read_back(text, type_name).same_values(message)
    expected = getattr(caffe_pb2, type_name)()
    text_format.Parse(text, expected)
    assert message_from_pb(expected).same_values(message)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_protobuf_prints_is_read(data: st.DataObject) -> None:
    message = data.draw(messages(message_type("NetParameter")))
    holder = caffe_pb2.NetParameter()
    text_format.Parse(to_prototxt(message), holder)
    for style in ({}, {"as_one_line": True}, {"use_short_repeated_primitives": True}):
        text = text_format.MessageToString(holder, **style)
        assert read_back(text, "NetParameter").same_values(message)


@given(data=st.binary())
def test_every_string_of_bytes_survives(data: bytes) -> None:
    net = Message("NetParameter")
    net.add("name", Entry(data.decode("utf-8", "surrogateescape")))
    text = to_prototxt(net)
    assert text.encode("utf-8")
    assert read_back(text, "NetParameter").same_values(net)


PRINTED = """\
# Licence

# name of the net
name: "net"  # short
layer {  # first
  # bottom comment
  #
  # second paragraph
  type: "ReLU"

  # a block
  # of its own

  relu_param {
    negative_slope: 0.1  # leaky

    # last words
  }
}

# the end
"""


def test_comments_are_printed_where_they_stood() -> None:
    first = to_prototxt(read_back(PRINTED, "NetParameter"))
    assert to_prototxt(read_back(first, "NetParameter")) == first
    for line in PRINTED.splitlines():
        assert line in first.splitlines()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.5, "-0.5"),
        (1e-05, "1e-05"),
        (1e22, "1e+22"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (float("nan"), "nan"),
    ],
)
def test_floats(value: float, text: str) -> None:
    solver = Message("SolverParameter")
    solver.add("base_lr", Entry(value))
    assert to_prototxt(solver) == f"base_lr: {text}\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('a"b\\c', r'"a\"b\\c"'),
        ("a\nb\tc\rd", r'"a\nb\tc\rd"'),
        ("\x001\x1b[31m", r'"\0001\033[31m"'),
        ("\N{SNOWMAN}'", '"\N{SNOWMAN}\'"'),
        ("\u200b\udcff", r'"\342\200\213\377"'),
    ],
)
def test_strings(value: str, text: str) -> None:
    net = Message("NetParameter")
    net.add("name", Entry(value))
    assert to_prototxt(net) == f"name: {text}\n"


def test_a_comment_can_not_become_a_field() -> None:
    net = Message("NetParameter")
    net.add("name", Entry("a", comments=("x\nname: 'b'",), trailing="y\nname: 'c'"))
    assert read_back(to_prototxt(net), "NetParameter").name == "a"


def corpus_files() -> list[str]:
    if not CORPUS.is_dir():
        return []
    with (CORPUS / "index.csv").open(encoding="utf-8") as file:
        return [
            row["file"] for row in csv.DictReader(file) if row["bvlc_parses"] == "yes"
        ]


@pytest.mark.slow
@needs_corpus
@pytest.mark.parametrize("file", corpus_files())
def test_corpus_prints_and_reads_back(file: str) -> None:
    diagnostics = Diagnostics()
    message = read(CORPUS / file, diagnostics)
    for stage in (message, upgrade(message, diagnostics)):
        text = to_prototxt(stage)
        again = read_back(text, stage.schema.name)
        assert again.same_values(stage)
        assert to_prototxt(again) == text


def test_unset_messages_are_not_printed() -> None:
    net = read_net(SourceFile("x", "layer { }"), Diagnostics())
    assert net.layer[0].relu_param.negative_slope == 0
    assert to_prototxt(net) == "layer {\n}\n"
