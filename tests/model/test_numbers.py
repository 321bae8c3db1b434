"""Numbers agree with a slow twin that builds Go's form from decimal digits."""

import math
from decimal import Decimal

import pytest
from hypothesis import example, given, strategies as st

from pushgate.model.numbers import (
    exposed,
    go_float,
    is_whole_count,
    parse_float,
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


def test_negative_zero_is_not_shown():
    assert (exposed(b"-0"), exposed(b"-0.5")) == (b"0", b"-0.5")


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, 2.0**63])
def test_whole_counts(value):
    assert is_whole_count(value)


@pytest.mark.parametrize("value", [-1.0, 0.5, 2.0**64, math.inf, math.nan])
def test_other_counts(value):
    assert not is_whole_count(value)
