"""The wire-format walker: what it yields, and what it refuses before believing it."""

import numpy as np
import pytest

from caffe2k.weights import wire


def walk(data: bytes) -> list[wire.Field]:
    return list(wire.fields(memoryview(data), 0, len(data)))


def test_fields_of_every_wire_type_are_found_in_order() -> None:
    data = (
        b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1d\x00\x00\x80\x3f" + b"\x21" + bytes(8)
    )
    found = walk(data)
    assert [(f.number, f.wire_type) for f in found] == [
        (1, wire.VARINT),
        (2, wire.LENGTH),
        (3, wire.FIXED32),
        (4, wire.FIXED64),
    ]
    assert found[0].value == 150
    assert data[found[1].start : found[1].stop] == b"hi"
    assert wire.fixed_values(memoryview(data), found[2], "<f4").tolist() == [1.0]


def test_a_field_is_never_sought_outside_its_message() -> None:
    inner = b"\x0a\x05abc"
    with pytest.raises(wire.TruncatedError, match="a field of 5 bytes at byte 0"):
        list(wire.fields(memoryview(inner + b"more"), 0, len(inner)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "a field of 9223372036854775807"),
        (b"\x0a\x01", "a field of 1 bytes"),
        (b"\x0d\x00\x00\x00", "a field of 4 bytes"),
        (b"\x09\x00\x00\x00\x00", "a field of 8 bytes"),
        (b"\x08\x80", "a varint"),
        (b"\x80", "a varint"),
    ],
)
def test_what_does_not_fit_is_truncated(data: bytes, message: str) -> None:
    with pytest.raises(wire.TruncatedError, match=message):
        walk(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\x01", "field number 0"),
        (b"\x80\x80\x80\x80\x10\x01", "field number 536870912"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0c", "wire type 4"),
        (b"\x0e", "wire type 6"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "a varint of more than 10 bytes"),
    ],
)
def test_malformed_bytes_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(wire.WireError, match=message):
        walk(data)


def test_a_message_without_end_is_refused() -> None:
    data = b"\x08\x01" * ((1 << 18) + 1)
    assert len(walk(data[2:])) == 1 << 18
    with pytest.raises(wire.WireError, match="over 262144 fields at byte 524288"):
        walk(data)


def test_a_varint_keeps_its_low_64_bits() -> None:
    data = memoryview(b"\xff" * 9 + b"\x7f")
    value, end = wire.read_varint(data, 0, len(data))
    assert (value, end) == (2**64 - 1, 10)
    assert wire.signed(value, 64) == -1
    assert wire.signed(2**32 + 5, 32) == 5
    assert wire.signed(2**31, 32) == -(2**31)


@pytest.mark.parametrize("count", [1, 2, 5, 4096, 4097, 10_000])
def test_runs_of_unpacked_values_become_few_fields(count: int) -> None:
    values = np.arange(count, dtype="<f4")
    single = b"".join(b"\x2d" + value.tobytes() for value in values)
    data = memoryview(b"\x08\x01" + single + b"\x35\x00\x00\x00\x00")
    found = [f for f in wire.fields(data, 0, len(data)) if f.number == 5]
    assert len(found) == -(-count // 4096)
    got = np.concatenate([wire.fixed_values(data, field, "<f4") for field in found])
    assert np.array_equal(got, values)


def test_packed_values_must_end_with_a_value() -> None:
    data = memoryview(b"\x2a\x07" + bytes(7))
    (field,) = wire.fields(data, 0, len(data))
    with pytest.raises(wire.WireError, match="packed values"):
        wire.fixed_count(field, 4)


def test_a_field_of_another_width_holds_no_values() -> None:
    (varint,), (double,) = walk(b"\x28\x01"), walk(b"\x29" + bytes(8))
    assert wire.fixed_count(varint, 4) == wire.fixed_count(double, 4) == 0
    assert wire.fixed_count(double, 8) == 1


def test_integers_are_read_packed_and_single() -> None:
    data = memoryview(b"\x08\x05\x0a\x03\x01\x80\x01")
    found = [v for f in wire.fields(data, 0, len(data)) for v in wire.varints(data, f)]
    assert found == [5, 1, 128]
