"""One store, one journal, one writer: admit, journal, apply, answer.

All changes pass through here, on the event loop. Admission is at once; what is admitted
while a batch is on its way to the disk makes the next batch, so one sync serves all
pushes that came in meanwhile, and the disk never waits for answers to be sent. An
admission that takes long is done in slices, and later changes wait for it. The order
of the steps in :meth:`Gateway.submit` and :meth:`Gateway._written` is the durability
guarantee.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import NamedTuple

from pushgate.errors import InconsistentPush, JournalFailed, PushgateError
from pushgate.model.slices import Sliced
from pushgate.server.storage.journal import Journal
from pushgate.server.store.change import Change, Fail, Push
from pushgate.server.store.group import Failure
from pushgate.server.store.rules import Rules
from pushgate.server.store.store import Step, Store

_log = logging.getLogger(__name__)

# How long an admission keeps the event loop from other work.
_SLICE_SECONDS = 0.003
# What a group keeps of the reason why a push was refused, in characters.
_MAX_REASON = 1000

Done = Callable[[Exception | None], None]
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
        self._batches: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._withdrawn = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failed = False
        self.journal_failures = 0
        """How many attempts to write or find the journal have failed."""
        self._work: deque[Sliced[None]] = deque()
        self._unsettled = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_durable(self) -> bool:
        """Whether changes are journaled, and not only in memory."""
        return self._journal is not None

    @property
    def is_ready(self) -> bool:
        """Whether the last attempt to write the journal succeeded."""
        return not self._failed

    @property
    def waiting(self) -> int:
        """How many changes are not yet answered."""
        return self._unsettled + len(self._work)

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

    def submit(self, change: Change, done: Done, steps: list[Step] | None = None) -> None:
        """Admit *change* and call *done* when it is settled, maybe before returning.

        A push that the store refuses is recorded in its group, durably, before *done*
        gets the :exc:`InconsistentPush`. The steps of the change are added to *steps*.
        """
        self._enqueue(self._admission(change, done, steps))

    def govern(self, rules: Rules) -> None:
        """Put *rules* in force for all changes that are submitted from now on."""
        self._enqueue(self.store.governing(rules))

    def _enqueue(self, work: Sliced[None]) -> None:
        self._work.append(work)
        if len(self._work) == 1:
            self._work_on()

    def _work_on(self) -> None:
        """Go on with what has to be done in order, for one slice."""
        pause = perf_counter() + _SLICE_SECONDS
        while self._work:
            for _ in self._work[0]:
                if perf_counter() >= pause:
                    break
            else:
                self._work.popleft()
            if self._work and perf_counter() >= pause:
                self._idle.clear()
                asyncio.get_running_loop().call_soon(self._work_on)
                return
        self._note_if_idle()

    def _admission(self, change: Change, done: Done, out: list[Step] | None) -> Sliced[None]:
        answer: PushgateError | None = None
        try:
            steps = yield from self.store.admission(change)
            if out is not None:
                out += steps
        except InconsistentPush as error:
            answer = error.with_traceback(None)  # with it, a cycle around the push
            steps = yield from self._record_failure(change, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be left waiting
            done(error)
            return
        if self._journal is None or not (steps or self._unsettled):
            self.store.apply(steps)
            done(answer)
            return
        self._idle.clear()
        self._unsettled += 1
        self._inbox.append(_Waiting(steps, done, answer))
        if len(self._inbox) == 1:
            # At the end of this turn of the loop: what else arrived in it goes along.
            self._running_loop.call_soon(self._send)

    def probe(self) -> None:
        """Find out whether the journal works when nobody pushes; call it each second.

        A journal that failed is tried again: a balancer that sees ``/-/ready`` fail sends no
        push that would find out.
        """
        if self._journal is not None and not self._unsettled and self._batches.empty():
            self._batches.put([])

    async def apply(self, change: Change) -> None:
        """Admit *change* and return when it is durable and visible.

        Raises:
            InconsistentPush: it contradicts what is stored; the group remembers the failure.
            LimitExceeded: the store is full.
            JournalFailed: it could not be made durable, and is not visible.
        """
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
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

    def _record_failure(self, change: Change, error: InconsistentPush) -> Sliced[list[Step]]:
        if isinstance(change, Push):
            failure = Failure(str(error)[:_MAX_REASON], change.source)
            return (yield from self.store.admission(Fail(change.key, change.time, failure)))
        return []

    def _send(self) -> None:
        """Hand what waits to the journal's thread, which may be busy with earlier batches."""
        if self._inbox:
            self._batches.put(self._inbox)
            self._inbox = []

    def _write(self) -> None:
        """Append batches as they come, and tidy between them. Runs in the journal's thread."""
        assert self._journal is not None
        while (batch := self._batches.get()) is not None:
            batch += self._more()
            error = self._append(batch)
            if batch or error is not None or self._failed:
                self._running_loop.call_soon_threadsafe(self._written, batch, error)
            if error is not None:
                self._withdrawn.acquire()  # later batches stand on this one
            while self._tidy() and self._batches.empty():
                pass

    def _tidy(self) -> bool:
        assert self._journal is not None
        try:
            return self._journal.tidy()
        except Exception:  # noqa: BLE001
            # Nobody waits for it, but everybody would for a thread that has died.
            _log.exception("housekeeping of the journal failed")
            return False

    def _more(self) -> list[_Waiting]:
        """Return what else waits for the journal by now."""
        out: list[_Waiting] = []
        with suppress(Empty):
            while (batch := self._batches.get_nowait()) is not None:
                out += batch
            self._batches.put(None)
        return out

    def _append(self, batch: list[_Waiting]) -> JournalFailed | None:
        assert self._journal is not None
        try:
            if batch or self._failed:
                self._journal.append([step for waiting in batch for step in waiting.steps])
            else:
                self._journal.check()
        except JournalFailed as failure:
            return failure
        except Exception as failure:  # noqa: BLE001 - whatever it is, nobody may be left waiting
            return JournalFailed(f"the journal failed: {failure!r}")
        return None

    def _written(self, batch: list[_Waiting], error: JournalFailed | None) -> None:
        """Apply and answer a batch that is durable, or withdraw everything that is not."""
        self._note_outage(error)
        if error is not None:
            # Before the next admission, and after the one that has begun.
            self._work.insert(min(len(self._work), 1), self._withdrawal(batch, error))
            if len(self._work) == 1:
                self._work_on()
            return
        for waiting in batch:
            self.store.apply(waiting.steps)
            waiting.done(waiting.answer)
        self._unsettled -= len(batch)
        self._note_if_idle()

    def _note_outage(self, error: JournalFailed | None) -> None:
        """Keep the state of the journal, and log where an outage begins and ends."""
        if error is not None:
            self.journal_failures += 1
        if error is not None and not self._failed:
            _log.error(
                "the journal cannot be written; pushes are refused until it can",
                extra={"err": error.cause},
            )
        elif error is None and self._failed:
            _log.info("the journal can be written again")
        self._failed = error is not None

    def _withdrawal(self, batch: list[_Waiting], error: JournalFailed) -> Sliced[None]:
        """Undo *batch* and what is admitted behind it: memory may not run ahead of the disk."""
        behind = [*self._more(), *self._inbox]
        self._inbox = []
        for waiting in reversed([*batch, *behind]):
            yield from self.store.withdrawal(reversed(waiting.steps))
        self._withdrawn.release()
        never_written = JournalFailed(error.cause)
        for waiting in batch:
            waiting.done(error)
        for waiting in behind:
            waiting.done(never_written)
        self._unsettled -= len(batch) + len(behind)

    def _note_if_idle(self) -> None:
        if not self.waiting:
            self._idle.set()
