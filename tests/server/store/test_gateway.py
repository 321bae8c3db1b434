"""The gateway: admit, append, apply, answer, in this order, whatever happens between."""

import asyncio
from collections.abc import Iterator
from itertools import cycle, islice

import pytest
from hypothesis import given, settings, strategies as st

from pushgate.errors import (
    ConflictingPush,
    InconsistentPush,
    JournalFailed,
    LimitExceeded,
    StaleCopy,
)
from pushgate.server.storage.journal import TurnLost
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store import gateway as gateway_module
from pushgate.server.store.aggregation import Aggregation, Operation
from pushgate.server.store.bounds import Bounds
from pushgate.server.store.change import Change, Delete, Fail, Merge, Replace, Update
from pushgate.server.store.expiry import Expiry
from pushgate.server.store.gateway import Gateway
from pushgate.server.store.rules import Rule, Rules
from pushgate.server.store.selector import parse_selector
from pushgate.server.store.store import EXPIRED_AT_ONCE, Store
from tests.server.pushes import content, key, post, pushed, put, wipe
from tests.server.store.gateways import (
    Disk,
    History,
    Recorder,
    results,
    running,
    sharing,
    shown,
    submitted,
    until,
)

pytestmark = pytest.mark.anyio


async def test_a_push_is_visible_and_answered_only_when_it_is_on_disk():
    disk = Disk()
    async with running(disk) as gateway:
        (push,) = await submitted(gateway, put(key("a"), "m 1\n"))
        await disk.is_asked()
        assert (push.done(), shown(gateway), gateway.waiting) == (False, {}, 1)
        disk.go_on()
        await asyncio.wait_for(push, 10)
        assert (shown(gateway), gateway.waiting) == ({"a": {"m": [b"1"]}}, 0)


@pytest.mark.parametrize("error", [JournalFailed("the disk is full"), OSError("pulled out")])
async def test_when_the_journal_fails_everything_admitted_is_withdrawn(error):
    disk = Disk()
    async with running(disk) as gateway:
        first = await submitted(gateway, put(key("a"), "# TYPE m gauge\nm 1\n"))
        await disk.is_asked()
        later = await submitted(gateway, put(key("b"), "# TYPE m gauge\nm 2\n"))
        assert gateway.is_ready
        disk.go_on(error)
        assert await results([*first, *later]) == [JournalFailed] * 2
        assert (gateway.is_ready, shown(gateway), gateway.store.series) == (False, {}, 0)

        again = await submitted(gateway, put(key("c"), "# TYPE m counter\nm 3\n"))
        await disk.is_asked()
        disk.go_on()
        assert await results(again) == [None]
        assert (gateway.is_ready, shown(gateway)) == (True, {"c": {"m": [b"3"]}})


async def test_a_refused_push_is_recorded_durably_before_it_is_answered():
    disk = Disk()
    async with running(disk) as gateway:
        (push,) = await submitted(gateway, put(key("a"), "m 1\nm 2\n", 7))
        await disk.is_asked()
        assert not push.done()
        disk.go_on()
        assert await results([push]) == [InconsistentPush]
    ((step,),) = disk.batches
    assert (step.after.failed_at, step.after.pushed_at) == (7, 0)


async def test_a_push_is_checked_against_those_before_it():
    disk = Disk()
    async with running(disk) as gateway:
        pushes = await submitted(
            gateway, put(key("a"), "# TYPE m gauge\nm 1\n"), post(key("b"), "m 1\n")
        )
        await disk.is_asked()
        disk.go_on()
        assert await results(pushes) == [None, ConflictingPush]
        assert shown(gateway) == {"a": {"m": [b"1"]}, "b": {}}


async def test_a_second_delete_is_answered_after_the_first_is_durable():
    disk = Disk()
    async with running(disk) as gateway:
        push = await submitted(gateway, put(key("a"), ""))
        await disk.is_asked()
        disk.go_on()
        await results(push)
        deletes = await submitted(gateway, Delete(key("a")), Delete(key("a")), wipe(gateway.store))
        await disk.is_asked()
        assert not any(one.done() for one in deletes)
        disk.go_on(JournalFailed("full"))
        assert await results(deletes) == [JournalFailed] * 3
        assert shown(gateway) == {"a": {}}


async def test_what_changes_nothing_is_answered_at_once():
    disk = Disk()
    async with running(disk, Bounds(series=1)) as gateway:
        await gateway.apply(Delete(key("a")))
        with pytest.raises(LimitExceeded):
            await gateway.apply(put(key("a"), "m 1\nn 1\n"))
    assert disk.batches == []


