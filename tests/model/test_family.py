"""The types of metric families, and which numbers a family has."""

import pytest

from pushgate.model.family import FamilyShape, MetricType

GAUGE = FamilyShape("g", MetricType.GAUGE, None, ((), (("a", "1"),)))
SUMMARY = FamilyShape("s", MetricType.SUMMARY, "help", ((), ()), (("0.5", "0.9"), ()))
HISTOGRAM = FamilyShape("h", MetricType.HISTOGRAM, "", ((("x", "ü"),),), (("1", "+Inf"),))
EMPTY = FamilyShape("e", MetricType.COUNTER, None, ())


def test_slots_are_points_then_sum_and_count():
    assert [family.slots for family in (GAUGE, SUMMARY, HISTOGRAM, EMPTY)] == [2, 6, 4, 0]
    assert list(SUMMARY.metric_slots()) == [range(4), range(4, 6)]
    assert list(GAUGE.metric_slots()) == [range(1), range(1, 2)]


@pytest.mark.parametrize(
    ("kind", "word", "in_words"),
    [
        (MetricType.GAUGE_HISTOGRAM, "histogram", "gauge histogram"),
        (MetricType.UNTYPED, "untyped", "untyped"),
    ],
)
def test_what_a_type_is_called(kind, word, in_words):
    assert (kind.word, kind.in_words) == (word, in_words)
