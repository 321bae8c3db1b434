"""The store: what a group holds after each push, its order, and its limits."""

import pytest

from pushgate.errors import InconsistentPush
from pushgate.formats.scanner import scan
from pushgate.model.names import NameRule
from pushgate.model.slices import finished
from pushgate.server.store import store as module
from pushgate.server.store.bounds import Bounds
from pushgate.server.store.change import Delete, Fail, Replace
from pushgate.server.store.group import Group
from pushgate.server.store.store import Store
from tests.server.pushes import change, content, key, post, pushed, put, refusal


def times(store: Store) -> tuple[int, int]:
    group = store.get(key())
    return group.pushed_at, group.failed_at


def test_the_life_of_a_group():
    store = Store()
    change(store, put(key(), "a 1\nb 2\n", 1))
    assert (content(store.get(key())), times(store)) == ({"a": [b"1"], "b": [b"2"]}, (1, 0))
    change(store, post(key(), 'b{x="1"} 3\nc 4\n', 2))
    assert content(store.get(key())) == {"a": [b"1"], "b": [b"3"], "c": [b"4"]}
    assert times(store) == (2, 0)
    change(store, put(key(), "c 5\n", 3))
    assert (content(store.get(key())), times(store)) == ({"c": [b"5"]}, (3, 0))
    error = refusal(store, post(key(), "c 5 123\n", 4))
    assert str(error) == "pushed metrics must not have timestamps"
    assert (content(store.get(key())), times(store)) == ({"c": [b"5"]}, (3, 4))
    assert not store.get(key()).last_push_successful
    change(store, post(key(), "c 6\n", 5))
    assert (content(store.get(key())), times(store)) == ({"c": [b"6"]}, (5, 4))
    assert store.get(key()).last_push_successful
    change(store, put(key(), "# nothing\n", 7))
    assert (content(store.get(key())), times(store)) == ({}, (7, 4))
    change(store, post(key(), "", 8))
    assert (content(store.get(key())), times(store), store.get(key()).since) == ({}, (8, 4), 1)
    change(store, Delete(key()))
    assert store.get(key()) is None
    change(store, put(key(), "", 10))
    assert times(store) == (10, 0)


def test_a_first_push_that_fails_leaves_a_group():
    store = Store()
    refusal(store, put(key(), "a 1\na 1\n", 4))
    assert (content(store.get(key())), times(store)) == ({}, (0, 4))


@pytest.mark.parametrize("kind", [put, post])
def test_pushed_push_times_are_overridden(kind):
    store = Store()
    bodies = ["push_time_seconds 1\na 2\n", "# TYPE push_failure_time_seconds counter\n"]
    bodies[1] += "push_failure_time_seconds 9\n"
    for time, body in enumerate([*bodies, *bodies], 1):
        assert refusal(store, kind(key(), body, time)) is None
        assert refusal(store, put(key("new"), "", 1)) is None
        assert times(store) == (time, 0)
        assert content(store.get(key())).keys() <= {"a"}


def test_a_delete_leaves_other_groups():
    store = Store()
    for group in (key("a"), key("a", instance="x")):
        change(store, put(group, ""))
    change(store, Delete(key("a")))
    assert [group.key for group in store.groups()] == [key("a", instance="x")]
    assert store.admit(Delete(key("a"))) == []


def test_what_is_admitted_is_counted_in_and_not_visible():
    store = Store()
    steps = store.admit(put(key("a"), "# TYPE m gauge\nm 1\n"))
    assert (store.get(key("a")), store.series) == (None, 1)
    with pytest.raises(InconsistentPush):
        store.admit(put(key("b"), "m 1\n"))
    finished(store.withdrawal(reversed(steps)))
    assert store.series == 0
    store.admit(put(key("b"), "m 1\n"))


def test_withdrawing_brings_the_earlier_groups_back():
    store = Store()
    change(store, put(key(), "a 1\nb 2\n", 1))
    before = store.get(key())
    steps = [
        step
        for one in (put(key(), "a 3\n", 2), post(key(), "b 5\n", 3), Fail(key(), 4), Delete(key()))
        for step in store.admit(one)
    ]
    finished(store.withdrawal(reversed(steps)))
    (step,) = store.admit(post(key(), "a 9\nb 9\n", 5))
    assert (step.before, store.series) == (before, 2)


