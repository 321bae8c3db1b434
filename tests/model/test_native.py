import math
import sys

import pytest
from hypothesis import given, strategies as st

from pushgate.model.native import (
    NativeBucket,
    NativeHistogram,
    Side,
    bound,
    bounds,
    native_buckets,
)

NOTHING = Side((), ())
INDICES = st.integers(-300_000, 300_000)


@pytest.mark.parametrize(
    ("index", "schema", "expected"),
    [
        (-1, 3, 0.9170040432046711),
        (-2, 3, 0.8408964152537144),
        (1, 3, 1.0905077326652577),
        (0, 8, 1.0),
        (3, -2, 2.0**12),
        (1024, 0, sys.float_info.max),
        (64, -4, sys.float_info.max),
        (1025, 0, math.inf),
        (-(2**31), 8, 0.0),
        (2**31, -4, math.inf),
    ],
)
def test_a_bucket_ends_where_prometheus_says(index, schema, expected):
    assert bound(index, schema) == expected


@pytest.mark.parametrize("schema", range(9))
def test_the_bounds_of_a_schema_are_a_rounding_away_from_the_roots_of_two(schema):
    table = bounds(schema)
    exact = [2 ** (place / 2**schema) / 2 for place in range(2**schema)]
    assert max(abs(one - other) for one, other in zip(table, exact, strict=True)) < 1e-15


@given(INDICES, st.integers(-3, 8))
def test_two_buckets_make_one_of_the_coarser_schema(index, schema):
    assert bound(2 * index, schema) == bound(index, schema - 1)


@given(INDICES, st.integers(-4, 8))
def test_bounds_ascend(index, schema):
    assert bound(index - 1, schema) <= bound(index, schema)


def test_spans_leave_gaps_and_may_be_empty():
    side = Side([(-2, 2), (1, 0), (1, 2)], [5, 6, 7, 8])
    assert list(side.buckets()) == [(-2, 5), (-1, 6), (2, 7), (3, 8)]


@pytest.mark.parametrize("counts", [[1, 2], [1, 2, 3, 4]])
def test_buckets_end_where_spans_or_counts_run_out(counts):
    side = Side([(0, 1), (0, 2)], counts)
    assert list(side.buckets()) == [(0, 1), (1, 2), (2, 3)][: len(counts)]


def test_a_hostile_span_costs_nothing():
    assert list(Side([(0, 2**32 - 1), (1, 2**32 - 1)], [1]).buckets()) == [(0, 1)]


def test_buckets_ascend_from_the_most_negative_and_leave_out_the_empty():
    histogram = NativeHistogram(0, 0.001, 2, Side([(0, 3)], [1, 0, 3]), Side([(0, 2)], [4, 5]))
    assert [*native_buckets(histogram)] == [
        NativeBucket(1, -2, -1, 5),
        NativeBucket(1, -1, -0.5, 4),
        NativeBucket(3, -0.001, 0.001, 2),
        NativeBucket(0, 0.5, 1, 1),
        NativeBucket(0, 2, 4, 3),
    ]
    assert [*native_buckets(NativeHistogram(0, 0, 0, NOTHING, NOTHING))] == []
