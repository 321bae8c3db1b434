import pytest
from hypothesis import given, strategies as st

from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.shape import Pushed, interned
from pushgate.server.http.families import families, local_time, sorted_in_steps
from pushgate.server.store.group import Block, Group
from tests.server.pushes import key, pushed


def result(steps) -> tuple[list, int]:
    """What *steps* return, as a list, and how many steps there were."""
    count = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return list(end.value), count
        count += 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers())))
def test_sorts_as_sorted_does(items):
    def by_first(item):
        return item[0]

    assert result(sorted_in_steps(items, by_first))[0] == sorted(items, key=by_first)


def test_sorts_in_steps_of_a_thousand():
    items = list(range(5000, 0, -1))
    assert result(sorted_in_steps(items, int)) == (sorted(items), 5)


def test_families_of_all_blocks_come_with_their_numbers_and_times():
    blocks = (
        Block(pushed("z 1\nb 2\n"), 7),
        Block(pushed("r 3\na{i='0'} 4\n".replace("'", '"')), 8),
    )
    found = families(Group(key(), blocks, pushed_at=5 * 10**9, failed_at=0, since=2))
    assert [(f.shape.name, f.received, [*f.numbers()]) for f in found] == [
        ("z", 7, ["1"]),
        ("b", 7, ["2"]),
        ("r", 8, ["3"]),
        ("a", 8, ["4"]),
        ("push_time_seconds", 5 * 10**9, ["5"]),
        ("push_failure_time_seconds", 2, ["0"]),
    ]


def test_a_metric_has_its_values_its_bounds_and_what_they_sum_up_to():
    body = (
        '# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="5"} 3\nh_sum 9\nh_count 4\n'
        '# TYPE g gauge\ng{a="0"} 1\ng{a="1"} 7\n'
    )
    h, g, *_ = families(Group(key(), (Block(pushed(body), 7),), pushed_at=1, failed_at=0, since=1))
    [metric] = h.metrics()
    assert [*metric.values] == ["2", "3"]
    assert metric[2:] == (("1", "5"), "9", "4", None)
    assert [(dict(m.labels)["a"], *m.values) for m in g.metrics()] == [("0", "1"), ("1", "7")]


@given(st.lists(st.integers(0, 3), min_size=1).map(tuple), st.integers(1, 8))
def test_each_family_has_its_own_numbers_however_few(sizes, digits):
    shapes = [
        FamilyShape(f"m{at}", MetricType.GAUGE, None, tuple((("l", str(n)),) for n in range(size)))
        for at, size in enumerate(sizes)
    ]
    texts = ["9" * digits + str(n) for n in range(sum(sizes))]
    one = Block(Pushed(interned(tuple(shapes)), " ".join(texts).encode()), 7)
    *found, _, _ = families(Group(key(), (one,), pushed_at=1, failed_at=0, since=1))
    assert tuple(len([*family.metrics()]) for family in found) == sizes
    numbers = [metric.values for family in found for metric in family.metrics()]
    assert numbers == [(text,) for text in texts]


def test_many_numbers_are_read_some_at_a_time():
    texts = [str(number) for number in range(5000)]
    shape = pushed("".join(f'm{{l="{text}"}} 1\n' for text in texts)).shape
    one = Block(Pushed(shape, " ".join(texts).encode()), 7)
    family, *_ = families(Group(key(), (one,), pushed_at=1, failed_at=0, since=1))
    assert [*family.numbers()] == texts


@pytest.mark.parametrize(
    ("nanoseconds", "written"),
    [
        (0, "1969-12-31T19:00:00-05:00"),
        (1_785_000_000_120_000_000, "2026-07-25T13:20:00.12-04:00"),
        (1_785_000_000_000_000_001, "2026-07-25T13:20:00.000000001-04:00"),
    ],
)
def test_times_are_local(in_zone, nanoseconds, written):
    in_zone("America/New_York")
    assert local_time(nanoseconds) == written


def test_utc_is_written_as_z(in_zone):
    in_zone("UTC")
    assert local_time(10**9) == "1970-01-01T00:00:01Z"