async def test_close_finishes_what_was_admitted():
    disk = Disk()
    gateway = Gateway(Store(), disk)
    gateway.start()
    first = await submitted(gateway, put(key("a"), ""))
    await disk.is_asked()
    second = await submitted(gateway, put(key("b"), ""))
    closing = asyncio.create_task(gateway.close())
    for _ in range(2):
        disk.go_on()
    await asyncio.wait_for(closing, 10)
    assert await results([*first, *second]) == [None, None]
    assert (len(disk.batches), disk.is_closed) == (2, True)


async def test_a_client_that_hangs_up_disturbs_nobody():
    disk = Disk()
    async with running(disk) as gateway:
        pushes = await submitted(gateway, put(key("a"), "m 1\n"), put(key("b"), "m 2\n"))
        await disk.is_asked()
        pushes[0].cancel()
        disk.go_on()
        assert await results(pushes) == [asyncio.CancelledError, None]
        assert shown(gateway).keys() == {"a", "b"}


async def test_without_a_journal_changes_are_made_at_once():
    gateway = Gateway(Store())
    gateway.start()
    await gateway.apply(put(key("a"), "m 1\n"))
    with pytest.raises(InconsistentPush):
        await gateway.apply(put(key("b"), "m 1\nm 1\n"))
    assert shown(gateway) == {"a": {"m": [b"1"]}, "b": {}}
    await gateway.close()


async def test_many_groups_go_a_few_at_a_time_and_later_pushes_wait(monkeypatch):
    monkeypatch.setattr(gateway_module, "_SLICE_SECONDS", 0)
    disk = Disk()
    async with running(disk) as gateway:
        for number in range(2000):
            gateway.store.apply(gateway.store.admit(put(key(str(number)), "m 1\n")))
        (deletion,) = await submitted(gateway, wipe(gateway.store))
        await disk.is_asked()
        (push,) = await submitted(gateway, put(key("1999"), "m 2\n"))
        disk.go_on()
        disk.go_on()
        left = set()
        while not deletion.done():
            await asyncio.sleep(0)
            left.add(len(gateway.store))
        assert len(left) > 5
        assert await results([push]) == [None]
        assert shown(gateway) == {"1999": {"m": [b"2"]}}


async def test_a_real_journal(tmp_path):
    path = tmp_path / "pushgate.db"
    gateway = Gateway(Store(), SqliteJournal(path))
    gateway.start()
    pushes = [gateway.apply(put(key(str(i)), f"m {i}\n")) for i in range(50)]
    assert await results([asyncio.ensure_future(push) for push in pushes]) == [None] * 50
    await gateway.close()
    journal = SqliteJournal(path)
    store = Store()
    store.load(*journal.load())
    journal.close()
    assert [content(group) for group in store.groups()] == list(shown(gateway).values())


SUM = Aggregation({"counter": Operation.SUM})


async def test_what_one_server_acknowledged_a_reader_of_another_sees():
    async with sharing(2) as (one, other):
        for number in range(5):
            await one.gateway.apply(put(key("a"), f"m {number}\n", number))
            assert other.state() != one.state()
            await other.gateway.caught_up()
            assert other.state() == one.state()
        assert other.gateway.news_groups == 5


async def test_readers_share_a_question_that_was_asked_after_they_came():
    async with sharing(1) as (one,):
        await asyncio.gather(*[one.gateway.caught_up() for _ in range(50)])
        assert 1 <= one.journal.looks <= 2


async def test_a_push_is_checked_against_what_others_have_pushed_since():
    async with sharing(2) as (one, other):
        await one.gateway.apply(put(key("a"), "# TYPE m gauge\nm 1\n"))
        with pytest.raises(InconsistentPush):
            await other.gateway.apply(put(key("b"), "# TYPE m counter\nm 1\n", 7))
        await one.gateway.caught_up()
        assert one.gateway.store.get(key("b")).failed_at == 7
        await one.gateway.apply(Delete(key("a")))
        await other.gateway.apply(put(key("b"), "# TYPE m counter\nm 1\n"))


async def test_an_answer_that_changes_nothing_is_that_of_the_turn():
    """What another server has deleted, or made, this one may not know yet."""
    async with sharing(2, bounds=Bounds(groups=1)) as (one, other):
        await one.gateway.apply(put(key("a"), "m 1\n"))
        await other.gateway.apply(Delete(key("a")))  # of which it knew nothing
        await one.gateway.apply(put(key("b"), "m 1\n"))  # where it thought that there is no room
        with pytest.raises(LimitExceeded):
            await other.gateway.apply(put(key("c"), "m 1\n"))
        assert [group.key.job for group in other.gateway.store.groups()] == ["b"]


