"""One store, one journal, one writer: admit, journal, apply, answer.

All changes pass through here, on the event loop. Admission is at once; what is admitted
while a batch is on its way to the disk makes the next batch, so one sync serves all
pushes that came in meanwhile. The order of the steps in :meth:`Gateway.submit` and
:meth:`Gateway._written` is the durability guarantee.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

from pushgate.errors import InconsistentPush, JournalFailed, PushgateError
from pushgate.server.change import Change, Fail, Merge, Replace
from pushgate.server.journal import Journal
from pushgate.server.store import Step, Store

Done = Callable[[PushgateError | None], None]
"""Called on the event loop when a change is durable and visible, or why it is not."""


class _Waiting(NamedTuple):
    """An admitted change: its steps, whom to tell, and what."""

    steps: list[Step]
    done: Done
    answer: PushgateError | None


class Gateway:
    """The write side of the server. Use it from one event loop, between start and close."""

    def __init__(self, store: Store, journal: Journal | None = None) -> None:
        """Serve *store*; without *journal* changes are only in memory."""
        self.store = store
        self._journal = journal
        self._inbox: list[_Waiting] = []
        self._in_flight: list[_Waiting] = []
        self._batches: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failed = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_ready(self) -> bool:
        """Whether the last attempt to write the journal succeeded."""
        return not self._failed

    @property
    def waiting(self) -> int:
        """How many changes are admitted and not yet answered."""
        return len(self._inbox) + len(self._in_flight)

    def start(self) -> None:
        """Start the journal's thread; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        if self._journal is not None:
            self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
            self._thread.start()

    async def close(self) -> None:
        """Finish what was admitted, then close the journal. No changes may come any more."""
        await self._idle.wait()
        if self._thread is not None and self._journal is not None:
            self._batches.put(None)
            await asyncio.to_thread(self._thread.join)
            self._journal.close()

    def submit(self, change: Change, done: Done) -> None:
        """Admit *change* and call *done* when it is settled, maybe before returning.

        A push that the store refuses is recorded in its group, durably, before *done*
        gets the :exc:`InconsistentPush`.
        """
        answer: PushgateError | None = None
        try:
            steps = self.store.admit(change)
        except InconsistentPush as error:
            answer = error
            steps = self._record_failure(change)
        except PushgateError as error:
            done(error)
            return
        if self._journal is None or not (steps or self.waiting):
            self.store.apply(steps)
            done(answer)
            return
        self._idle.clear()
        self._inbox.append(_Waiting(steps, done, answer))
        if not self._in_flight and len(self._inbox) == 1:
            # At the end of this turn of the loop: what else arrived in it joins the batch.
            self._running_loop.call_soon(self._send)

    def probe(self) -> None:
        """Try the journal again if it failed and nobody pushes: without pushes it stays failed.

        A balancer that sees ``/-/ready`` fail sends none.
        """
        if self._failed and not self.waiting:
            self._in_flight = [_Waiting([], lambda _: None, None)]
            self._idle.clear()
            self._batches.put(self._in_flight)

    async def apply(self, change: Change) -> None:
        """Admit *change* and return when it is durable and visible.

        Raises:
            InconsistentPush: it contradicts what is stored; the group remembers the failure.
            LimitExceeded: the store is full.
            JournalFailed: it could not be made durable, and is not visible.
        """
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: PushgateError | None) -> None:
            if settled.done():  # the client has hung up
                return
            if error is None:
                settled.set_result(None)
            else:
                settled.set_exception(error)

        self.submit(change, done)
        await settled

    @property
    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the gateway was not started")
        return self._loop

    def _record_failure(self, change: Change) -> list[Step]:
        if isinstance(change, Replace | Merge):
            return self.store.admit(Fail(change.key, change.time))
        return []

    def _send(self) -> None:
        """Hand everything that waits to the journal, as one batch."""
        if self._inbox and not self._in_flight:
            self._in_flight, self._inbox = self._inbox, []
            self._batches.put(self._in_flight)
        elif not self._in_flight:
            self._idle.set()

    def _write(self) -> None:
        """Append batches as they come. Runs in the journal's thread."""
        assert self._journal is not None
        while (batch := self._batches.get()) is not None:
            error = None
            try:
                self._journal.append([step for waiting in batch for step in waiting.steps])
            except JournalFailed as failure:
                error = failure
            except Exception as failure:  # noqa: BLE001 - whatever it is, nobody may be left waiting
                error = JournalFailed(f"the journal failed: {failure!r}")
            self._running_loop.call_soon_threadsafe(self._written, error)

    def _written(self, error: JournalFailed | None) -> None:
        """Apply and answer the batch that is durable, or withdraw everything that is not."""
        batch, self._in_flight = self._in_flight, []
        self._failed = error is not None
        if error is not None:
            self._withdraw([*batch, *self._inbox], error)
            return
        self._send()  # the disk works on the next batch while this one is answered
        for waiting in batch:
            self.store.apply(waiting.steps)
            waiting.done(waiting.answer)

    def _withdraw(self, batch: list[_Waiting], error: JournalFailed) -> None:
        """Undo *batch*: memory may not run ahead of the disk."""
        self._inbox = []
        self._idle.set()
        for waiting in reversed(batch):
            self.store.withdraw(reversed(waiting.steps))
        for waiting in batch:
            waiting.done(error)
