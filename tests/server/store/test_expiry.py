"""Groups expire exactly when they are due, once, and not because a clock is wrong."""

import asyncio
import logging
import threading

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import InconsistentPush, JournalFailed, LimitExceeded
from pushgate.model.slices import finished
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store import (
    expiry as expiry_module,
    gateway as gateway_module,
    store as store_module,
)
from pushgate.server.store.bounds import Bounds
from pushgate.server.store.change import Expire, Fail
from pushgate.server.store.expiry import Expiry
from pushgate.server.store.gateway import Gateway
from pushgate.server.store.rules import Rule, Rules
from pushgate.server.store.store import EXPIRED_AT_ONCE, Store
from tests.examples import few_large_examples
from tests.server.journals import ForgetfulJournal
from tests.server.pushes import Delete, content, key, post, put

pytestmark = pytest.mark.anyio

SECOND = 10**9
START = 1_700_000_000 * SECOND


class Clock:
    """A wall clock and a monotonic one that go as the test says."""

    def __init__(self) -> None:
        self.wall = START
        self.monotonic = 0

    def advance(self, seconds: float) -> None:
        self.wall += int(seconds * SECOND)
        self.monotonic += int(seconds * SECOND)


def started(
    clock: Clock, rules: Rules, journal=None, bounds: Bounds | None = None
) -> tuple[Gateway, Expiry]:
    store = Store(rules=rules, bounds=bounds)
    if journal is not None:
        store.load(*journal.load())
    gateway = Gateway(store, journal)
    gateway.start()
    return gateway, Expiry(gateway, lambda: clock.wall, lambda: clock.monotonic)


def rules(ttl: float = 0, forget_after: float = 0) -> Rules:
    return Rules((), Rule(ttl=int(ttl * SECOND), forget_after=int(forget_after * SECOND)))


async def shown(gateway: Gateway, expiry: Expiry) -> dict:
    await expiry.settle()
    return {group.key.job: content(group) for group in gateway.store.groups()}


async def test_metrics_go_at_the_end_of_their_time_and_push_times_later():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=10, forget_after=100))
    await gateway.apply(put(key("a"), "m 1\n", clock.wall))
    clock.advance(9.999999)
    assert await shown(gateway, expiry) == {"a": {"m": [b"1"]}}
    clock.advance(0.000001)
    assert await shown(gateway, expiry) == {"a": {}}
    assert gateway.store.get(key("a")).pushed_at == START
    assert (gateway.store.series, expiry.expired) == (0, 1)
    clock.advance(89.999999)
    assert await shown(gateway, expiry) == {"a": {}}
    clock.advance(0.000001)
    assert await shown(gateway, expiry) == {}
    assert (expiry.expired, gateway.store.first_due) == (1, None)


async def test_a_push_begins_the_time_anew():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=10))
    for _ in range(5):
        await gateway.apply(post(key("a"), "m 1\n", clock.wall))
        clock.advance(9)
        assert await shown(gateway, expiry) == {"a": {"m": [b"1"]}}
    clock.advance(1)
    assert await shown(gateway, expiry) == {"a": {}}


async def test_a_post_does_not_keep_what_had_expired_before_it():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=10))
    await gateway.apply(put(key("a"), "old 1\n", clock.wall))
    clock.advance(11)
    expiry.begin()
    await gateway.apply(post(key("a"), "new 1\n", clock.wall))
    assert await shown(gateway, expiry) == {"a": {"new": [b"1"]}}


async def test_a_failure_does_not_keep_metrics_but_it_keeps_the_push_times():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=10, forget_after=20))
    await gateway.apply(put(key("a"), "m 1\n", clock.wall))
    clock.advance(8)
    await gateway.apply(Fail(key("a"), clock.wall))
    clock.advance(2)
    assert await shown(gateway, expiry) == {"a": {}}
    clock.advance(17)
    assert await shown(gateway, expiry) == {"a": {}}
    clock.advance(1)
    assert await shown(gateway, expiry) == {}