def test_loaded_groups_are_counted_in():
    store = Store()
    block = module.Block(pushed("# TYPE m gauge\nm 1\n"), 1)
    groups = [Group(key(job), (block,), pushed_at=1, failed_at=0, since=1) for job in "ba"]
    store.load(groups)
    assert (list(store.groups()), store.series) == (groups[::-1], 2)
    assert "is not a GAUGE" in str(refusal(store, put(key(), "m 1\n")))


def test_an_unchanged_shape_is_not_checked_again():
    """What the fast path leaves behind is what the slow one does."""
    store = Store()
    utf8 = [scan(b'"a.b" %d\nc 1\n' % i, NameRule.UTF8).pushed for i in range(3)]
    for time, one in enumerate(utf8, 1):
        change(store, Replace(key(), one, time))
    assert (content(store.get(key())), times(store)) == ({"a.b": [b"2"], "c": [b"1"]}, (3, 0))
    assert store.series == 2


@pytest.mark.parametrize(
    ("body", "is_quick"),
    [
        ('a{x="2",y="1"} 2\nb 2\n', True),
        ('a{x="1",y="1"} 2\na{x="2",y="1"} 2\nb 2\n', False),
        ('a{x="2",y="1"} 2\na{x="2",y="1"} 2\nb 2\n', False),
        ('a{x="2",y="12345"} 2\nb 2\n', False),
        ('a{x="2"} 2\nb 2\n', False),
        ('# TYPE a gauge\na{x="2",y="1"} 2\nb 2\n', False),
        ('a{x="2",y="1"} 2\n', False),
    ],
)
def test_other_label_values_are_admitted_quickly(body, is_quick):
    store = Store(bounds=Bounds(label_value_bytes=4))
    change(store, put(key(), 'a{x="1",y="1"} 1\nb 1\n'))
    steps = store.admit_quickly(put(key(), body, 2))
    assert (steps is not None) is is_quick
    if steps:
        store.apply(steps)
        assert content(store.get(key())) == {"a": [b"2"], "b": [b"2"]}
        assert (times(store), store.series) == ((2, 0), 2)


def test_fewer_series_are_admitted_quickly_and_counted():
    store = Store()
    change(store, put(key(), 'a{x="1"} 1\na{x="2"} 1\n'))
    change(store, post(key(), "b 1\n"))
    [step] = store.admit_quickly(post(key(), 'a{x="3"} 3\n'))
    assert store.series == 2
    finished(store.withdrawal([step]))
    assert (store.series, content(store.get(key()))) == (3, {"a": [b"1", b"1"], "b": [b"1"]})


def test_where_groups_of_a_job_differ_in_labels_other_values_are_compared():
    store = Store()
    change(store, put(key(), 'a{x="1"} 1\n'))
    change(store, put(key(x="2"), "a 1\n"))
    assert store.admit_quickly(put(key(), 'a{x="3"} 1\n')) is None
    assert "was collected before" in str(refusal(store, put(key(), 'a{x="2"} 1\n')))


def test_a_group_remembers_its_last_twenty_pushes_and_no_more():
    store, second = Store(), 10**9
    for at in range(1, 31):
        change(
            store, Fail(key(), at * second) if at % 10 == 0 else put(key(), "m 1\n", at * second)
        )
    attempts = store.get(key()).attempts
    assert [(one.time // second, one.is_accepted) for one in attempts] == [
        (at, at % 10 != 0) for at in range(11, 31)
    ]
    assert len(store.get(key()).history) == 100


def test_without_a_history_the_stored_times_stand_for_it():
    group = Group(key(), (), pushed_at=7, failed_at=9, since=7)
    assert [tuple(one) for one in group.attempts] == [(7, True), (9, False)]
    assert Group(key(), (), pushed_at=0, failed_at=0, since=0).attempts == []
