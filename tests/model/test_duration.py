import re

import pytest
from hypothesis import given, strategies as st

from pushgate.model.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("5m", 300 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("1.5h", 5400 * 10**9),
        ("-5m", -300 * 10**9),
        ("+.5s", 5 * 10**8),
        ("1.s", 10**9),
        ("0", 0),
        ("-0", 0),
        ("1us1µs1\u03bcs", 3000),
        ("0.1ns", 0),
        ("0.9999999999999999999999s", 999_999_999),
        ("1w2d3h", (9 * 24 + 3) * 3600 * 10**9),
        ("2562047h47m16.854775807s", 2**63 - 1),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text, nanoseconds):
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", 'time: invalid duration "abc"'),
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        (".s", 'time: invalid duration ".s"'),
        ("5", 'time: missing unit in duration "5"'),
        ("00", 'time: missing unit in duration "00"'),
        ("5..s", 'time: missing unit in duration "5..s"'),
        ("1h30", 'time: missing unit in duration "1h30"'),
        ("1 s", 'time: unknown unit " s" in duration "1 s"'),
        ("1e3s", 'time: unknown unit "e" in duration "1e3s"'),
        ("300y", 'time: unknown unit "y" in duration "300y"'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
        ("9" * 5000 + "s", f'time: invalid duration "{"9" * 5000}s"'),
    ],
)
def test_what_is_no_duration_is_refused_in_gos_words(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_duration(text)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1500, "1.5µs"),
        (1_000_001, "1.000001ms"),
        (10**9, "1s"),
        (90 * 10**9, "1m30s"),
        (300 * 10**9, "5m0s"),
        (5400 * 10**9, "1h30m0s"),
        (-5400 * 10**9 - 1, "-1h30m0.000000001s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(nanoseconds, text):
    assert format_duration(nanoseconds) == text


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_what_is_written_can_be_read_again(nanoseconds):
    assert parse_duration(format_duration(nanoseconds)) == nanoseconds


@given(st.text(alphabet="0123456789.-+hmsunµdw x"))
def test_any_text_is_a_duration_or_refused(text):
    try:
        nanoseconds = parse_duration(text)
    except ValueError:
        return
    assert abs(nanoseconds) < 2**63
