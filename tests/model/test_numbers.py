"""Numbers agree with a slow twin that builds Go's form from decimal digits."""

import math
from decimal import Decimal

import pytest
from hypothesis import example, given, strategies as st

from pushgate.model.numbers import (
    all_canonical,
    canonical,
    canonical_line,
    exposed,
    go_float,
    is_whole_count,
    parse_float,
)

tokens = st.one_of(
    st.floats().map(repr),
    st.floats().map(go_float),
    st.from_regex(r"[-+]?[0-9]{0,8}\.?[0-9]{0,12}(e[-+]?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"-?[0-9]\.[0-9]{1,16}e[-+][0-9]{2}", fullmatch=True),
    st.sampled_from(["NaN", "+Inf", "-Inf", "Inf", "-0", "0", "0.0001", "1e+06", "100000"]),
)


def slow_go_float(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return f"{sign}0"
    digits = "".join(map(str, Decimal(repr(value)).as_tuple().digits)).strip("0")
    exponent = Decimal(repr(value)).adjusted()
    if exponent < -4 or exponent >= 6:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{exponent:+03d}"
    plain = format(Decimal(repr(value)), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


@given(st.floats())
@example(1e-4)
@example(9.999e-5)
@example(999999.0)
@example(1e6)
@example(123456.7)
@example(5e-324)
def test_a_number_is_written_as_go_writes_it(value):
    assert go_float(value) == slow_go_float(value)


@given(st.floats(allow_nan=False))
def test_what_is_written_reads_back_the_same(value):
    assert parse_float(go_float(value)) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (".5", 0.5),
        ("5.", 5.0),
        ("017", 17.0),
        ("00001.5e+03", 1500.0),
        ("+1", 1.0),
        ("1E2", 100.0),
        ("INF", math.inf),
        ("-infinity", -math.inf),
        ("+iNf", math.inf),
        ("1e-400", 0.0),
    ],
)
def test_these_are_numbers(written, value):
    assert parse_float(written) == value


@pytest.mark.parametrize("word", ["nan", "NaN", "NAN"])
def test_not_a_number_in_any_case_of_letters(word):
    assert math.isnan(parse_float(word))


@pytest.mark.parametrize(
    "written",
    [
        "",
        "-",
        ".",
        "+NaN",
        "-nan",
        "1_0",
        "0x1",
        "1p2",
        "1e400",
        "-1e400",
        "1e",
        "\u0661",
        "\u0131nf",
        "1 ",
    ],
)
def test_these_are_no_numbers(written):
    with pytest.raises(ValueError):  # noqa: PT011 - the caller writes the text
        parse_float(written)


@given(st.lists(tokens, max_size=4))
def test_only_canonical_lines_are_taken_for_canonical(written):
    line = " ".join(written).encode()
    if all_canonical(line) and not (b" " + line).endswith(b" "):
        assert [canonical(token.encode()) for token in written] == [t.encode() for t in written]


@given(
    st.integers(-999_999, 999_999).map(float) | st.integers(-(10**9), 10**9).map(lambda i: i / 1000)
)
def test_usual_numbers_take_the_short_way(value):
    assert all_canonical(go_float(value).encode())


@given(tokens)
def test_canonical_text_is_final(written):
    try:
        once = canonical(written.encode())
    except ValueError:
        return
    assert canonical(once) == once


def test_negative_zero_is_stored_and_not_shown():
    assert (canonical(b"-0.0"), exposed(b"-0"), exposed(b"-0.5")) == (b"-0", b"0", b"-0.5")


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 2.0**63])
def test_whole_counts(value):
    assert is_whole_count(value)


@pytest.mark.parametrize("value", [-1.0, 0.5, 2.0**64, math.inf, math.nan])
def test_other_counts(value):
    assert not is_whole_count(value)


@given(
    st.lists(
        st.from_regex(
            r"[-+]?(?:[0-9]{1,17}(?:\.[0-9]{0,17})?|\.[0-9]{1,9})(?:[eE][-+]?[0-9]{1,2})?",
            fullmatch=True,
        )
        | st.sampled_from(
            ["NaN", "+Inf", "-Inf", "inf", "42.0", "0.120", "-0.00", "1.500e+06", "1e6"]
        ),
        min_size=1,
        max_size=8,
    )
)
def test_a_line_is_canonical_number_by_number(written):
    values = [token.encode() for token in written]
    assert canonical_line(values) == b" ".join(map(canonical, values))


@given(st.integers(10**6, 10**15 - 1))
def test_a_long_whole_number_is_canonical_as_any_other(number):
    assert canonical(b"%d" % number) == go_float(float(number)).encode()