async def test_a_push_is_counted_once_whichever_servers_get_it():
    sums = Rules((Rule(aggregate=SUM),))
    async with sharing(2, sums) as (one, other):
        push = post(key("a"), "# TYPE m counter\nm 1\n")._replace(once=b"k")
        one.journal.failures = [JournalFailed("cut", unknown=True)]
        with pytest.raises(JournalFailed, match="unknown"):
            await one.gateway.apply(push)
        for each in (other, one, other):
            await each.gateway.apply(push)
        await one.gateway.apply(push._replace(once=b"l"))
        await other.gateway.caught_up()
        assert one.state() == other.state() == [(key("a"), 1, 0, {"m": [b"2"]})]


async def test_groups_that_are_due_on_two_servers_expire_once():
    count, now = 2 * EXPIRED_AT_ONCE + 1, 10**12
    async with sharing(2, Rules(default=Rule(ttl=10**9))) as (one, other):
        pushes = [put(key(str(number)), "m 1\n", 1) for number in range(count)]
        await asyncio.gather(*map(one.gateway.apply, pushes))
        await other.gateway.caught_up()
        each = [Expiry(server.gateway, lambda: now, lambda: now) for server in (one, other)]
        await asyncio.gather(*[expiry.settle() for expiry in each])
        assert set(map(str, shown(one.gateway).values())) == {"{}"}
        for server in (one, other):
            await server.gateway.caught_up()
        assert one.state() == other.state()
        assert sum(expiry.expired for expiry in each) == count


async def test_news_that_cannot_be_taken_in_end_in_an_error_for_everybody(monkeypatch):
    def fails(_news):
        yield
        raise KeyError("no such group")

    async with sharing(2) as (one, other):
        await one.gateway.apply(put(key("a"), "m 1\n"))
        monkeypatch.setattr(other.gateway.store, "renewal", fails)
        with pytest.raises(JournalFailed, match="no such group"):
            await asyncio.wait_for(other.gateway.apply(put(key("b"), "m 1\n")), 10)
        reason = await asyncio.wait_for(other.gateway.broken(), 10)
        assert "has to start anew" in reason.cause
        assert not other.gateway.is_ready
        with pytest.raises(JournalFailed, match="no such group"):
            await asyncio.wait_for(other.gateway.apply(put(key("c"), "m 1\n")), 10)
        with pytest.raises(StaleCopy, match="no such group"):
            await other.gateway.caught_up()
        await one.gateway.apply(put(key("d"), "m 1\n"))  # the others go on
        assert one.gateway.is_ready


async def test_a_withdrawal_that_fails_ends_in_an_error_for_everybody(monkeypatch):
    def fails(_store, _steps):
        yield
        raise KeyError("no such group")

    disk = Disk()
    async with running(disk) as gateway:
        monkeypatch.setattr(Store, "withdrawal", fails)
        tasks = await submitted(gateway, put(key("a"), "m 1\n"))
        await disk.is_asked()
        disk.go_on(JournalFailed("the disk is full"))
        assert await results(tasks) == [JournalFailed]
        assert "no such group" in (await asyncio.wait_for(gateway.broken(), 10)).cause
        assert not gateway.is_ready


async def test_a_server_is_not_ready_while_a_shared_journal_does_not_answer(monkeypatch):
    async with sharing(1) as (one,):
        with one.journal.history.turn, monkeypatch.context() as patch:
            patch.setattr(gateway_module, "_SILENT_SECONDS", 0.01)
            one.submit(put(key("a"), "m 1\n"))
            await until(lambda: not one.gateway.is_ready)
            assert one.gateway.journal.failures == 0
        await until(lambda: one.answers)
        assert one.gateway.is_ready


async def test_while_the_storage_is_away_readers_get_what_is_in_memory_until_it_is_too_old():
    async with sharing(1) as (one,):
        await one.gateway.apply(put(key("a"), "m 1\n"))
        assert one.gateway.journal.is_connected
        assert await one.gateway.caught_up() == 0
        one.journal.is_away = True
        assert 0 < await one.gateway.caught_up() <= one.gateway.copy_age
        assert not one.gateway.journal.is_connected
        one.gateway._max_staleness = 0.0
        with pytest.raises(StaleCopy, match=r"nobody answers; what is in memory is \d+ s old"):
            await one.gateway.caught_up()
        with pytest.raises(JournalFailed):
            await one.gateway.apply(put(key("a"), "m 2\n"))
        one.journal.is_away = False
        await one.gateway.caught_up()
        assert one.gateway.journal.is_connected
        assert one.state() == [(key("a"), 1, 0, {"m": [b"1"]})]


