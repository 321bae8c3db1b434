"""The wire format, read as it is written."""

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from pushgate.formats.protobuf.wire import (
    append_bytes,
    append_double,
    append_uint,
    read_varint,
)

NUMBERS = st.integers(1, 2**29 - 1)
WRITTEN = st.one_of(
    st.tuples(st.just(append_uint), NUMBERS, st.integers(0, 2**64 - 1)),
    st.tuples(st.just(append_bytes), NUMBERS, st.binary()),
    st.tuples(st.just(append_double), NUMBERS, st.floats(allow_nan=False)),
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
    out = bytearray()
    for append, number, value in written:
        append(out, number, value)
    assert list(fields(bytes(out))) == [(number, value) for _, number, value in written]


def test_a_number_of_more_than_ten_bytes_is_none():
    with pytest.raises(ValueError, match="ends early"):
        read_varint(b"\xff" * 11, 0)
