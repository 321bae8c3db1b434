import math
from itertools import islice

import pytest
from hypothesis import given, strategies as st

from pushgate.formats.protobuf.addition import added_detail, has_native_buckets
from pushgate.formats.protobuf.description import describe, is_native
from pushgate.model.family import MetricType
from pushgate.model.slices import finished
from tests.formats.protobuf.bodies import labels, spans
from tests.fuzz.schema import message_class

COUNTER, SUMMARY, HISTOGRAM = MetricType.COUNTER, MetricType.SUMMARY, MetricType.HISTOGRAM


def detail(**value) -> bytes:
    return message_class("Metric")(**value).SerializeToString()


def total(kind, stored, pushed, bounds=(), numbers=()):
    """The sum as a message of the type *kind*."""
    field = {COUNTER: "counter", SUMMARY: "summary", HISTOGRAM: "histogram"}[kind]
    both = (detail(**{field: stored}), detail(**{field: pushed}))
    return getattr(
        message_class("Metric").FromString(
            finished(added_detail(kind, *both, bounds, [*map(float, numbers)]))
        ),
        field,
    )


def exemplar(trace: str):
    return {"label": labels(trace=trace), "value": 1}


def trace(message) -> bytes:
    return message.exemplar.label[0].value


def test_a_counter_has_the_total_and_the_exemplar_of_the_push():
    stored, pushed = ({"value": 1, "exemplar": exemplar(name)} for name in ("old", "new"))
    added = total(COUNTER, stored, pushed, numbers=[2])
    assert (added.value, trace(added)) == (2, b"new")


def test_the_stored_exemplar_stays_if_the_push_has_none():
    added = total(COUNTER, {"value": 1, "exemplar": exemplar("old")}, {"value": 1}, numbers=[2])
    assert trace(added) == b"old"


@pytest.mark.parametrize("kind", [COUNTER, SUMMARY, HISTOGRAM])
def test_the_created_timestamp_is_the_stored_one(kind):
    stored, pushed = ({"created_timestamp": {"seconds": at}} for at in (100, 200))
    numbers = [0] if kind is COUNTER else [0, 0]
    assert total(kind, stored, pushed, numbers=numbers).created_timestamp.seconds == 100
    assert total(kind, {}, pushed, numbers=numbers).created_timestamp.seconds == 200


def test_a_summary_has_the_quantiles_that_were_given_and_the_sum_of_the_counts():
    added = total(
        SUMMARY, {"sample_count": 2**53}, {"sample_count": 1}, ("0.5", "0.9"), [3, 4, 7.5, 2.0**53]
    )
    assert [(one.quantile, one.value) for one in added.quantile] == [(0.5, 3), (0.9, 4)]
    assert added.sample_sum == 7.5
    assert added.sample_count == 2**53 + 1  # which no float is


def test_a_count_beyond_64_bits_is_refused():
    with pytest.raises(ValueError, match="out of range"):
        total(HISTOGRAM, {"sample_count": 2**63}, {"sample_count": 2**63}, numbers=[0, 2.0**64])


def bucket(bound: float, name: str | None = None):
    return {"upper_bound": bound} | ({"exemplar": exemplar(name)} if name else {})


def test_buckets_keep_their_latest_exemplars():
    stored = {"bucket": [bucket(1, "old"), bucket(2, "kept"), bucket(3, "gone")]}
    pushed = {"bucket": [bucket(1, "new"), bucket(2)]}
    added = total(HISTOGRAM, stored, pushed, ("1", "2"), [3, 4, 9, 4])
    assert [(one.upper_bound, one.cumulative_count, trace(one)) for one in added.bucket] == [
        (1, 3, b"new"),
        (2, 4, b"kept"),
    ]


@pytest.mark.parametrize(
    ("stored", "numbers"),
    [({"sample_count_float": 3}, [1, 9, 4]), ({"sample_count": 3}, [1.5, 9, 4])],
    ids=["a float histogram is stored", "a count is a fraction"],
)
def test_the_sum_is_a_float_histogram_where_it_has_to_be(stored, numbers):
    added = total(HISTOGRAM, stored, {"sample_count": 1}, ("1",), numbers)
    assert (added.sample_count_float, added.sample_count) == (4, 0)
    assert added.bucket[0].cumulative_count_float == numbers[0]


# Native histograms


def native_total(first, *others):
    """The sum of native histograms, and its buckets as the web page shows them."""
    stored = detail(histogram=first)
    count = first["sample_count"]
    for other in others:
        count += other["sample_count"]
        sum_ = added_detail(HISTOGRAM, stored, detail(histogram=other), (), [1.0, float(count)])
        stored = finished(sum_)
    return message_class("Metric").FromString(stored).histogram, describe(stored, HISTOGRAM).native


def test_native_histograms_of_different_schemas_add_at_the_coarser_one():
    fine = {
        "schema": 1, "sample_count": 10, "zero_threshold": 0.001,
        "positive_span": spans((-1, 4)), "positive_delta": [1, 1, 1, 1],  # -1 to 2: 1, 2, 3, 4
    }  # fmt: skip
    coarse = {
        "schema": 0, "sample_count": 5, "zero_threshold": 0.001,
        "positive_span": spans((1, 1)), "positive_delta": [5],  # (1, 2]
    }  # fmt: skip
    for histograms in ((fine, coarse), (coarse, fine)):
        found, buckets = native_total(*histograms)
        assert (found.schema, found.sample_count) == (0, 15)
        assert [(b.lower, b.upper, b.population) for b in buckets] == [(0.5, 1, 3), (1, 2, 12)]