async def test_a_reader_does_not_wait_for_a_storage_that_hangs(monkeypatch):
    async with sharing(1) as (one,):
        with one.journal.history.turn:
            one.submit(put(key("a"), "m 1\n"))
            await asyncio.sleep(0)
            with monkeypatch.context() as patch:
                patch.setattr(gateway_module, "_READ_SECONDS", 0.05)
                await one.gateway.caught_up()
            assert not one.gateway.journal.is_connected
            assert one.state() == []
        await one.gateway.caught_up()
        assert one.gateway.journal.is_connected


groups = st.sampled_from([key("a"), key("b"), key("b", instance="1")])
bodies = st.sampled_from(
    [
        "m 1\n",
        "# TYPE m counter\nm 2\n",
        'm{x="1"} 3\nn 4\n',
        "# TYPE n counter\nn 5\n",
        "m 1\nm 2\n",
    ]
)
changes = (
    st.builds(Replace, groups, bodies.map(pushed), st.integers(1, 9))
    | st.builds(
        Merge, groups, bodies.map(pushed), st.integers(1, 9), once=st.sampled_from([b"", b"k"])
    )
    | st.builds(Update, groups, bodies.map(pushed), st.integers(1, 9))
    | st.builds(Delete, groups)
)
acts = st.tuples(
    st.integers(0, 2), changes | st.sampled_from(["read", "wait", "lost", "away", "wipe"])
)
SUMS_OF_A = Rules((Rule(selector=parse_selector('{job="a"}'), aggregate=SUM),))


@given(
    st.lists(acts, max_size=40),
    st.lists(st.sampled_from([0.0, 0.0, 0.0005, 0.002]), min_size=1, max_size=5),
    st.booleans(),
)
@settings(max_examples=60)
def test_whatever_servers_do_at_the_same_time_is_what_one_would_have_done(
    history, pauses, in_slices
):
    with pytest.MonkeyPatch.context() as patch:
        if in_slices:  # all that is admitted and applied, with a pause after each step
            patch.setattr(gateway_module, "PER_SLICE", 0)
            patch.setattr(gateway_module, "_SLICE_SECONDS", 0)
        asyncio.run(compared_with_a_serial_replay(history, pauses))


async def compared_with_a_serial_replay(history, pauses) -> None:
    bounds = Bounds(groups=2)
    async with sharing(3, SUMS_OF_A, bounds) as servers:
        for number, each in enumerate(servers):
            each.journal.pauses = islice(cycle(pauses), number, None)
        for who, act in history:
            await carry_out(servers[who], act)
        for each in servers:
            each.journal.is_away = False
        for each in servers:
            while each.gateway.waiting:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.001)
        for each in servers:
            each.gateway.probe()
            await each.gateway.caught_up()
        reference = Recorder(History(), SUMS_OF_A, bounds)
        serial = reference.gateway.store
        for answer, change in serial_order(servers):
            assert settled(serial, change) == answer
        assert [each.state() for each in servers] == [reference.state()] * 3
        assert all(each.gateway.store.series == serial.series for each in servers)
        assert all(
            len(each.gateway.store.applied_keys) == len(serial.applied_keys) for each in servers
        )


def serial_order(servers: list[Recorder]) -> Iterator[tuple[str, Change]]:
    """Yield all answers with their changes, in the order of the turns."""
    answers = {
        each: [(str(error), change) for change, error in each.answers
               if not isinstance(error, JournalFailed)]
        for each in servers
    }  # fmt: skip
    order = servers[0].journal.history.order
    for number, (who, start) in enumerate(order):
        later = (before for other, before in order[number + 1 :] if other is who)
        yield from answers[who][start : next(later, None)]


def settled(store: Store, change: Change) -> str:
    """Make *change* visible, or its failure; return the answer."""
    try:
        store.apply(store.admit(change))
    except InconsistentPush as error:
        store.apply(store.admit(Fail(change.key, change.time)))
        return str(error)
    except LimitExceeded as error:
        return str(error)
    return str(None)


async def carry_out(server: Recorder, act) -> None:
    match act:
        case "read":
            await server.gateway.caught_up()
        case "wait":
            await asyncio.sleep(0.002)
        case "lost":
            server.journal.failures = [TurnLost("cut")]
        case "away":
            server.journal.is_away = not server.journal.is_away
        case "wipe":
            server.submit(wipe(server.gateway.store))
        case _:
            server.submit(act)
            await asyncio.sleep(0)
