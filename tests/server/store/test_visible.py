"""What readers see is in order, however it came and goes."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

import pytest
from hypothesis import given, strategies as st

from pushgate.server.store import visible as module
from pushgate.server.store.change import Delete
from pushgate.server.store.store import Store
from tests.server.pushes import change, key, put, wipe


@contextmanager
def runs_of(size: int) -> Iterator[None]:
    """Lets stores keep their groups in runs of *size*."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_RUN", size)
        yield


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_groups_stay_in_the_order_of_their_keys(changes):
    with runs_of(4):
        store, expected = Store(), set()
        for number, is_put in changes:
            one = key(f"{number}")
            change(store, put(one, "") if is_put else Delete(one))
            expected = expected | {one} if is_put else expected - {one}
            assert [group.key for group in store.groups()] == sorted(expected)
            assert all(0 < len(run) <= 4 for run in store.runs())
            assert len(store) == len(expected)
            assert (store.get(one) is not None) is is_put


def test_runs_of_unchanged_groups_stay_the_same():
    store = Store()
    for i in range(600):
        change(store, put(key(f"{i:03d}"), "a 1\n"))
    before = [*store.runs()]
    change(store, put(key("000"), "a 2\n"))
    assert [old is new for old, new in zip(before, store.runs(), strict=True)] == [
        False,
        *[True] * (len(before) - 1),
    ]


@given(st.lists(st.integers(0, 12), max_size=9), st.lists(st.integers(0, 12), max_size=9))
def test_a_snapshot_does_not_change(jobs, changed):
    with runs_of(4):
        store = Store()
        for job in jobs:
            change(store, put(key(f"{job:02}"), "a 1\n"))
        before, snapshot = [*store.groups()], store.runs()
        for job in changed:
            change(store, put(key(f"{job:02}"), "a 2\n"))
        change(store, wipe)
        assert [group for run in snapshot for group in run.groups()] == before
        assert ([*store.groups()], len(store)) == ([], 0)


JOBS = st.integers(0, 30).map("{:02}".format)


@given(st.sets(JOBS), st.lists(st.tuples(st.booleans(), JOBS), max_size=40))
def test_a_walk_visits_what_is_there_all_the_time_once_and_in_order(jobs, changes):
    with runs_of(4):
        store = Store()
        for job in jobs:
            change(store, put(key(job), "m 1\n"))
        there, visited = set(jobs), []
        todo = iter(changes)
        for run in store.walk():
            visited += [group.key.job for group in run]
            for is_push, job in islice(todo, 3):
                change(store, put(key(job), "m 2\n") if is_push else Delete(key(job)))
                there -= set() if is_push else {job}
        assert visited == sorted(set(visited))
        assert there <= set(visited)


@given(st.sets(JOBS), st.integers(0, 35))
def test_a_sample_has_distinct_groups_as_many_as_there_are(jobs, most):
    with runs_of(4):
        store = Store()
        for job in jobs:
            change(store, put(key(job), "m 1\n"))
        sample = [group.key.job for group in store.sample(most)]
        assert len(sample) == min(most, len(jobs))
        assert len({*sample} & jobs) == len(sample)
