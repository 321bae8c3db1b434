"""Gateways whose journals do what the test wants, when it wants it."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import asynccontextmanager

from pushgate.errors import JournalFailed
from pushgate.server.store.bounds import Bounds
from pushgate.server.store.change import Change
from pushgate.server.store.gateway import Gateway
from pushgate.server.store.rules import NO_RULES, Rules
from pushgate.server.store.store import News, Step, Store
from tests.server.journals import ForgetfulJournal
from tests.server.pushes import content


class Disk(ForgetfulJournal):
    """A journal that waits for the test, and fails when the test wants it to."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Step]] = []
        self.error: Exception | None = None
        self.is_closed = False
        self.is_gone = False
        self.left_to_tidy = 0
        self.arrived = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)

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


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)


class History:
    """What several servers have appended, in one order, in the memory of the test."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.steps: list[tuple[Step, ...]] = []
        self.order: list[tuple[Recorder, int]] = []
        """Who took each turn, and how many changes it had settled before."""


class Shared(ForgetfulJournal):
    """A journal that one of several servers uses, which fails when the test wants it to."""

    is_shared = True

    def __init__(self, history: History, recorder: "Recorder") -> None:
        self.history = history
        self.recorder = recorder
        self.seen = 0
        self.pauses: Iterator[float] = iter(())
        self.failures: list[Exception] = []
        self.is_away = False
        self.looks = 0

    def begin(self) -> News | None:
        time.sleep(next(self.pauses, 0))
        if self.is_away:
            raise JournalFailed("nobody answers")
        self.history.turn.acquire()
        return self.news(in_turn=True)

    def check(self) -> News | None:
        self.looks += 1
        if self.is_away:
            raise JournalFailed("nobody answers")
        return self.news(in_turn=False)

    def news(self, *, in_turn: bool) -> News | None:
        new = self.history.steps[self.seen :]
        self.seen += len(new)
        if not new:
            return None
        groups = {step.key.packed: step.after for turn in new for step in turn}
        keys = [(step.once, step.after.pushed_at) for turn in new for step in turn if step.once]
        return News([*groups.items()], keys, in_turn=in_turn)

    def append(self, steps: Sequence[Step]) -> None:
        time.sleep(next(self.pauses, 0))
        try:
            if self.failures:
                failure = self.failures.pop()
                if isinstance(failure, JournalFailed) and failure.unknown:
                    self.history.steps.append(tuple(steps))
                raise failure
            self.history.steps.append(tuple(steps))
            self.history.order.append((self.recorder, self.recorder.gateway.journal.turn_changes))
            self.seen += 1
        finally:
            self.history.turn.release()


class Recorder:
    """A gateway, the sizes of its turns, and what it answered, in order."""

    def __init__(self, history: History, rules: Rules = NO_RULES, bounds: Bounds | None = None):
        self.journal = Shared(history, self)
        self.gateway = Gateway(Store(bounds=bounds, rules=rules), self.journal)
        self.answers: list[tuple[Change, Exception | None]] = []

    def submit(self, change: Change) -> None:
        self.gateway.submit(change, lambda error: self.answers.append((change, error)))

    def state(self) -> list[tuple]:
        return [
            (group.key, group.pushed_at, group.failed_at, content(group))
            for group in self.gateway.store.groups()
        ]


@asynccontextmanager
async def sharing(count: int, rules: Rules = NO_RULES, bounds: Bounds | None = None):
    history = History()
    servers = [Recorder(history, rules, bounds) for _ in range(count)]
    for each in servers:
        each.gateway.start()
    yield servers
    for each in servers:
        await asyncio.wait_for(each.gateway.close(), 10)
        assert each.gateway.waiting == 0
