"""The journal's thread: which changes share a turn, and what becomes of one that fails."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from pushgate.errors import JournalFailed
from pushgate.server.storage.journal import TurnLost
from pushgate.server.store import turns
from pushgate.server.store.store import News, Step
from pushgate.server.store.turns import JournalState, Turns, Waiting
from tests.server.journals import ForgetfulJournal
from tests.server.pushes import key, put
from tests.server.store.gateways import Disk, results, running, sharing, shown, submitted, until

pytestmark = pytest.mark.anyio


async def test_pushes_that_arrive_together_share_one_append():
    disk = Disk()
    async with running(disk) as gateway:
        first = await submitted(gateway, put(key("a"), "m 1\n"), put(key("b"), "m 2\n"))
        await disk.is_asked()
        later = await submitted(gateway, *[put(key(str(i)), "m 1\n") for i in range(9)])
        disk.go_on()
        await disk.is_asked()
        disk.go_on()
        assert await results([*first, *later]) == [None] * 11
    assert [len(batch) for batch in disk.batches] == [2, 9]


async def test_clients_that_push_again_once_they_are_answered_share_every_append(monkeypatch):
    monkeypatch.setattr(turns, "_MAX_GATHERING_SECONDS", 10)
    batches = []

    class Slow(Disk):
        def append(self, steps: Sequence[Step]) -> None:
            time.sleep(0.1)  # for as long as that, a batch waits for others to come
            batches.append(len(steps))

    async with running(Slow()) as gateway:

        async def client(number: int) -> None:
            for _ in range(3):
                await gateway.apply(put(key(f"{number}"), "m 1\n"))
                for _ in range(number):  # later than the others
                    await asyncio.sleep(0)

        await asyncio.gather(*map(client, range(5)))
    assert batches == [5, 5, 5]


async def test_a_failed_journal_is_tried_again_without_a_push():
    """Where readiness steers the traffic, a gateway that is not ready gets no pushes."""
    disk = Disk()
    async with running(disk) as gateway:
        refused = await submitted(gateway, put(key("a"), "m 1\n"))
        await disk.is_asked()
        disk.go_on(JournalFailed("no space"))
        assert await results(refused) == [JournalFailed]
        assert not gateway.is_ready

        gateway.probe()
        await disk.is_asked()
        disk.go_on()
        await gateway.close()
        assert gateway.is_ready


async def test_a_journal_that_works_is_looked_at_and_left_alone():
    disk = Disk()
    async with running(disk) as gateway:
        gateway.probe()
        assert gateway.waiting == 0
    assert disk.batches == []


async def test_a_file_that_is_gone_is_noticed_without_a_push(caplog):
    disk = Disk()
    async with running(disk) as gateway:
        disk.is_gone = True
        gateway.probe()
        await until(lambda: not gateway.is_ready)
        disk.is_gone = False
        gateway.probe()
        await disk.is_asked()
        disk.go_on()
        await until(lambda: gateway.is_ready)
        assert gateway.journal.failures == 1


async def test_an_outage_is_logged_once_with_its_cause_and_once_when_it_is_over(caplog):
    caplog.set_level("INFO")
    disk = Disk()
    async with running(disk) as gateway:
        for error in (JournalFailed("disk full"), JournalFailed("disk full"), None):
            pushes = await submitted(gateway, put(key("a"), "m 1\n"))
            await disk.is_asked()
            disk.go_on(error)
            await results(pushes)
        assert gateway.journal.failures == 2
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("ERROR", "the journal cannot be written; pushes are refused until it can"),
        ("INFO", "the journal can be written again"),
    ]
    assert caplog.records[0].err == "disk full"


async def test_only_what_was_being_written_has_an_unknown_outcome():
    disk = Disk()
    async with running(disk) as gateway:
        first = await submitted(gateway, put(key("a"), "m 1\n"))
        await disk.is_asked()
        later = await submitted(gateway, put(key("b"), "m 2\n"))
        disk.go_on(JournalFailed("EIO", unknown=True))
        errors = await asyncio.gather(*first, *later, return_exceptions=True)
        assert [error.unknown for error in errors] == [True, False]
        assert "unknown" in str(errors[0])
        assert shown(gateway) == {}


async def test_pushes_go_on_when_housekeeping_fails(monkeypatch, caplog):
    disk = Disk()

    def fails() -> bool:
        raise RuntimeError("a bug")

    monkeypatch.setattr(disk, "tidy", fails)
    async with running(disk) as gateway:
        for _ in range(2):
            pushes = await submitted(gateway, put(key("a"), "m 1\n"))
            await disk.is_asked()
            disk.go_on()
            assert await results(pushes) == [None]
    assert "housekeeping of the journal failed" in caplog.text


async def test_an_answer_that_fails_keeps_no_other_push_waiting(caplog):
    def fails(_: Exception | None) -> None:
        raise MemoryError

    disk = Disk()
    async with running(disk) as gateway:
        gateway.submit(put(key("a"), "m 1\n"), fails)
        for job in "bc":
            pushes = await submitted(gateway, put(key(job), "m 1\n"))
            await disk.is_asked()
            disk.go_on()
            assert await results(pushes) == [None]
    assert shown(gateway).keys() == {"a", "b", "c"}
    assert "could not answer a change" in caplog.text


async def test_a_batch_that_cannot_be_applied_keeps_no_later_one_waiting(monkeypatch):
    written, failed = [], []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_exception_handler", failed.append)

    def apply(_: Turns, batch: list[Waiting], __: JournalFailed | None) -> None:
        written.append(batch)
        if len(written) == 1:
            raise MemoryError

    thread = Turns(ForgetfulJournal(), JournalState(), apply, lambda *_: None)
    thread.start()
    batches = [[Waiting(put(key(job), "m 1\n"), lambda _: None, None)] for job in "ab"]
    for number, batch in enumerate(batches, 1):
        thread.add(*batch)
        await until(lambda number=number: len(written) == number)
    await thread.close()
    assert written == batches
    assert [type(one["exception"]) for one in failed] == [MemoryError]


async def test_housekeeping_goes_on_between_pushes_until_it_is_done():
    disk = Disk()
    async with running(disk) as gateway:
        disk.left_to_tidy = 10
        gateway.probe()
        await until(lambda: disk.left_to_tidy == 0)
        assert gateway.is_ready


async def test_what_comes_while_others_have_the_turn_goes_into_the_next_one():
    async with sharing(1) as (one,):
        history = one.journal.history
        with history.turn:
            first = await submitted(one.gateway, put(key("a"), "m 1\n"))
            await until(one.gateway._turns._calls.empty)  # it waits for the turn
            later = await submitted(one.gateway, put(key("b"), "m 1\n"), put(key("c"), "m 1\n"))
            await asyncio.sleep(0.01)
            reader = asyncio.create_task(one.gateway.caught_up())
            await asyncio.sleep(0.01)
        assert await results([*first, *later, reader]) == [None] * 4
        assert [len(steps) for steps in history.steps] == [3]


async def test_a_turn_that_was_lost_is_taken_again():
    async with sharing(2) as (one, other):
        one.journal.failures = [TurnLost("cut")] * 2
        await asyncio.gather(
            one.gateway.apply(put(key("a"), "m 1\n")), other.gateway.apply(put(key("b"), "m 1\n"))
        )
        one.journal.failures = [TurnLost("cut")] * 3
        with pytest.raises(JournalFailed, match="cut; the push is not stored"):
            await one.gateway.apply(put(key("c"), "m 1\n"))
        await one.gateway.caught_up()
        await other.gateway.caught_up()
        assert {group.key.job for group in one.gateway.store.groups()} == {"a", "b"}
        assert one.state() == other.state()


async def test_a_failed_journal_is_tried_again_after_news_that_took_the_turn(monkeypatch):
    async with sharing(2) as (one, other):
        one.journal.failures = [JournalFailed("the disk is full")] * 2
        with pytest.raises(JournalFailed):
            await one.gateway.apply(put(key("a"), "m 1\n"))
        await other.gateway.apply(put(key("b"), "m 1\n"))

        def look() -> News | None:
            monkeypatch.undo()
            return one.journal.check()

        monkeypatch.setattr(one.journal, "begin", look)
        one.gateway.probe()
        await until(lambda: one.gateway.is_ready or one.gateway.journal.failures == 2)
        assert not one.gateway.is_ready
        assert one.state() == other.state()
        one.gateway.probe()
        await until(lambda: one.gateway.is_ready)
