"""Some groups of a store, by selector, age and failure."""

from hypothesis import given, strategies as st

from pushgate.model.slices import finished
from pushgate.server.store.change import DeleteAll, Fail
from pushgate.server.store.selection import SelectedGroups, Selection
from pushgate.server.store.selector import Selector, parse_selector
from pushgate.server.store.store import Store
from tests.server.pushes import change, key, put

SELECTORS = ['{job="a"}', '{instance=~"x.*"}', "{}", '{job!="a",instance=""}']


def store_of(events) -> Store:
    store = Store()
    happen(store, events, 1)
    return store


def happen(store: Store, events, first: int) -> None:
    for time, (job, instance, ok) in enumerate(events, first):
        group = key(job, instance=instance)
        change(store, put(group, "m 1\n", time) if ok else Fail(group, time))


EVENTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["", "x1", "x2", "y"]), st.booleans()),
    max_size=20,
)


@given(
    EVENTS,
    st.lists(st.sampled_from(SELECTORS), max_size=2),
    st.sampled_from([None, True, False]),
    st.none() | st.integers(0, 20),
)
def test_a_selection_is_the_groups_that_meet_each_condition(events, texts, failed, before):
    store = store_of(events)
    selection = Selection(tuple(map(parse_selector, texts)), failed, before)
    by_text = {
        '{job="a"}': lambda job, _: job == "a",
        '{instance=~"x.*"}': lambda _, instance: instance.startswith("x"),
        "{}": lambda _job, _instance: True,
        '{job!="a",instance=""}': lambda job, instance: job != "a" and instance == "",
    }
    expected = []
    for group in store.groups():
        labels = dict(group.key.labels)
        has_failed = group.failed_at > group.pushed_at
        pushed = group.pushed_at or group.since
        if texts and not any(by_text[t](labels["job"], labels["instance"]) for t in texts):
            continue
        if failed is not None and failed != has_failed:
            continue
        if before is not None and pushed >= before:
            continue
        expected.append(group)
    assert finished(selection.of(store)) == expected


def test_a_step_matches_one_selector_however_many_there_are():
    """So the event loop waits for one regular expression at most."""
    store = store_of([("a", "x1", True)])
    matched = []

    class Noting(Selector):
        __slots__ = ()

        def matches(self, labels):
            matched.append(self)
            return super().matches(labels)

    selectors = tuple(Noting(parse_selector('{job=~"b.*"}').matchers) for _ in range(100))
    for number, _ in enumerate(Selection(selectors).of(store), 1):
        assert len(matched) <= number
    assert len(matched) == 100


@given(EVENTS, EVENTS)
def test_deleting_some_groups_spares_those_pushed_in_the_meantime(events, later):
    store = store_of(events)
    listed = [*store.groups()]
    happen(store, later, 100)
    change(store, DeleteAll(listed))
    pushed = {key(job, instance=instance) for job, instance, ok in later if ok}
    failed = {key(job, instance=instance) for job, instance, _ in later} - pushed
    assert {g.key for g in store.groups()} == pushed | failed - {g.key for g in listed}
    assert store.series == sum(group.series for group in store.groups())


def test_selected_groups_come_in_runs_that_hold_all_of_them():
    groups = [*store_of([("a", str(n), True) for n in range(1200)]).groups()]
    runs = [*SelectedGroups(groups).runs()]
    assert [group for run in runs for group in run.groups()] == groups
    assert len(runs) == 3


def test_only_large_regular_expressions_are_slow():
    def is_slow(*texts: str) -> bool:
        return Selection(tuple(map(parse_selector, texts))).is_slow

    assert not is_slow('{job="a"}', '{job=~"backup-.*"}', '{job!~"a|b"}')
    assert is_slow('{job="a"}', '{job=~"(a{30}){30}"}')
