import math

import pytest
from hypothesis import given, strategies as st

from pushgate.model.numbers import go_float
from pushgate.server.ui.values import digits, moment, reader

SECOND = 10**9
NOW = 1_800_000_000 * SECOND


@pytest.mark.parametrize(
    ("family", "number", "shown"),
    [
        ("backup_size_bytes", "8.35306302261e+11", "835 GB"),
        ("backup_size_bytes", "999", "999 B"),
        ("read_bytes_total", "1500", "1.5 kB"),
        ("job_duration_seconds", "12.4", "12.4 s"),
        ("job_duration_seconds", "0.1123", "112 ms"),
        ("job_duration_seconds", "0.00035", "350 µs"),
        ("job_duration_seconds", "4320", "1 h 12 min"),
        ("job_duration_seconds", "-61", "-1 min 1 s"),
        ("job_duration_seconds", "1.7976931348623157e+308", "2.08e+303 d"),
        ("job_duration_seconds", "0", "0 s"),
        ("job_duration_seconds", "NaN", "NaN"),
        ("job_duration_seconds", "+Inf", "∞"),
        ("last_success_timestamp_seconds", "0", "never"),
        ("cpu_time_seconds", "93", "1 min 33 s"),
        ("rows_total", "121108", "121,108"),
        ("rows_total", "1.23e+06", "1.23 M"),
        ("temperature", "0.012345", "0.0123"),
        ("temperature", "-Inf", "-∞"),
        ("temperature", "1e+300", "1e+300"),
        ("temperature", "-0", "0"),
        ("compressed_ratio", "0.452", "45.2 %"),
    ],
)
def test_numbers_are_written_in_the_unit_of_their_family(family, number, shown):
    assert reader(family, NOW)(float(number)) == shown


def test_a_timestamp_is_a_date_and_how_long_ago_it_was(in_zone):
    in_zone("UTC")
    past, ahead = (reader(f"{name}_timestamp_seconds", NOW) for name in ("success", "expiry"))
    assert past(1_799_999_340) == "2027-01-15 07:49, 11 min ago"
    assert ahead(1_800_003_600) == "2027-01-15 09:00, in 1 h"


@pytest.mark.parametrize(
    ("canonical", "shown"),
    [
        ("1e+06", "1000000"),
        ("1.2345e-05", "0.000012345"),
        ("-1.5e+300", "-15" + 299 * "0"),
        ("0.25", "0.25"),
        ("-0", "-0"),
        ("NaN", "NaN"),
        ("-Inf", "-Inf"),
    ],
)
def test_raw_numbers_have_no_exponent(canonical, shown):
    assert digits(canonical) == shown


NAMES = ("a_bytes", "a_seconds", "a_timestamp_seconds", "a_ratio", "a_total", "a")


@given(st.sampled_from(NAMES), st.floats())
def test_every_number_can_be_read_and_keeps_its_raw_value(family, number):
    assert reader(family, NOW)(number)
    assert float(digits(go_float(number))) == number or math.isnan(number)


@pytest.mark.parametrize(
    ("seconds", "ago"),
    [
        (-5, "0 s ago"),
        (0, "0 s ago"),
        (59, "59 s ago"),
        (60, "1 min ago"),
        (7199, "1 h ago"),
        (300_000, "3 d ago"),
    ],
)
def test_says_how_long_ago_something_was(seconds, ago):
    assert moment(NOW - seconds * SECOND, NOW).ago == ago