async def test_what_expired_does_not_come_back_with_a_restart_without_rules(tmp_path):
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=10), SqliteJournal(tmp_path / "db"))
    await gateway.apply(put(key("a"), "m 1\n", clock.wall))
    clock.advance(10)
    assert await shown(gateway, expiry) == {"a": {}}
    await gateway.close()
    gateway, expiry = started(clock, rules(), SqliteJournal(tmp_path / "db"))
    assert await shown(gateway, expiry) == {"a": {}}
    await gateway.close()


async def test_what_became_due_while_the_server_was_down_is_never_shown(tmp_path):
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=10), SqliteJournal(tmp_path / "db"))
    await gateway.apply(put(key("a"), "m 1\n", clock.wall))
    await gateway.close()
    clock.advance(10)
    gateway, expiry = started(clock, rules(ttl=10), SqliteJournal(tmp_path / "db"))
    assert await shown(gateway, expiry) == {"a": {}}
    await gateway.close()
    journal = SqliteJournal(tmp_path / "db")
    (group,) = journal.load().groups
    assert group.blocks == ()
    journal.close()


class Batches(ForgetfulJournal):
    """A journal that fails when the test wants it to, and notes how many groups it got at once."""

    def __init__(self, fail_after: int = 1000) -> None:
        self.sizes: list[int] = []
        self.left = fail_after

    def append(self, steps):
        if steps:
            self.left -= 1
            if self.left < 0:
                raise JournalFailed("the disk is full")
            self.sizes.append(len(steps))


async def test_with_a_full_disk_groups_are_still_shown_and_expire_when_it_has_room():
    clock, disk = Clock(), Batches()
    gateway, expiry = started(clock, rules(ttl=10), disk)
    await gateway.apply(put(key("a"), "m 1\n", clock.wall))
    clock.advance(10)
    disk.left = 0
    assert await shown(gateway, expiry) == {"a": {"m": [b"1"]}}
    assert expiry.expired == 0
    disk.left = 1
    assert await shown(gateway, expiry) == {"a": {}}
    assert expiry.expired == 1
    await gateway.close()


async def test_a_clock_that_jumps_does_not_expire_everything_at_once(caplog):
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=3600))
    for job in "abc":
        await gateway.apply(put(key(job), "m 1\n", clock.wall))
    clock.wall += 24 * 3600 * SECOND
    found = await shown(gateway, expiry)
    assert found == {job: {"m": [b"1"]} for job in "abc"}
    assert "the clock jumped forward" in caplog.text
    clock.advance(59)
    assert await shown(gateway, expiry) == found
    clock.advance(1)
    assert await shown(gateway, expiry) == {job: {} for job in "abc"}


async def test_a_clock_that_jumps_back_in_time_has_expired_nothing():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=3600))
    await gateway.apply(put(key("a"), "m 1\n", clock.wall))
    clock.wall += 24 * 3600 * SECOND
    expiry.tick()
    clock.advance(30)
    clock.wall -= 24 * 3600 * SECOND
    expiry.tick()
    clock.advance(60)
    assert await shown(gateway, expiry) == {"a": {"m": [b"1"]}}
    clock.advance(3510)
    assert await shown(gateway, expiry) == {"a": {}}


async def test_while_the_clock_is_doubted_groups_expire_by_the_time_that_really_passed():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=3600))
    await gateway.apply(put(key("early"), "m 1\n", clock.wall - 3590 * SECOND))
    await gateway.apply(put(key("late"), "m 1\n", clock.wall))
    clock.wall += 24 * 3600 * SECOND
    expiry.tick()
    clock.advance(10)
    assert await shown(gateway, expiry) == {"early": {}, "late": {"m": [b"1"]}}


async def test_a_jump_that_takes_half_of_the_groups_or_less_is_believed():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=3600))
    await gateway.apply(put(key("old"), "m 1\n", clock.wall))
    await gateway.apply(put(key("new"), "m 1\n", clock.wall + 1800 * SECOND))
    clock.wall += 3600 * SECOND
    assert await shown(gateway, expiry) == {"old": {}, "new": {"m": [b"1"]}}


