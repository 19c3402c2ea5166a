"""Messages: values and defaults, what was read, and protobuf's own messages as ours."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffe2k.diagnostics import SourceFile, SourceSpan
from caffe2k.schema import caffe_pb2
from caffe2k.schema.message import (
    Entry,
    Message,
    message_from_pb,
    message_type,
    shortest_float32,
)

SOURCE = SourceFile("net.prototxt", "layer type pad")
LAYER, TYPE, PAD = (
    SourceSpan(SOURCE, 0, 5),
    SourceSpan(SOURCE, 6, 10),
    SourceSpan(SOURCE, 11, 14),
)


def layer() -> Message:
    result = Message("LayerParameter", LAYER)
    result.add("type", Entry("Convolution", TYPE))
    convolution = result.child("convolution_param", LAYER)
    convolution.add("pad", Entry(1, PAD))
    convolution.add("pad", Entry(2, PAD))
    return result


def test_values_and_defaults() -> None:
    m = layer()
    assert m.type == "Convolution"
    assert m.name == ""
    assert m.bottom == []
    assert m.phase == "TRAIN"
    assert m.convolution_param.pad == [1, 2]
    assert m.convolution_param.bias_term is True
    assert m.convolution_param.engine == "DEFAULT"
    assert m.lrn_param.alpha == 1.0
    assert m.batch_norm_param.eps == 1e-5
    assert m.dropout_param.schema is message_type("DropoutParameter")
    with pytest.raises(AttributeError, match="LayerParameter has no field pad"):
        _ = m.pad


def test_has_and_peek() -> None:
    m = layer()
    assert m.has("type")
    assert not m.has("name")
    assert m.peek("name") is None
    assert m.peek("type") == "Convolution"


def test_places() -> None:
    m = layer()
    assert m.span_of("type") == TYPE
    assert m.span_of("name") == LAYER
    assert m.convolution_param.span_of("pad", 1) == PAD
    assert m.convolution_param.span_of("pad", 2) == LAYER
    assert m.lrn_param.span_of("alpha") == LAYER


def unread(m: Message) -> list[str]:
    return [path for path, _ in m.unread()]


def test_what_was_not_read() -> None:
    m = layer()
    assert unread(m) == ["type", "convolution_param"]
    _ = m.type
    assert unread(m) == ["convolution_param"]
    p = m.convolution_param
    assert unread(m) == ["convolution_param.pad", "convolution_param.pad"]
    p.has("pad")
    assert unread(m) == []


def test_looking_without_reading() -> None:
    m = layer()
    m.peek("type")
    m.entries_of("type")
    list(m.entries())
    m.child("convolution_param", None)
    m.same_values(layer())
    assert unread(m) == ["type", "convolution_param"]


def test_mark_read_goes_all_the_way_down() -> None:
    m = layer()
    m.mark_read("convolution_param")
    assert unread(m) == ["type"]


def test_child_is_put_in_once() -> None:
    m = layer()
    first = m.child("relu_param", PAD)
    assert m.child("relu_param", TYPE) is first
    assert first.span == PAD
    assert [e.value for e in m.entries_of("relu_param")] == [first]


def test_set_and_clear() -> None:
    m = layer()
    m.set("type", Entry("ReLU"))
    assert m.type == "ReLU"
    assert [e.value for e in m.clear("type")] == ["ReLU"]
    assert not m.has("type")
    assert m.clear("type") == []


def test_same_values() -> None:
    a, b = layer(), layer()
    assert a.same_values(b)
    b.set("name")
    assert a.same_values(b)
    b.set("type", Entry("Convolution", comments=("another",)))
    assert a.same_values(b)
    b.convolution_param.set("pad", Entry(2), Entry(1))
    assert not a.same_values(b)
    assert not Message("ReLUParameter").same_values(Message("TanHParameter"))


def test_with_value_keeps_the_place() -> None:
    entry = Entry(1, PAD, ("a",), ("b",), "c")
    assert entry.with_value(2) == Entry(2, PAD, ("a",), ("b",), "c")


def test_schema() -> None:
    fields = message_type("ConvolutionParameter").fields
    assert fields["pad"].repeated
    assert fields["pad"].bounds == (0, 2**32 - 1)
    assert fields["engine"].enum.items() >= {"DEFAULT": 0, "CAFFE": 1}.items()
    assert fields["weight_filler"].message is message_type("FillerParameter")
    assert message_type("ClipParameter").required == ("min", "max")
    assert message_type("Datum").fields["data"].kind == "bytes"
    nested = (
        message_type("DetectNetGroundTruthParameter").fields["object_class"].message
    )
    assert nested is not None
    assert list(nested.fields) == ["src", "dst"]
    layers = message_type("LayerParameter")
    assert layers.fork_of("permute_param") == "ssd"
    assert layers.fork_of("type") is None


def test_from_protobuf() -> None:
    holder = caffe_pb2.LayerParameter(
        name="n", loss_weight=[0.1, 1], phase=caffe_pb2.TEST
    )
    holder.pooling_param.pool = caffe_pb2.PoolingParameter.AVE
    holder.param.add(lr_mult=0.3)
    holder.blobs.add(double_data=[0.1])
    m = message_from_pb(holder)
    assert (m.name, m.loss_weight, m.phase) == ("n", [0.1, 1.0], "TEST")
    assert m.pooling_param.pool == "AVE"
    assert [p.lr_mult for p in m.param] == [0.3]
    assert m.blobs[0].double_data == [0.1]
    assert not m.has("type")


@given(st.floats(width=32, allow_nan=False))
def test_shortest_float32_is_the_same_float32(value: float) -> None:
    short = shortest_float32(value)
    assert struct.pack("f", short) == struct.pack("f", value)
    assert len(repr(short)) <= len(repr(value))


def test_shortest_float32_of_what_is_no_float32() -> None:
    assert math.isnan(shortest_float32(math.nan))
    assert shortest_float32(0.10000000149011612) == 0.1
    assert shortest_float32(1e300) == 1e300
