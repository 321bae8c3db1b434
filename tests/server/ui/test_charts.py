import math

import pytest
from hypothesis import given, strategies as st

from pushgate.server.ui.charts import (
    Bucket,
    bar_share,
    classic_buckets,
    histogram,
    line,
    quantile,
    top,
)
from pushgate.server.ui.values import plain

NAN = math.nan


def percent(text: str) -> float:
    assert text.endswith("%")
    return float(text[:-1])


def drawn(bounds, cumulative, *, is_native=False):
    return histogram(classic_buckets(bounds, cumulative), plain, is_native=is_native)


def test_buckets_are_the_differences_of_cumulative_counts_in_any_order():
    assert classic_buckets([10.0, 1.0, math.inf], [5.0, 2.0, 6.0]) == [
        Bucket(0.0, 1.0, 2.0),
        Bucket(1.0, 10.0, 3.0),
        Bucket(10.0, math.inf, 1.0),
    ]


def test_bounds_that_grow_evenly_have_a_linear_axis():
    chart = drawn([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert [percent(bar.width) for bar in chart.bars] == [25.0] * 4
    assert [tick.text for tick in chart.ticks] == ["0", "1", "2", "3", "4"]


def test_bounds_that_grow_by_factors_have_an_axis_in_decades():
    chart = drawn([0.01, 0.1, 1.0, 10.0], [1.0, 2.0, 3.0, 4.0])
    assert [percent(bar.width) for bar in chart.bars] == [25.0] * 4
    assert [(tick.text, tick.x) for tick in chart.ticks] == [
        ("0.01", "25.00%"),
        ("0.1", "50.00%"),
        ("1", "75.00%"),
        ("10", "100.00%"),
    ]


def test_quantiles_are_interpolated_within_their_bucket():
    buckets = classic_buckets([1.0, 2.0, math.inf], [50.0, 100.0, 110.0])
    assert quantile(buckets, 0.5, is_log=False) == pytest.approx(1.1)
    assert quantile(buckets, 0.99, is_log=False) == 2.0
    assert quantile([Bucket(1.0, 4.0, 10.0)], 0.5, is_log=True) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("bounds", "cumulative"),
    [
        ([math.inf], [4.0]),
        ([1.0, math.inf], [0.0, 0.0]),
        ([1.0, math.inf], [3.0, 2.0]),
        ([1.0, math.inf], [NAN, 2.0]),
        ([], []),
    ],
)
def test_what_makes_no_sense_is_not_drawn(bounds, cumulative):
    assert drawn(bounds, cumulative) is None


BOUNDS = st.lists(st.floats(allow_nan=False), unique=True, max_size=30)


@pytest.mark.parametrize("is_native", [False, True])
@pytest.mark.parametrize("bounds", [[1.0, 10.0, 1.5e308], [1e-300, 1.0, 1.7e308]])
def test_bounds_near_the_largest_float_are_drawn(bounds, is_native):
    chart = drawn(bounds, [1.0, 2.0, 3.0], is_native=is_native)
    assert chart is not None
    assert chart.ticks


@given(BOUNDS, st.lists(st.integers(0, 10**6), min_size=30, max_size=30), st.booleans())
def test_every_histogram_is_drawn_within_its_frame(bounds, counts, is_native):
    cumulative = [float(sum(counts[: n + 1])) for n in range(len(bounds))]
    chart = drawn(sorted(bounds), cumulative, is_native=is_native)
    for bar in chart.bars if chart else ():
        assert percent(bar.x) >= -0.01
        assert percent(bar.x) + percent(bar.width) <= 100.5
        assert 0 <= float(bar.y) <= 180.0
        assert float(bar.height) <= 180.0
    for mark in (*chart.ticks, *chart.marks) if chart else ():
        assert -0.01 <= percent(mark.x) <= 100.01


def test_many_buckets_are_joined_and_none_is_lost():
    bounds = [float(n) for n in range(1, 1001)]
    chart = drawn(bounds, bounds)
    assert len(chart.bars) == 143
    assert sum(float(bar.title.rpartition(" ")[2]) for bar in chart.bars) == 1000


@pytest.mark.parametrize(
    ("value", "share"), [(0.0, "0%"), (NAN, "0%"), (1.0, "50.0%"), (2.0, "100.0%"), (1e-9, "0.5%")]
)
def test_a_bar_is_as_long_as_its_share(value, share):
    assert bar_share(value, 2.0) == share


def test_a_line_is_interrupted_where_there_is_nothing():
    drawn = line([0.0, 2.0, NAN, 1.0], top=2.0, width=40, height=10)
    assert drawn == "M5.0 10.0L15.0 0.0M35.0 5.0"


@pytest.mark.parametrize(
    ("values", "end"), [([], 1), ([NAN, 0.0], 1), ([43.3, 1], 50), ([0.0021], 0.005), ([1.0], 1)]
)
def test_an_axis_ends_at_a_round_number(values, end):
    assert top(values) == pytest.approx(end)