async def test_all_groups_expire_at_once_when_the_time_really_passed():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=3600))
    await gateway.apply(put(key("a"), "m 1\n", clock.wall))
    clock.advance(24 * 3600)
    assert await shown(gateway, expiry) == {"a": {}}


async def test_a_jump_of_the_clock_is_judged_by_a_sample_of_many_groups(monkeypatch):
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=3600))
    load(gateway, 1500, clock.wall)
    load(gateway, 1500, clock.wall + 1800 * SECOND, prefix="new")
    store, looks = gateway.store, []
    is_due = store.is_due
    monkeypatch.setattr(store, "is_due", lambda *args: looks.append(args) or is_due(*args))
    assert 0.35 < store.share_due(clock.wall + 3600 * SECOND) < 0.65
    assert store.share_due(clock.wall + 5400 * SECOND) == 1
    assert len(looks) == 1000
    clock.wall += 5400 * SECOND
    expiry.tick()
    assert store.first_due == START + 3600 * SECOND


async def test_new_rules_hold_for_groups_that_are_stored():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=3600))
    await gateway.apply(put(key("a"), "m 1\n", clock.wall))
    clock.advance(100)
    gateway.govern(rules(ttl=100))
    assert await shown(gateway, expiry) == {"a": {}}
    await gateway.apply(put(key("a"), "m 1\n", clock.wall))
    gateway.govern(rules())
    clock.advance(100)
    assert await shown(gateway, expiry) == {"a": {"m": [b"1"]}}


async def test_pushes_do_not_wait_until_all_groups_have_met_new_rules(monkeypatch):
    monkeypatch.setattr(gateway_module, "_SLICE_SECONDS", 0)
    clock = Clock()
    gateway, expiry = started(clock, rules())
    load(gateway, 2000, clock.wall)
    asked = []
    selector = Named("j")
    monkeypatch.setattr(selector, "matches", lambda labels: not asked.append(labels))
    gateway.govern(rules(ttl=1))
    gateway.govern(Rules((Rule(selector=selector, ttl=10 * SECOND),)))
    await gateway.apply(post(key("new"), "m 1\n", clock.wall))
    assert len(asked) < 1000
    for _ in range(3000):
        await asyncio.sleep(0)
    assert len(asked) == 2001
    clock.advance(9)
    assert len(await shown(gateway, expiry)) == 2001
    assert expiry.expired == 0
    clock.advance(1)
    await expiry.settle()
    assert expiry.expired == 2001


async def test_expired_groups_are_logged_the_first_of_many(caplog):
    caplog.set_level(logging.INFO)
    clock = Clock()
    gateway, expiry = started(clock, rules(forget_after=10))
    for number in range(30):
        await gateway.apply(put(key(f"j{number:02}"), "m 1\n", clock.wall))
    clock.advance(10)
    assert await shown(gateway, expiry) == {}
    assert expiry.expired == 30
    logged = [record for record in caplog.records if "forgotten" in record.message]
    assert [getattr(record, "group", None) for record in logged][:2] == [
        '{job="j00"}',
        '{job="j01"}',
    ]
    assert (len(logged), logged[-1].more) == (21, 10)


def load(gateway: Gateway, count: int, time: int, prefix: str = "j") -> None:
    store = gateway.store
    for number in range(count):
        store.apply(store.admit(put(key(f"{prefix}{number:04}"), "m 1\n", time)))


async def test_many_groups_expire_in_batches_of_which_a_reader_waits_for_the_last(caplog):
    caplog.set_level(logging.INFO)
    clock, journal = Clock(), Batches()
    gateway, expiry = started(clock, rules(forget_after=10), journal)
    load(gateway, 2 * EXPIRED_AT_ONCE + 1, clock.wall)
    clock.advance(10)
    assert await shown(gateway, expiry) == {}
    assert journal.sizes == [EXPIRED_AT_ONCE, EXPIRED_AT_ONCE, 1]
    assert expiry.expired == expiry.forgotten_by[""] == 2 * EXPIRED_AT_ONCE + 1
    logged = [record for record in caplog.records if "forgotten" in record.message]
    assert (len(logged), logged[-1].more) == (21, expiry.expired - 20)
    await gateway.close()


