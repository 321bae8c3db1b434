"""A push with an idempotency key is added up once, whatever becomes of the first attempt."""

import pytest
from hypothesis import given, settings, strategies as st

from pushgate.errors import InconsistentPush
from pushgate.model.slices import PER_SLICE, finished
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store.aggregation import Aggregation, Operation
from pushgate.server.store.once import REMEMBERED, AppliedKeys
from pushgate.server.store.rules import Rule, Rules
from pushgate.server.store.store import News, Store
from tests.server.pushes import change, content, key, post, put

RULES = Rules((Rule(aggregate=Aggregation({"untyped": Operation.SUM})),))
START = 1_700_000_000 * 10**9


def posted(once: str, time: int = START, number: int = 1, group=None):
    return post(group or key(), f"m {number}\n", time)._replace(once=once.encode())


def total(store: Store, group=None) -> list[bytes]:
    return content(store.get(group or key()))["m"]


def test_a_key_counts_once():
    store = Store(rules=RULES)
    for once in "abaab":
        change(store, posted(once))
    assert total(store) == [b"2"]


def test_a_push_without_a_key_counts_each_time():
    store = Store(rules=RULES)
    for _ in range(3):
        change(store, posted(""))
    assert total(store) == [b"3"]


def test_a_withdrawn_push_counts_when_it_comes_again():
    store = Store(rules=RULES)
    finished(store.withdrawal(store.admit(posted("a"))))
    assert store.get(key()) is None
    change(store, posted("a"))
    assert total(store) == [b"1"]


def test_a_refused_push_is_judged_anew():
    store = Store(rules=RULES)
    bad = post(key(), "m 1\nm 2\n", START)._replace(once=b"a")
    for _ in range(2):
        with pytest.raises(InconsistentPush):
            store.admit(bad)
    change(store, posted("a"))
    assert total(store) == [b"1"]


def test_a_repeated_put_does_not_take_away_what_was_added_meanwhile():
    store = Store(rules=RULES)
    start = put(key(), "m 10\n", START)._replace(once=b"p")
    for one in (start, posted("a"), start):
        change(store, one)
    assert total(store) == [b"11"]


def test_a_key_is_forgotten_after_an_hour_and_not_before():
    store = Store(rules=RULES)
    change(store, posted("a"))
    change(store, posted("b", START + REMEMBERED))
    change(store, posted("a", START + REMEMBERED))
    assert total(store) == [b"2"]
    change(store, posted("c", START + REMEMBERED + 1))
    change(store, posted("a", START + REMEMBERED + 1))
    assert (total(store), len(store.applied_keys)) == ([b"4"], 3)


def test_a_push_after_an_idle_hour_does_not_forget_everything_at_once():
    applied = AppliedKeys()
    finished(applied.load((b"%d" % number, START) for number in range(10_000)))
    later = START + REMEMBERED + 1
    applied.add(b"x", later)
    assert len(applied) > 9_000
    assert b"x" in applied
    assert not any(b"%d" % number in applied for number in range(10_000))
    for number in range(200):
        applied.add(b"x%d" % number, later)
    assert len(applied) == 201


def test_after_a_jump_of_the_clock_keys_are_forgotten_in_memory_and_in_the_file(tmp_path):
    journal, store = reopened(tmp_path / "db")
    late = START + REMEMBERED + 1
    for once, time in (
        ("z", START + 100 * REMEMBERED),
        ("a", START),
        ("b", START + 1),
        ("c", late),
    ):
        steps = store.admit(posted(once, time))
        journal.append(steps)
    assert len(store.applied_keys) == 2
    assert b"a" not in dict(keys_in(journal))
    assert store.admit(posted("b", late)) == []
    journal.close()


def test_many_keys_from_other_servers_replace_those_that_are_here_in_slices():
    store = Store()
    finished(store.applied_keys.load((b"%d" % number, START) for number in range(10_000)))
    news = News([], [(b"new %d" % number, START) for number in range(10_000)], is_all=True)
    assert len([*store.renewal(news)]) > 10_000 // PER_SLICE
    assert len(store.applied_keys) == 10_000
    assert b"0" not in store.applied_keys


def test_where_nothing_is_added_up_keys_are_not_kept():
    store = Store()
    for number in (1, 2):
        change(store, posted("a", number=number))
    assert (total(store), len(store.applied_keys)) == ([b"2"], 0)


def reopened(path) -> tuple[SqliteJournal, Store]:
    journal, store = SqliteJournal(path), Store(rules=RULES)
    store.load(*journal.load())
    return journal, store


def keys_in(journal: SqliteJournal) -> list[tuple[bytes, int]]:
    return journal._rows("SELECT key, time FROM applied_keys ORDER BY time")


def test_keys_outlast_a_restart_and_old_ones_leave_the_file(tmp_path):
    journal, store = reopened(tmp_path / "db")
    for once, time in (("a", START), ("b", START + 1), ("c", START + REMEMBERED + 1)):
        journal.append(store.admit(posted(once, time)))
    journal.close()
    journal, store = reopened(tmp_path / "db")
    assert keys_in(journal) == [(b"b", START + 1), (b"c", START + REMEMBERED + 1)]
    assert store.admit(posted("b", START + REMEMBERED + 1)) == []
    journal.close()


def test_a_file_from_before_there_were_keys_is_read_and_gets_them(tmp_path):
    journal, store = reopened(tmp_path / "db")
    journal.append(store.admit(posted("")))
    assert journal._rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1") == [
        ("groups",),
        ("shapes",),
    ]
    journal.close()
    journal, store = reopened(tmp_path / "db")
    assert content(next(iter(store.groups()))) == {"m": [b"1"]}
    journal.append(store.admit(posted("a")))
    journal.close()
    journal, store = reopened(tmp_path / "db")
    assert keys_in(journal) == [(b"a", START)]
    journal.close()


_PUSHES = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from("ij"), st.sampled_from(["ok", "lost", "restart"])),
    max_size=30,
)


@given(_PUSHES, st.lists(st.integers(1, 10**6), min_size=10, max_size=10))
@settings(max_examples=50)
def test_any_sequence_of_retries_and_restarts_adds_each_push_once(tmp_path_factory, pushes, values):
    path = tmp_path_factory.mktemp("once") / "db"
    journal, store = reopened(path)
    exact: dict[str, dict[int, int]] = {"i": {}, "j": {}}
    for number, job, fate in pushes:
        steps = store.admit(posted(f"{number}{job}", START, values[number], key(job)))
        if fate == "lost":
            finished(store.withdrawal(reversed(steps)))
            continue
        journal.append(steps)
        store.apply(steps)
        exact[job][number] = values[number]
        if fate == "restart":
            journal.close()
            journal, store = reopened(path)
    for job, counted in exact.items():
        group = store.get(key(job))
        assert sum(counted.values()) == (float(total(store, key(job))[0]) if group else 0)
    journal.close()
