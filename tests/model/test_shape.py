"""Shapes: one object per shape; pushes without some of their families."""

import gc

from hypothesis import given, strategies as st

from pushgate.model import shape as module
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey
from pushgate.model.keys import PER_PIECE
from pushgate.model.shape import Pushed, WrongType, interned

GAUGE = FamilyShape("g", MetricType.GAUGE, None, ((), (("a", "1"),)))
SUMMARY = FamilyShape("s", MetricType.SUMMARY, "help", ((), ()), (("0.5", "0.9"), ()))
HISTOGRAM = FamilyShape("h", MetricType.HISTOGRAM, "", ((("x", "ü"),),), (("1", "+Inf"),))
EMPTY = FamilyShape("e", MetricType.COUNTER, None, ())
ALL = (GAUGE, SUMMARY, HISTOGRAM, EMPTY)


def push(*families: FamilyShape) -> Pushed:
    shape = interned(families)
    numbers = b" ".join(b"%d" % i for i in range(shape.series))
    details = tuple(b"%d" % i for i in range(sum(len(f.labels) for f in families)))
    return Pushed(shape, numbers, details)


def test_equal_families_are_one_shape():
    assert interned((GAUGE, SUMMARY)) is interned((GAUGE, FamilyShape(*SUMMARY)))


def test_the_order_of_families_makes_another_shape():
    assert interned((GAUGE, SUMMARY)) is not interned((SUMMARY, GAUGE))


def test_a_shape_that_nobody_holds_is_forgotten():
    families = (FamilyShape("only_here", MetricType.GAUGE, None, ((),)),)
    interned(families)
    gc.collect()
    assert families not in module._SHAPES


def test_the_slots_of_families_follow_each_other():
    assert interned(ALL).starts == (0, 2, 8, 12, 12)


def test_the_size_of_a_shape_counts_bytes():
    shape = interned(ALL)
    schema = shape.label_schema
    size = (shape.series, schema.most_labels, schema.longest_name, shape.longest_value)
    assert size == (12, 1, 1, 2)


def test_a_shape_of_many_metrics_is_examined_in_slices():
    pieces = 10
    labels = tuple((("a", str(number)),) for number in range(pieces * PER_PIECE))
    shape = interned((FamilyShape("m", MetricType.GAUGE, None, labels),))
    slices = [*shape.examination(GroupingKey([("job", "j")]))]
    assert len(slices) >= 2 * pieces
    assert shape.is_distinct
    assert shape.values_are_utf8


@given(st.permutations(ALL), st.sets(st.sampled_from("gshex")))
def test_without_keeps_the_rest_aligned(families, names):
    rest = [family for family in families if family.name not in names]
    pushed = push(*families)
    left = pushed.without(frozenset(names))
    if not rest:
        assert left is None
        return
    numbers, details = pushed.numbers.split(), list(pushed.details)
    starts, expected, expected_details = iter(pushed.shape.starts), [], []
    for family in families:
        start, mine = next(starts), [details.pop(0) for _ in family.labels]
        if family in rest:
            expected += numbers[start : start + family.slots]
            expected_details += mine
    assert left.shape is interned(tuple(rest))
    assert left.numbers.split() == expected
    assert list(left.details) == expected_details


def test_without_keeps_what_is_wrong_with_the_rest():
    pushed = push(SUMMARY, GAUGE)._replace(wrong_types=(WrongType(0, 0, "a"), WrongType(1, 1, "b")))
    left = pushed.without(frozenset({"s"}))
    assert left is not None
    assert left.wrong_types == (WrongType(0, 1, "b"),)
