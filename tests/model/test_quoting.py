"""Quoted text as the Go server shows it."""

import pytest
from hypothesis import given, strategies as st

from pushgate.model.quoting import go_quote, go_quote_byte, is_utf8, prototext_quote, raw, text


@given(st.binary())
def test_any_bytes_survive_as_text(data):
    assert raw(text(data)) == data


@given(st.binary(max_size=6))
def test_text_of_utf8_is_known(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        assert not is_utf8(text(data))
    else:
        assert is_utf8(text(data))


@pytest.mark.parametrize(
    ("data", "quoted"),
    [
        (b"1\r", r'"1\r"'),
        (b"\v1", r'"\v1"'),
        (b"1\x00", r'"1\x00"'),
        (b"\xff", r'"\xff"'),
        ("\u0661".encode(), '"\u0661"'),
        (b'\a\b\f\n\t\\"', r'"\a\b\f\n\t\\\""'),
        (b"'\x7f\x1b", r'''"'\x7f\x1b"'''),
        ("\u0080\u00a0\u00ad\u2028\ufeff".encode(), r'"\u0080\u00a0\u00ad\u2028\ufeff"'),
        ("é中😊\ufffd".encode(), '"é中😊\ufffd"'),
        ("\U000e0001\U0010ffff".encode(), r'"\U000e0001\U0010ffff"'),
        (b"\xed\xa0\x80", r'"\xed\xa0\x80"'),
    ],
)
def test_strings_are_quoted_as_by_go(data, quoted):
    assert go_quote(text(data)) == quoted


@pytest.mark.parametrize(
    ("byte", "quoted"),
    [
        (0x79, "'y'"),
        (0x27, r"'\''"),
        (0x22, "'\"'"),
        (0x0A, r"'\n'"),
        (0, r"'\x00'"),
        (0xFF, "'ÿ'"),
        (0x80, r"'\u0080'"),
        (0xA0, r"'\u00a0'"),
        (0x20, "' '"),
        (0x5C, r"'\\'"),
    ],
)
def test_bytes_are_quoted_as_latin_characters(byte, quoted):
    assert go_quote_byte(byte) == quoted


@pytest.mark.parametrize(
    ("data", "quoted"),
    [
        (b'a"b\\c\n\r\t', r'"a\"b\\c\n\r\t"'),
        (b"\x00\x1f\x7f", r'"\x00\x1f\x7f"'),
        (b"\xff\xc3", r'"\xff\xc3"'),
        ("\u0080\u009f\u00a0é\u2028".encode(), '"\\u0080\\u009f\u00a0é\u2028"'),
    ],
)
def test_strings_are_quoted_as_in_protobuf_text(data, quoted):
    assert prototext_quote(text(data)) == quoted
