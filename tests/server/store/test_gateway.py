"""The gateway: admit, append, apply, answer, in this order, whatever happens between."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import asynccontextmanager

import pytest

from pushgate.errors import InconsistentPush, JournalFailed, LimitExceeded
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store.change import Delete, Wipe
from pushgate.server.store.gateway import Gateway
from pushgate.server.store.group import Group
from pushgate.server.store.store import Bounds, Step, Store
from tests.server.pushes import content, key, post, put

pytestmark = pytest.mark.anyio


class Disk:
    """A journal that waits for the test, and fails when the test wants it to."""

    is_shared = False

    def __init__(self) -> None:
        self.batches: list[Sequence[Step]] = []
        self.error: Exception | None = None
        self.is_closed = False
        self.is_gone = False
        self.left_to_tidy = 0
        self.arrived = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)

    def load(self) -> list[Group]:
        return []

    def begin(self) -> None:
        pass

    def append(self, steps: Sequence[Step]) -> None:
        self.arrived.release()
        assert self.may_go_on.acquire(timeout=10)
        if self.error:
            raise self.error
        self.batches.append(steps)

    def check(self) -> None:
        if self.is_gone:
            raise JournalFailed("the file is gone")

    def tidy(self) -> bool:
        self.left_to_tidy = max(0, self.left_to_tidy - 1)
        return bool(self.left_to_tidy)

    def close(self) -> None:
        self.is_closed = True

    async def is_asked(self) -> None:
        """Return when an append has begun."""
        assert await asyncio.to_thread(self.arrived.acquire, timeout=10)

    def go_on(self, error: Exception | None = None) -> None:
        """Let one append finish, or fail with *error*."""
        self.error = error
        self.may_go_on.release()


@asynccontextmanager
async def running(disk: Disk, bounds: Bounds | None = None):
    gateway = Gateway(Store(bounds=bounds), disk)
    gateway.start()
    yield gateway
    assert gateway.waiting == 0
    await gateway.close()
    assert disk.is_closed


async def submitted(gateway: Gateway, *changes) -> list[asyncio.Task]:
    """Start a push for each of *changes*; return when all are admitted."""
    tasks = [asyncio.create_task(gateway.apply(one)) for one in changes]
    await asyncio.sleep(0)
    return tasks


def shown(gateway: Gateway) -> dict:
    return {group.key.job: content(group) for group in gateway.store.groups()}


async def results(tasks: list[asyncio.Task]) -> list:
    done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    return [type(result) if result else None for result in done]


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
        assert await results(pushes) == [None, InconsistentPush]
        assert shown(gateway) == {"a": {"m": [b"1"]}, "b": {}}


async def test_a_second_delete_is_answered_after_the_first_is_durable():
    disk = Disk()
    async with running(disk) as gateway:
        push = await submitted(gateway, put(key("a"), ""))
        await disk.is_asked()
        disk.go_on()
        await results(push)
        deletes = await submitted(gateway, Delete(key("a")), Delete(key("a")), Wipe())
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


async def test_a_real_journal(tmp_path):
    path = tmp_path / "pushgate.db"
    gateway = Gateway(Store(), SqliteJournal(path))
    gateway.start()
    pushes = [gateway.apply(put(key(str(i)), f"m {i}\n")) for i in range(50)]
    assert await results([asyncio.ensure_future(push) for push in pushes]) == [None] * 50
    await gateway.close()
    journal = SqliteJournal(path)
    store = Store()
    store.load(journal.load())
    journal.close()
    assert [content(group) for group in store.groups()] == list(shown(gateway).values())


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
        assert gateway.journal_failures == 1


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)


async def test_an_outage_is_logged_once_with_its_cause_and_once_when_it_is_over(caplog):
    caplog.set_level("INFO")
    disk = Disk()
    async with running(disk) as gateway:
        for error in (JournalFailed("disk full"), JournalFailed("disk full"), None):
            pushes = await submitted(gateway, put(key("a"), "m 1\n"))
            await disk.is_asked()
            disk.go_on(error)
            await results(pushes)
        assert gateway.journal_failures == 2
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


async def test_housekeeping_goes_on_between_pushes_until_it_is_done():
    disk = Disk()
    async with running(disk) as gateway:
        disk.left_to_tidy = 10
        gateway.probe()
        await until(lambda: disk.left_to_tidy == 0)
        assert gateway.is_ready
