"""Under a rule that aggregates, a POST adds to what is stored, exactly."""

from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import InconsistentPush
from pushgate.formats.decoder import PushDecoder
from pushgate.formats.limits import BodyLimits
from pushgate.formats.protobuf.description import describe
from pushgate.formats.protobuf.messages import message_class
from pushgate.model.family import MetricType
from pushgate.model.names import Escaping, NameRule
from pushgate.model.slices import PER_SLICE
from pushgate.server.exposition.view import TextView
from pushgate.server.store.aggregation import Aggregation, Operation
from pushgate.server.store.change import Merge
from pushgate.server.store.rules import Rule, Rules
from pushgate.server.store.store import Store
from tests import delimited
from tests.examples import few_large_examples
from tests.formats.protobuf import bodies
from tests.server.pushes import change, content, key, post, put

ALL_SUMS = dict.fromkeys(("counter", "gauge", "untyped", "summary", "histogram"), "sum")


def store(operations: dict[str, str] = ALL_SUMS) -> Store:
    aggregation = Aggregation({name: Operation(what) for name, what in operations.items()})
    return Store(rules=Rules((Rule(aggregate=aggregation),)))


def after(pushes: list[str], operations: dict[str, str] = ALL_SUMS) -> list[str]:
    """The lines of the exposition of a group to which *pushes* were posted."""
    served = store(operations)
    for body in pushes:
        change(served, post(key(), body))
    view = TextView(Escaping.UNDERSCORES)
    text = b"".join(piece for _, piece in view.pieces([served.get(key())])).decode()
    return [
        line.replace('{instance="",job="j"}', "").replace(',instance="",job="j"', "")
        .replace('instance="",job="j",', "")
        for line in text.splitlines()
        if not line.startswith("push_")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "total"), [("sum", "6"), ("max", "3"), ("min", "1"), ("last", "2")]
)
@pytest.mark.parametrize("kind", ["counter", "gauge", "untyped"])
def test_simple_metrics(kind, operation, total):
    pushes = [f"# TYPE m {kind}\nm {number}\n" for number in (1, 3, 2)]
    assert after(pushes, {kind: operation}) == [f"m {total}"]
    assert after(pushes, {"m": operation, kind: "last"}) == [f"m {total}"]


def test_what_no_operation_is_for_is_replaced_series_by_series():
    assert after(['m{a="1"} 1\nm{a="2"} 2\n', 'm{a="2"} 5\n'], {}) == ['m{a="1"} 1', 'm{a="2"} 5']


@pytest.mark.parametrize("operation", ["max", "min"])
def test_nan_is_neither_the_largest_nor_the_smallest(operation):
    assert after(["m NaN\n", "m 1\n", "m NaN\n"], {"untyped": operation}) == ["m 1"]


def test_series_and_families_that_were_not_there_are_added():
    pushes = ['m{a="1"} 1\n', 'm{a="2"} 2\nn 7\n', 'm{a="1"} 10\n']
    assert sorted(after(pushes)) == ['m{a="1"} 11', 'm{a="2"} 2', "n 7"]


def test_a_summary_adds_sum_and_count_and_keeps_the_last_quantiles():
    pushes = [
        f'# TYPE s summary\ns{{quantile="0.5"}} {median}\ns_sum {total}\ns_count 2\n'
        for median, total in ((1, 10), (3, 20))
    ]
    assert after(pushes) == ['s{quantile="0.5"} 3', "s_sum 30", "s_count 4"]


def histogram(*buckets: tuple[str, int], total: float, count: int) -> str:
    lines = [f'h_bucket{{le="{bound}"}} {below}' for bound, below in buckets]
    return "\n".join(["# TYPE h histogram", *lines, f"h_sum {total}", f"h_count {count}", ""])


