"""The families that every format of expositions adds to a group."""

from pushgate.model.grouping import GroupingKey
from pushgate.model.names import Escaping
from pushgate.server.exposition.view import TIMES_SHAPE, TextView, times_numbers
from pushgate.server.store.group import EXPECTED_INTERVAL, Group


def group(job: str, pushed_at: int = 0, failed_at: int = 0) -> Group:
    key = GroupingKey([("job", job)])
    return Group(key, (), pushed_at=pushed_at, failed_at=failed_at, since=pushed_at or failed_at)


def test_the_times_of_a_group_are_seconds_in_the_order_of_their_shape():
    assert TIMES_SHAPE.names == ("push_failure_time_seconds", "push_time_seconds")
    assert times_numbers(group("a", pushed_at=1_500_000_000)) == b"0 1.5"
    assert times_numbers(group("a", 2 * 10**9, 10**18)) == b"1e+09 2"


def test_only_groups_that_are_expected_have_an_interval():
    groups = [group("a"), group("b"), group("c")]
    expected = {"a": 60 * 10**9, "c": 1_500_000_000}
    view = TextView(Escaping.ALLOW_UTF8, lambda one: expected.get(one.key.job, 0))

    shown = [piece for family, piece in view.pieces(groups) if family is EXPECTED_INTERVAL]

    assert b"".join(shown).splitlines() == [
        b'push_expected_interval_seconds{instance="",job="a"} 60',
        b'push_expected_interval_seconds{instance="",job="c"} 1.5',
    ]