def test_the_wider_zero_bucket_takes_in_what_lies_below_it():
    narrow = {
        "schema": 0, "sample_count": 6, "zero_threshold": 0.25, "zero_count": 1,
        # (0.25, 0.5] (0.5, 1] (1, 2]
        "positive_span": spans((-1, 3)), "positive_delta": [1, 0, 2],
    }  # fmt: skip
    wide = {"schema": 0, "sample_count": 1, "zero_threshold": 0.75, "zero_count": 1}
    found, buckets = native_total(narrow, wide)
    # 0.75 would cut (0.5, 1] in two.
    assert (found.zero_threshold, found.zero_count) == (1, 4)
    assert [(b.lower, b.population) for b in buckets] == [(-1, 4), (1, 3)]


def test_empty_native_histograms_stay_native():
    empty = {"schema": 3, "sample_count": 0, "positive_span": spans((0, 0))}
    found, _ = native_total(empty, empty)
    assert is_native(found)


def test_float_native_histograms_add_as_floats():
    whole = {
        "schema": 0, "sample_count": 1, "positive_span": spans((0, 1)), "positive_delta": [1]
    }  # fmt: skip
    fraction = {
        "schema": 0, "sample_count": 0, "sample_count_float": 1.5, "zero_count_float": 0.25,
        "positive_span": spans((0, 1)), "positive_count": [1.25],
    }  # fmt: skip
    found, _ = native_total(whole, fraction)
    assert (found.zero_count_float, list(found.positive_count)) == (0.25, [2.25])
    assert not found.positive_delta


@pytest.mark.parametrize("widths", [(math.nan, math.nan), (math.nan, 1.0), (1.0, math.nan)])
def test_a_zero_bucket_whose_width_is_no_number_ends_the_addition(widths):
    stored, pushed = (
        detail(
            histogram={
                "sample_count": 1, "zero_threshold": width,
                "positive_span": spans((3, 1)), "positive_delta": [1],
            }
        )
        for width in widths
    )  # fmt: skip
    adding = added_detail(HISTOGRAM, stored, pushed, (), [1.0, 2.0])
    assert len([*islice(adding, 100)]) < 100


def test_a_native_bucket_beyond_63_bits_is_refused():
    half = {
        "sample_count": 2**62 + 1, "positive_span": spans((0, 2)), "positive_delta": [1, 2**62 - 1],
    }  # fmt: skip
    with pytest.raises(ValueError, match="too large"):
        native_total(half, half)


def test_native_exemplars_are_those_of_the_push_where_it_has_some():
    stored, pushed, without = (
        {"sample_count": 0, "positive_span": spans((0, 0)), "exemplars": exemplars}
        for exemplars in ([exemplar("old")], [exemplar("new")], [])
    )
    for other, expected in ((pushed, b"new"), (without, b"old")):
        found, _ = native_total(stored, other)
        assert [one.label[0].value for one in found.exemplars] == [expected]


INDEXES = st.dictionaries(st.integers(-20, 20), st.integers(1, 9), max_size=8)


@given(st.lists(st.tuples(st.integers(-2, 3), INDEXES, INDEXES), min_size=2, max_size=5))
def test_native_histograms_count_every_observation_once(histograms):
    """The sum of the counts, and each bucket at the coarsest schema, by exact counting."""
    coarsest = min(schema for schema, *_ in histograms)
    expected = {}
    messages = []
    for schema, *sides in histograms:
        fields = {}
        for name, sign, counts in zip(("positive", "negative"), (1, -1), sides, strict=True):
            at, last, wanted, deltas = 0, 0, [], []
            for index in sorted(counts):
                wanted.append((index - at, 1))
                deltas.append(counts[index] - last)
                at, last = index + 1, counts[index]
                coarse = index
                for _ in range(schema - coarsest):
                    coarse = (coarse + 1) // 2
                expected[sign, coarse] = expected.get((sign, coarse), 0) + counts[index]
            fields |= {f"{name}_span": spans(*wanted), f"{name}_delta": deltas}
        count = sum(map(sum, (side.values() for side in sides)))
        messages.append({"schema": schema, "sample_count": count, "zero_threshold": 1e-9, **fields})
    found, _ = native_total(*messages)
    got = {}
    for sign, name in ((1, "positive"), (-1, "negative")):
        at, count, deltas = 0, 0, iter(getattr(found, f"{name}_delta"))
        for span in getattr(found, f"{name}_span"):
            at += span.offset
            for _ in range(span.length):
                count += next(deltas)
                got[sign, at] = count
                at += 1
    assert got == expected
    assert (found.sample_count, found.schema) == (sum(expected.values()), coarsest)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (HISTOGRAM, {"histogram": {"schema": 0, "positive_span": spans((0, 0))}}, True),
        (HISTOGRAM, {"histogram": {"bucket": [bucket(1, "a")]}}, False),
        (HISTOGRAM, {}, False),
        (COUNTER, {"counter": {"exemplar": exemplar("a")}}, False),
    ],
)
def test_only_a_native_histogram_has_native_buckets(kind, value, expected):
    assert has_native_buckets(kind, detail(**value)) is expected