def test_histograms_add_bucket_by_bucket():
    one = histogram(("1", 1), ("2", 3), ("+Inf", 4), total=7, count=4)
    assert after([one, one, one]) == [
        'h_bucket{le="1"} 3', 'h_bucket{le="2"} 9', 'h_bucket{le="+Inf"} 12', "h_sum 21",
        "h_count 12",
    ]  # fmt: skip


def test_the_bucket_of_infinity_adds_up_without_a_count():
    one = '# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 4\n'
    assert after([one, one])[:2] == ['h_bucket{le="1"} 2', 'h_bucket{le="+Inf"} 8']


def test_histograms_of_different_buckets_keep_the_bounds_they_share():
    one = histogram(("1", 1), ("2", 3), ("5", 4), total=7, count=4)
    other = histogram(("2", 10), ("3", 11), ("5", 12), ("+Inf", 13), total=70, count=13)
    assert after([one, other]) == [
        'h_bucket{le="2"} 13', 'h_bucket{le="5"} 16', 'h_bucket{le="+Inf"} 17', "h_sum 77",
        "h_count 17",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (
            histogram(("1", 1), total=1, count=1),
            histogram(("2", 1), total=1, count=1),
            "its buckets have no bound in common with those stored",
        ),
        (
            "# TYPE h gauge\nh 1\n",
            "# TYPE h counter\nh 1\n",
            "it is stored as a gauge, not a counter",
        ),
        (
            "# TYPE h gaugehistogram\nh_count 1\n",
            "# TYPE h histogram\nh_count 1\n",
            "it is stored as a gauge histogram, not a histogram",
        ),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_is_changed(first, second, reason):
    served = store()
    change(served, post(key(), first))
    before = content(served.get(key()))
    with pytest.raises(InconsistentPush) as refused:
        change(served, post(key(), second))
    assert str(refused.value) == f'metric "h" can\'t be added to what is stored: {reason}'
    assert content(served.get(key())) == before


def test_the_maximum_of_a_histogram_is_refused_with_the_reason():
    one = histogram(("1", 1), total=1, count=1)
    with pytest.raises(InconsistentPush, match="the max of a histogram is not defined; use sum"):
        after([one, one], {"h": "max"})


def test_a_series_twice_in_one_push_is_refused_as_without_a_rule():
    served = store()
    change(served, post(key(), "m 1\n"))
    with pytest.raises(InconsistentPush, match="was collected before"):
        change(served, post(key(), "m 1\nm 2\n"))


def test_a_put_starts_anew():
    served = store()
    for one in (post(key(), "m 1\n"), put(key(), "m 5\n"), post(key(), "m 2\n")):
        change(served, one)
    assert content(served.get(key())) == {"m": [b"7"]}


def test_push_times_in_a_push_are_not_added_up():
    served = store()
    for _ in range(2):
        change(served, post(key(), "m 1\npush_time_seconds 5\n"))
    assert content(served.get(key())) == {"m": [b"2"]}


_LABELS = st.sampled_from(["", '{a="1"}', '{a="2"}', '{b="1"}'])
_NUMBERS = st.one_of(st.integers(-(10**9), 10**9), st.sampled_from([0.5, -0.25, 1024.125]))
_SERIES = st.dictionaries(st.tuples(st.sampled_from("mn"), _LABELS), _NUMBERS, min_size=1)


@few_large_examples
@given(st.lists(_SERIES, min_size=1, max_size=20), st.sampled_from(["sum", "max", "min", "last"]))
def test_any_sequence_of_pushes_gives_the_exact_result(pushes, operation):
    exact: dict[tuple[str, str], Fraction] = {}
    combine = {"sum": lambda a, b: a + b, "max": max, "min": min, "last": lambda _, b: b}[operation]
    bodies = []
    for series in pushes:
        for name, number in series.items():
            before = exact.get(name)
            exact[name] = combine(before, Fraction(number)) if name in exact else Fraction(number)
        bodies.append(
            "".join(f"{name}{labels} {v!r}\n" for (name, labels), v in sorted(series.items()))
        )
    found = dict(line.rsplit(" ", 1) for line in after(bodies, {"untyped": operation}))
    assert {series: Fraction(number) for series, number in found.items()} == {
        name + labels: value for (name, labels), value in exact.items()
    }


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_sums_are_those_of_float64_in_the_order_of_the_pushes(numbers):
    total = numbers[0]
    for number in numbers[1:]:
        total += number
    (line,) = after([f"m {number!r}\n" for number in numbers])
    assert float(line.split()[1]) == total


_COUNTS = st.lists(st.integers(0, 1000), min_size=4, max_size=4)


@given(st.lists(st.tuples(st.sets(st.sampled_from([1, 2, 5])), _COUNTS), min_size=1, max_size=8))
def test_histograms_of_any_buckets_add_up_exactly(histograms):
    """Of observations 1, 2, 5 and 9, as many as a histogram counts of each."""
    bodies, shared = [], {1, 2, 5}
    for bounds, counts in histograms:
        seen = dict(zip((1, 2, 5, 9), counts, strict=True))
        below = [(str(b), sum(n for v, n in seen.items() if v <= b)) for b in sorted(bounds | {2})]
        total = sum(value * count for value, count in seen.items())
        bodies.append(histogram(*below, total=total, count=sum(counts)))
        shared &= bounds | {2}
    totals = [sum(counts[at] for _, counts in histograms) for at in range(4)]
    below = {
        bound: sum(n for v, n in zip((1, 2, 5), totals, strict=False) if v <= bound)
        for bound in sorted(shared)
    }
    expected = [f'h_bucket{{le="{bound}"}} {count}' for bound, count in below.items()]
    *lines, count = after(bodies)
    assert [line for line in lines if "_bucket" in line and "+Inf" not in line] == expected
    assert count == f"h_count {sum(totals)}"


def test_a_large_group_is_added_to_in_slices():
    served = store()
    body = "".join(f'm{{a="{number}"}} 1\n' for number in range(5000))
    change(served, post(key(), body))
    slices = list(served.admission(post(key(), 'm{a="7"} 1\n')))
    assert len(slices) >= 5000 // PER_SLICE


# Native histograms, whose sums tests/formats/protobuf/test_addition.py looks at.

PROTOBUF = delimited.PROTOBUF.encode()
_DECODER = PushDecoder(NameRule.LEGACY, BodyLimits())


def native(**fields) -> bytes:
    return bodies.body(bodies.family(name=b"h", type=4, metric=[{"histogram": fields}]))


def native_after(*pushes: bytes):
    served = store()
    for body in pushes:
        change(served, Merge(key(), _DECODER.read(body, PROTOBUF, b""), 1))
    (block,) = served.get(key()).blocks
    (detail,) = block.pushed.details
    return message_class("Metric").FromString(detail).histogram, describe(
        detail, MetricType.HISTOGRAM
    )


def test_native_histograms_of_one_schema_add_bucket_by_bucket():
    one = native(
        schema=1, sample_count=4, sample_sum=9, zero_count=1, zero_threshold=0.001,
        positive_span=bodies.spans((0, 2)), positive_delta=[1, 1],
    )  # fmt: skip
    found, said = native_after(one, one)
    assert (found.sample_count, found.sample_sum, found.schema, found.zero_count) == (8, 18, 1, 2)
    assert [bucket.population for bucket in said.native] == [2, 2, 4]


def test_a_native_histogram_cannot_be_added_to_a_classic_one():
    served = store()
    change(served, post(key(), histogram(("1", 1), total=1, count=1)))
    one = native(
        schema=0,
        sample_count=1,
        sample_sum=1,
        positive_span=bodies.spans((0, 1)),
        positive_delta=[1],
    )
    with pytest.raises(InconsistentPush, match="no bound in common"):
        change(served, Merge(key(), _DECODER.read(one, PROTOBUF, b""), 1))