class SlowDisk(Batches):
    """A journal that takes its time for each batch, until it may hurry."""

    def __init__(self) -> None:
        super().__init__()
        self.may_hurry = threading.Event()

    def append(self, steps):
        self.may_hurry.wait(0.05)
        super().append(steps)


async def test_a_reader_sees_what_is_left_when_all_batches_together_take_too_long(monkeypatch):
    monkeypatch.setattr(store_module, "EXPIRED_AT_ONCE", 1)
    clock, disk = Clock(), SlowDisk()
    gateway, expiry = started(clock, rules(forget_after=10), disk)
    load(gateway, 20, clock.wall)
    clock.advance(10)
    with monkeypatch.context() as patch:
        patch.setattr(expiry_module, "_SETTLE_SECONDS", 0.5)
        assert 0 < len(await shown(gateway, expiry)) < 20
    disk.may_hurry.set()
    await expiry.settle_all()
    assert await shown(gateway, expiry) == {}
    await gateway.close()


async def test_what_becomes_due_between_two_batches_is_not_shown_either():
    clock = Clock()
    gateway, expiry = started(clock, rules(ttl=10), Batches())
    load(gateway, EXPIRED_AT_ONCE + 1, clock.wall)
    load(gateway, 1, clock.wall + SECOND, prefix="late")
    clock.advance(10)
    expiry.begin()
    clock.advance(1)
    assert set(map(str, (await shown(gateway, expiry)).values())) == {"{}"}
    assert expiry.expired == EXPIRED_AT_ONCE + 2
    await gateway.close()


async def test_a_push_waits_for_one_batch_and_takes_only_what_had_expired_from_its_group():
    clock, journal = Clock(), Batches()
    gateway, expiry = started(clock, rules(ttl=10), journal)
    count = 4 * EXPIRED_AT_ONCE
    load(gateway, count, clock.wall)
    clock.advance(10)
    last = key(f"j{count - 1:04}")
    expiry.begin(last)
    await gateway.apply(post(last, "new 1\n", clock.wall))
    assert len(journal.sizes) <= 2
    assert expiry.expired == EXPIRED_AT_ONCE + 1
    assert content(gateway.store.get(last)) == {"new": [b"1"]}
    found = await shown(gateway, expiry)
    assert found.pop(last.job) == {"new": [b"1"]}
    assert set(map(str, found.values())) == {"{}"}
    assert expiry.expired == count
    await gateway.close()


async def test_what_is_due_stays_when_the_journal_fails_and_goes_later_and_is_counted_once():
    clock, journal = Clock(), Batches(fail_after=1)
    gateway, expiry = started(clock, rules(ttl=10), journal)
    load(gateway, 3 * EXPIRED_AT_ONCE, clock.wall)
    clock.advance(10)
    found = await shown(gateway, expiry)
    assert [*found.values()].count({}) == expiry.expired == EXPIRED_AT_ONCE
    journal.left = 1000
    assert set(map(str, (await shown(gateway, expiry)).values())) == {"{}"}
    assert expiry.expired == 3 * EXPIRED_AT_ONCE
    await gateway.close()


async def test_a_gateway_that_is_closed_finishes_the_batch_and_leaves_the_rest_for_the_next_start():
    clock, journal = Clock(), Batches()
    gateway, expiry = started(clock, rules(ttl=10), journal)
    load(gateway, 3 * EXPIRED_AT_ONCE, clock.wall)
    clock.advance(10)
    expiry.begin()
    await gateway.close()
    assert journal.sizes == [EXPIRED_AT_ONCE]
    assert expiry.expired == EXPIRED_AT_ONCE
    expiry.tick()
    assert gateway.waiting == 0


