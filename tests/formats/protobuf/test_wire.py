"""The wire format, read as it is written."""

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from pushgate.formats.protobuf.wire import (
    append_bytes,
    append_double,
    append_uint,
    read_fields,
    read_varint,
)

NUMBERS = st.integers(1, 2**29 - 1)
WRITTEN = st.one_of(
    st.tuples(st.just(append_uint), NUMBERS, st.integers(0, 2**64 - 1)),
    st.tuples(st.just(append_bytes), NUMBERS, st.binary()),
    st.tuples(st.just(append_double), NUMBERS, st.floats(allow_nan=False)),
)


@given(st.lists(WRITTEN))
def test_what_is_written_is_read_again(fields):
    out = bytearray()
    for append, number, value in fields:
        append(out, number, value)
    found = list(read_fields(bytes(out)))
    assert b"".join(field.wire for field in found) == out
    assert [field.number for field in found] == [number for _, number, _ in fields]
    for field, (append, _, value) in zip(found, fields, strict=True):
        assert append is append_double or field.value == value


@given(st.binary())
def test_any_bytes_are_read_or_refused(message):
    with suppress(ValueError):
        assert b"".join(field.wire for field in read_fields(message)) == message


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x02x", b"\x09x", b"\x80", b"\x0b"])
def test_what_ends_early_or_is_a_group_is_refused(message):
    with pytest.raises(ValueError, match=r"ends early|unknown kind 3"):
        list(read_fields(message))


def test_a_number_of_more_than_ten_bytes_is_none():
    with pytest.raises(ValueError, match="ends early"):
        read_varint(b"\xff" * 11, 0)
