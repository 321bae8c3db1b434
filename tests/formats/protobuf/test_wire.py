"""The wire format, read as it is written."""

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from pushgate.formats.protobuf.wire import (
    double_field,
    field,
    read_varint,
    uint_field,
    varint,
)

NUMBERS = st.integers(1, 127)
WRITTEN = st.one_of(
    st.tuples(st.just(uint_field), NUMBERS, st.integers(0, 2**64 - 1)),
    st.tuples(st.just(field), NUMBERS, st.binary()),
    st.tuples(st.just(double_field), NUMBERS, st.floats(allow_nan=False)),
)


def fields(message: bytes) -> Iterator[tuple[int, object]]:
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        value: object
        if tag & 7 == 1:
            (value,), at = struct.unpack_from("<d", message, at), at + 8
        else:
            value, at = read_varint(message, at)
            if tag & 7 == 2:
                value, at = message[at : at + value], at + value
        yield tag >> 3, value


@given(st.lists(WRITTEN))
def test_what_is_written_is_read_again(written):
    message = b"".join(write(number, value) for write, number, value in written)
    assert list(fields(message)) == [(number, value) for _, number, value in written]


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_read_back(value):
    wire = varint(value)
    assert read_varint(wire, 0) == (value, len(wire))


def test_a_number_of_more_than_ten_bytes_is_none():
    with pytest.raises(ValueError, match="ends early"):
        read_varint(b"\xff" * 11, 0)
