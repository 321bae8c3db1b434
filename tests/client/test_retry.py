import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, strategies as st

from pushgate import PushConnectionError, Retry
from pushgate.client.retry import retry_after


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", "-5", "1.5", "²",
        "Wed, 99 Nov 2026 10:00:00 GMT",
        "Wed, 18 Nov 2026 10:00:00 +9999999999999",
    ],
)  # fmt: skip
def test_what_is_neither_number_nor_date_asks_for_nothing(text):
    assert retry_after({"retry-after": text}) is None


def test_a_date_asks_for_the_time_until_then():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < retry_after({"retry-after": later}) <= 90


def test_a_date_that_has_passed_asks_for_no_pause():
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


@pytest.mark.parametrize("retry", [0, 5, 1023, 1024, 10**6])
def test_no_pause_is_longer_than_the_cap_however_often_it_was_tried(retry):
    assert 0 <= Retry(attempts=10**7, cap=0.25).pause(retry, PushConnectionError("")) <= 0.25


@given(st.text(max_size=40))
def test_any_text_asks_for_some_seconds_or_nothing(text):
    seconds = retry_after({"retry-after": text})
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
