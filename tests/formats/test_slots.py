"""Many numbers at once are written as each of them is."""

import math
import struct

import pytest
from hypothesis import example, given, strategies as st

from pushgate.formats import slots
from pushgate.formats.slots import canonical_line, doubles, written_out
from pushgate.model.numbers import go_float, parse_float
from pushgate.model.slices import finished

tokens = st.one_of(
    st.floats().map(repr),
    st.floats().map(go_float),
    st.integers(-(2**70), 2**70).map(str),
    st.from_regex(r"[-+]?[0-9]{0,8}\.?[0-9]{0,12}([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"-?[0-9]{1,7}(\.[0-9]{1,9})?", fullmatch=True),
    st.from_regex(r"-?[0-9]{1,40}\.[0-9]{1,40}(e[-+][0-9]{2})?", fullmatch=True),
    st.sampled_from(["NaN", "+Inf", "-Inf", "inf", "-0", "-0.0", "0.120", "42.0", "017", "1e6"]),
)


def slow_line(tokens: list[str]) -> bytes | None:
    """Token by token; None where one of them is no number."""
    try:
        return " ".join(go_float(parse_float(token)) for token in tokens).encode()
    except ValueError:
        return None


def line(tokens: list[str]) -> bytes | None:
    try:
        return canonical_line([token.encode() for token in tokens])
    except ValueError:
        return None


@given(st.lists(tokens, max_size=8))
@example(["1.2.3"])
@example([""])
@example(["", "1"])
@example(["-0", "0.5"])
@example(["0.00012345", "0.00001", "0.50"])
@example(["999999.12345678", "1000000", "07"])
def test_a_line_is_canonical_number_by_number(written):
    assert line(written) == slow_line(written)


@given(st.lists(tokens, max_size=4))
def test_canonical_text_is_final(written):
    once = line(written)
    if once:
        assert canonical_line(once.split(b" ")) == once


@given(st.lists(st.floats() | st.integers(0, 2**49), max_size=8))
@example([1e6, 999999.0, 1e-4, 9.999e-5, -1e6])
@example([math.nan, 1.0])
@example([1.0, math.inf])
@example([-0.0, 10.00005])
def test_numbers_are_written_out_one_by_one(numbers):
    assert written_out(numbers) == b" ".join(go_float(float(n)).encode() for n in numbers)


@pytest.mark.parametrize("exponent", range(0, 2047, 50))
def test_any_double_is_written_as_go_writes_it(exponent):
    doubles = [
        struct.unpack("<d", struct.pack("<Q", exponent << 52 | fraction * 0x9E3779B97F4A7 % 2**52))
        for fraction in range(200)
    ]
    numbers = [number for (number,) in doubles]
    assert written_out(numbers).split(b" ") == [go_float(n).encode() for n in numbers]


def test_without_orjson_the_text_is_the_same(monkeypatch):
    tokens = [b"1", b"-0", b"1e6", b"0.00001", b"NaN", b"+Inf", b"1e22", b"123456.5"]
    line = canonical_line(tokens)
    monkeypatch.setattr(slots, "_HAS_ORJSON", False)
    assert canonical_line(tokens) == line


@given(st.lists(st.one_of(st.floats(), st.integers(-(2**70), 2**70).map(float)), max_size=40))
def test_doubles_are_the_numbers_one_by_one(numbers):
    line = " ".join(map(go_float, numbers)).encode()
    assert finished(doubles(line)) == b"".join(map(doubled, line.split()))


def test_many_doubles_come_in_slices(monkeypatch):
    monkeypatch.setattr(slots, "_AT_ONCE", 3)
    work = doubles(b"1 2.5 3 NaN -0 1e+22 7")
    assert [*work] == [None, None]
    assert finished(doubles(b"1 2.5 3 NaN -0")) == b"".join(
        map(doubled, [b"1", b"2.5", b"3", b"NaN", b"-0"])
    )


def doubled(token: bytes) -> bytes:
    return struct.pack("<d", float(token))