async def test_what_is_due_is_no_reason_to_refuse_a_push():
    clock = Clock()
    gateway, expiry = started(clock, rules(forget_after=10), Batches())
    load(gateway, 2 * EXPIRED_AT_ONCE, clock.wall)
    clock.advance(10)
    counter = put(key("new"), "# TYPE m counter\nm 1\n", clock.wall)
    expiry.begin(counter.key)
    await gateway.apply(counter)
    assert await shown(gateway, expiry) == {"new": {"m": [b"1"]}}
    assert gateway.store.get(counter.key).last_push_successful
    await gateway.close()


async def test_what_is_due_does_not_fill_the_server():
    clock = Clock()
    full = Bounds(groups=2 * EXPIRED_AT_ONCE)
    gateway, expiry = started(clock, rules(forget_after=10), Batches(), full)
    load(gateway, full.groups, clock.wall)
    clock.advance(10)
    await gateway.apply(put(key("new"), "m 1\n", clock.wall))
    assert await shown(gateway, expiry) == {"new": {"m": [b"1"]}}
    await gateway.close()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("n 1 1700000000000\n", InconsistentPush),
        ("n 1\nn 1\n", InconsistentPush),
        ("# TYPE m counter\nm 1\nm 1\n", InconsistentPush),
        ("# TYPE n_count gauge\nn_count 1\n# TYPE n summary\nn_sum 1\n", InconsistentPush),
        ("n 1\no 1\np 1\nq 1\n", LimitExceeded),
    ],
)
async def test_a_push_that_is_wrong_by_itself_does_not_wait_for_all_that_is_due(body, error):
    clock = Clock()
    bounds = Bounds(series_per_push=3)
    gateway, expiry = started(clock, rules(ttl=10), Batches(), bounds)
    count = 4 * EXPIRED_AT_ONCE
    load(gateway, count, clock.wall)
    clock.advance(10)
    wrong = put(key("new"), body, clock.wall)
    expiry.begin(wrong.key)
    with pytest.raises(error):
        await gateway.apply(wrong)
    assert expiry.expired < count
    await expiry.settle()
    assert expiry.expired == count
    await gateway.close()


@pytest.mark.parametrize("fail_after", [1, 1000])
async def test_a_push_that_is_wrong_anyway_is_refused_once(fail_after):
    clock = Clock()
    journal = Batches(fail_after)
    gateway, expiry = started(clock, rules(ttl=10), journal)
    load(gateway, 3 * EXPIRED_AT_ONCE, clock.wall)
    await gateway.apply(put(key("other"), "n 1\n", clock.wall + 5 * SECOND))
    clock.advance(10)
    counter = put(key("new"), "# TYPE n counter\nn 1\n", clock.wall)
    expiry.begin(counter.key)
    with pytest.raises(InconsistentPush if fail_after == 1000 else JournalFailed):
        await gateway.apply(counter)
    assert gateway.waiting == 0
    if fail_after == 1000:
        await expiry.settle()
        assert [one.is_accepted for one in gateway.store.get(counter.key).attempts] == [False]
    await gateway.close()


def test_many_groups_expire_in_slices():
    store = Store(rules=rules(ttl=1))
    for number in range(200):
        store.apply(store.admit(put(key(f"j{number}"), "m 1\n", START)))
    slices = list(store.admission(Expire(START + SECOND)))
    assert len(slices) >= 200


async def test_a_schedule_does_not_grow_with_groups_that_come_and_go():
    clock = Clock()
    gateway, _ = started(clock, rules(ttl=3600))
    for number in range(3000):
        await gateway.apply(put(key(f"j{number}"), "m 1\n", clock.wall))
        await gateway.apply(Delete(key(f"j{number}")))
    assert len(gateway.store._schedule._heap) <= 1001


def test_a_schedule_does_not_grow_with_attempts_to_expire_that_fail():
    store = Store(rules=rules(ttl=1, forget_after=10))
    for number in range(EXPIRED_AT_ONCE):
        store.apply(store.admit(put(key(f"j{number}"), "m 1\n", START)))
    for _ in range(20):
        steps = store.admit(Expire(START + SECOND))
        assert len(steps) == EXPIRED_AT_ONCE
        finished(store.withdrawal(reversed(steps)))
    assert len(store._schedule._heap) <= 2 * EXPIRED_AT_ONCE + 1000


class SlowTwin:
    """What should be there: every group is looked at whenever time passes."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.groups: dict[str, list] = {}

    def age(self, now: int) -> None:
        for job, (metrics, pushed, failed) in list(self.groups.items()):
            rule = self.rules.of(key(job))
            last = max(pushed, failed)
            if rule.forget_after and now - last >= rule.forget_after:
                del self.groups[job]
            elif metrics and rule.ttl and now - pushed >= rule.ttl:
                self.groups[job][0] = {}

    def push(self, job: str, now: int, name: str, *, replace: bool) -> None:
        metrics, _, failed = self.groups.get(job, ({}, 0, 0))
        self.groups[job] = [{name: [b"1"]} if replace else {**metrics, name: [b"1"]}, now, failed]

    def fail(self, job: str, now: int) -> None:
        metrics, pushed, _ = self.groups.get(job, ({}, 0, 0))
        self.groups[job] = [metrics, pushed, now]

    def shown(self) -> dict:
        return {job: metrics for job, (metrics, _, _) in sorted(self.groups.items())}


class Named:
    """Selects groups by the first letter of their job."""

    def __init__(self, letters: str) -> None:
        self.letters = letters

    def matches(self, labels) -> bool:
        return dict(labels)["job"][0] in self.letters


_DURATIONS = st.sampled_from([0, 5, 10, 20, 50])


@st.composite
def some_rules(draw) -> Rules:
    def rule(selector) -> Rule:
        ttl, forget_after = draw(_DURATIONS) * SECOND, draw(_DURATIONS) * SECOND
        forget_after = max(ttl, forget_after) if forget_after else 0
        return Rule(selector=selector, ttl=ttl, forget_after=forget_after)

    letters = draw(st.lists(st.sampled_from(["a", "ab", "c"]), max_size=3))
    return Rules(tuple(rule(Named(some)) for some in letters), rule(None))


_ACTIONS = st.one_of(
    st.tuples(st.just("push"), st.sampled_from("abcd"), st.sampled_from("mn"), st.booleans()),
    st.tuples(st.just("fail"), st.sampled_from("abcd")),
    st.tuples(st.just("delete"), st.sampled_from("abcd")),
    st.tuples(st.just("pass"), st.sampled_from([1, 4, 5, 6, 11, 40])),
    st.tuples(st.just("rules"), some_rules()),
    st.tuples(st.just("look")),
)


@few_large_examples
@given(some_rules(), st.lists(_ACTIONS, max_size=40), st.sampled_from([1, 2, 500]), st.booleans())
def test_groups_expire_as_in_a_slow_twin(first_rules, actions, at_once, is_durable):
    async def play() -> None:
        clock, twin = Clock(), SlowTwin(first_rules)
        gateway, expiry = started(clock, first_rules, ForgetfulJournal() if is_durable else None)
        for action in [*actions, ("look",)]:
            expiry.begin(key(action[1]) if action[0] in {"push", "fail"} else None)
            twin.age(clock.wall)
            match action:
                case ("push", job, name, replace):
                    push = put if replace else post
                    await gateway.apply(push(key(job), f"{name} 1\n", clock.wall))
                    twin.push(job, clock.wall, name, replace=replace)
                case ("fail", job):
                    await gateway.apply(Fail(key(job), clock.wall))
                    twin.fail(job, clock.wall)
                case ("delete", job):
                    await gateway.apply(Delete(key(job)))
                    twin.groups.pop(job, None)
                case ("pass", seconds):
                    clock.advance(seconds)
                case ("rules", rules):
                    gateway.govern(rules)
                    twin.rules = rules
                case _:
                    assert await shown(gateway, expiry) == twin.shown()
        await gateway.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "EXPIRED_AT_ONCE", at_once)
        asyncio.run(play())
