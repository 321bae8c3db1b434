"""One store, one journal, one writer: admit, journal, apply, answer.

All changes pass through here, on the event loop. They are admitted at once. Those that are
admitted while a batch is on its way to the disk form the next batch, so one sync serves all pushes
that arrive meanwhile, and the disk never waits for answers to be sent. A long admission is done in
slices, and later changes wait for it; so is the application of a change of many groups. The order
of the steps in :meth:`Gateway.submit` and :meth:`Gateway._written` is the durability guarantee.

Where several servers share a journal, each batch is appended in a turn, and a turn may bring news.
Then everything that waits is withdrawn, the news is taken in, and what was withdrawn is admitted
again, against the new state of all servers: see :meth:`Gateway._renewal`.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic, perf_counter

from pushgate.errors import InconsistentPush, JournalFailed, StaleCopy
from pushgate.model.slices import PER_SLICE, Sliced, releasing
from pushgate.server.storage.journal import Journal, TurnLost
from pushgate.server.store.change import Change, Fail, Push
from pushgate.server.store.group import Failure
from pushgate.server.store.rules import Rules
from pushgate.server.store.store import News, Step, Store

_log = logging.getLogger(__name__)

# For how long an admission keeps the event loop from other work.
_SLICE_SECONDS = 0.003
# For how many iterations of the event loop a growing batch is held back.
_MAX_HELD_BACK = 16
# How much a group keeps of the reason why a push was refused, in characters.
_MAX_REASON = 1000

# For how long a reader waits for the journal before it gets what is in memory. Prometheus gives up
# after ten seconds by default.
_READ_SECONDS = 4.0
# How often a turn may be lost before its changes are refused.
_MAX_LOST = 3

Done = Callable[[Exception | None], None]
"""Called on the event loop when a change is durable and visible, or why it is not."""

_Question = asyncio.Future[JournalFailed | None]


class _Waiting:
    """A change that is not yet settled, and the result of its last admission."""

    __slots__ = ("_done", "_out", "answer", "change", "steps", "was_postponed")

    def __init__(self, change: Change, done: Done, out: list[Step] | None) -> None:
        self.change = change
        self.steps: list[Step] = []
        self.answer: Exception | None = None
        self.was_postponed = False
        self._done = done
        self._out = out

    def settle(self, error: Exception | None) -> None:
        """Tell the submitter that the change is durable and visible, or why it is not."""
        if self._out is not None:
            self._out += self.steps
        self._done(error)


class _Turn:
    """The task of the journal's thread: append *batch*, and answer *questions*."""

    def __init__(self, batch: list[_Waiting], questions: list[_Question]) -> None:
        self.batch = batch
        self.questions = questions
        self.began = monotonic()
        self.lost = 0


class Gateway:
    """The write side of the server. Use it from one event loop, between start and close."""

    def __init__(
        self, store: Store, journal: Journal | None = None, max_staleness: float = float("inf")
    ) -> None:
        """Serve *store*; without a *journal*, changes are only in memory.

        For *max_staleness* seconds, readers are served while a shared journal does not answer.
        """
        self.store = store
        self._journal = journal
        self.is_shared = journal is not None and journal.is_shared
        """Whether other servers also change what is served."""
        self.postpone: Callable[[Callable[[], None]], bool] = lambda _: False
        """Calls its argument later, when what is due has expired; False if nothing is due."""
        self._max_staleness = max_staleness
        self._inbox: list[_Waiting] = []
        self._seen = self._held_back = 0
        self._batches: SimpleQueue[list[_Waiting] | None] = SimpleQueue()
        self._questions: deque[_Question] = deque()
        self._renewed: SimpleQueue[list[_Waiting]] = SimpleQueue()
        self._settled = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failed = False
        self._broken: JournalFailed | None = None
        self._is_broken = asyncio.Event()
        self._is_connected = True
        self._current_at = monotonic()
        self.journal_failures = 0
        """How many attempts to write or find the journal have failed."""
        self.turns = 0
        """How many batches were appended."""
        self.turn_seconds = 0.0
        """How long all turns took, including the wait for them."""
        self.turn_changes = 0
        """How many changes were settled in turns."""
        self.news_groups = 0
        """How many changed groups came from other servers."""
        self.reloads = 0
        """How often everything had to be loaded anew."""
        self._work: deque[Sliced[None]] = deque()
        self._unsettled = 0
        self.is_closing = False
        """Whether only what was submitted is still finished."""
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def is_durable(self) -> bool:
        """Whether changes are journaled, and not only in memory."""
        return self._journal is not None

    @property
    def is_ready(self) -> bool:
        """Whether the last attempt to write the journal succeeded."""
        return not self._failed and self._broken is None

    @property
    def is_connected(self) -> bool:
        """Whether the journal answered when it was last asked what is new."""
        return self._is_connected

    @property
    def copy_age(self) -> float:
        """How many seconds ago memory was known to have what all servers had acknowledged."""
        return monotonic() - self._current_at if self.is_shared else 0.0

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
        """Finish what was admitted, then close the journal. Nothing may be submitted any more."""
        self.is_closing = True
        await self._idle.wait()
        if self._thread is not None and self._journal is not None:
            self._batches.put(None)
            await asyncio.to_thread(self._thread.join)
            self._journal.close()

    def submit(self, change: Change, done: Done, steps: list[Step] | None = None) -> None:
        """Admit *change* and call *done* when it is settled, maybe before returning.

        A push that the store refuses is recorded in its group, durably, before *done*
        gets the :exc:`InconsistentPush`. The steps of the change are added to *steps* before.
        """
        waiting = _Waiting(change, done, steps)
        is_in_turn = not self._work and self._broken is None
        admitted = self.store.admit_quickly(change) if is_in_turn else None
        if admitted is None:
            self._enqueue(self._admission(waiting))
            return
        waiting.steps = admitted
        if self._journal is not None:
            self._pass_on(waiting)
            return
        self.store.apply(admitted)
        waiting.settle(None)

    def govern(self, rules: Rules) -> None:
        """Put *rules* in force for all changes that are submitted from now on.

        It takes a while until what is due by them begins to expire, and changes do not wait for it.
        """
        self._enqueue(self._portion(self.store.governing(rules)))

    def _portion(self, work: Sliced[None]) -> Sliced[None]:
        """Do some hundreds of steps of *work*, and the rest after the changes that wait."""
        for step, _ in enumerate(work, 1):
            yield
            if step == PER_SLICE:
                self._enqueue(self._portion(work))
                return

    def _enqueue(self, work: Sliced[None]) -> None:
        self._work.append(work)
        if len(self._work) == 1:
            self._work_on()

    def _work_on(self) -> None:
        """Continue the work that has to be done in order, for one slice."""
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

    def _enqueue_first(self, work: Sliced[None]) -> None:
        """Do *work* before the next admission, and after the one that has begun."""
        self._work.insert(min(len(self._work), 1), work)
        if len(self._work) == 1:
            self._work_on()

    def _admission(self, waiting: _Waiting) -> Sliced[None]:
        if self._broken is not None:
            waiting.settle(self._broken)
            return
        yield from self._admit(waiting)
        if waiting.answer is not None and self._is_postponed(waiting):
            yield from self.store.withdrawal(reversed(waiting.steps))
        elif self._is_answered_at_once(waiting):
            yield from self._application(waiting)
        else:
            self._pass_on(waiting)

    def _is_postponed(self, waiting: _Waiting) -> bool:
        """Return whether a push that was refused is admitted again: its rivals may be due."""

        def again() -> None:
            self._unsettled -= 1
            self._enqueue(self._admission(waiting))

        if waiting.was_postponed or not self.postpone(again):
            return False
        self._unsettled += 1
        waiting.was_postponed = True
        return True

    def _application(self, waiting: _Waiting) -> Sliced[None]:
        """Make visible what was admitted, and answer."""
        yield from self.store.application(waiting.steps)
        waiting.settle(waiting.answer)
        yield from releasing(waiting.steps)

    def _pass_on(self, waiting: _Waiting) -> None:
        """Hand what was admitted to the journal."""
        self._idle.clear()
        self._unsettled += 1
        self._inbox.append(waiting)
        if len(self._inbox) == 1:
            # In the next iteration of the loop, so that what else arrived in this one goes along.
            self._running_loop.call_soon(self._send)

    def _admit(self, waiting: _Waiting) -> Sliced[None]:
        waiting.answer = None
        try:
            waiting.steps = yield from self.store.admission(waiting.change)
        except InconsistentPush as error:
            # Its traceback would be in a cycle with the frame that holds the push.
            waiting.answer, waiting.steps = error.with_traceback(None), []
            change = waiting.change
            if isinstance(change, Push):  # the group remembers that it was refused
                failure = Failure(error.explained(_MAX_REASON), change.source)
                failed = Fail(change.key, change.time, failure)
                waiting.steps = yield from self.store.admission(failed)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be left waiting
            waiting.answer, waiting.steps = error, []

    def _is_answered_at_once(self, waiting: _Waiting) -> bool:
        if self._journal is None:
            return True
        # If others write the journal, too, only a turn tells whether there really is nothing to do.
        if waiting.steps or self.is_shared:
            return False
        # A change without effect may repeat one that is not yet durable: it waits for that.
        return waiting.answer is not None or not self._unsettled

    def probe(self) -> None:
        """Find out whether the journal works while nobody pushes; call it every second.

        A journal that failed is tried again, because a balancer that sees ``/-/ready`` fail sends
        no push that would find out.
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

    async def broken(self) -> JournalFailed:
        """Wait until memory may differ from what is stored, and return the reason.

        From then on nothing is admitted. A restart loads everything anew.
        """
        await self._is_broken.wait()
        assert self._broken is not None
        return self._broken

    async def caught_up(self) -> float:
        """Return 0 when everything is visible that any server acknowledged before this call.

        If the journal does not answer, return for how many seconds that has not been certain.

        Raises:
            StaleCopy: for too long.
        """
        if self._broken is not None:
            raise StaleCopy(self._broken.cause)
        if not self.is_shared:
            return 0.0
        try:
            async with asyncio.timeout(_READ_SECONDS):
                # Shielded, because readers share the question.
                failure = await asyncio.shield(self._question())
        except TimeoutError:
            self._is_connected = False
            failure = JournalFailed(f"the database has not answered for {_READ_SECONDS:g} s")
        if failure is None:
            return 0.0
        age = self.copy_age
        if age > self._max_staleness:
            raise StaleCopy(
                f"{failure.cause}; what is in memory is {age:.0f} s old, too old to be shown "
                "(--persistence.max-staleness)"
            )
        return age

    def _question(self) -> _Question:
        """Return a question to the journal that has not been asked yet; readers share it."""
        try:
            return self._questions[-1]
        except IndexError:
            question: _Question = self._running_loop.create_future()
            self._questions.append(question)
            self._batches.put([])
            return question

    @property
    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the gateway was not started")
        return self._loop

    def _send(self) -> None:
        """Hand the inbox to the journal's thread, which may be busy with earlier batches.

        While each iteration of the loop brings more, it is held back for a few iterations, because
        a batch costs about the same whatever its size. A single change does not wait.
        """
        if len(self._inbox) > max(self._seen, 1) and self._held_back < _MAX_HELD_BACK:
            self._seen = len(self._inbox)
            self._held_back += 1
            self._running_loop.call_soon(self._send)
            return
        self._seen = self._held_back = 0
        if self._inbox:
            self._batches.put(self._inbox)
            self._inbox = []

    def _write(self) -> None:
        """Append batches as they come, and tidy between them. Runs in the journal's thread."""
        while (batch := self._batches.get()) is not None:
            batch += self._more()
            # Readers may append a question meanwhile; only this thread removes any.
            questions = [self._questions.popleft() for _ in range(len(self._questions))]
            self._take_turn(_Turn(batch, questions))
            while self._tidy() and self._batches.empty():
                pass

    def _take_turn(self, turn: _Turn) -> None:
        """Append a batch to the order of all changes, or only get the news."""
        error: JournalFailed | None = None
        try:
            while not self._is_carried_out(turn):
                pass
        except JournalFailed as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - whatever it is, nobody may be left waiting
            error = JournalFailed(f"the journal failed: {failure!r}")
        # Later batches were admitted on top of this one. They must not be written before the loop
        # has withdrawn them, nor be applied before all of this one is.
        has_to_wait = error is not None or _is_long(turn.batch)
        if turn.batch or error is not None or self._failed:
            self._running_loop.call_soon_threadsafe(self._written, turn.batch, error)
        if error is not None:
            self._answer(turn, error)
        if has_to_wait:
            self._settled.acquire()

    def _is_carried_out(self, turn: _Turn) -> bool:
        """Do the next part of *turn*; return whether it was the last."""
        journal = self._journal
        assert journal is not None
        is_turn = bool(turn.batch) or self._failed
        news = journal.begin() if is_turn else journal.check()
        if news is not None:
            self._running_loop.call_soon_threadsafe(
                self._enqueue_first, self._renewal(turn.batch, news)
            )
            turn.batch = self._renewed.get()
        elif is_turn:
            turn.batch += self._more()  # what arrived while others had the turn
            if self._questions:
                self._batches.put([])  # asked after the turn began: they need another look
        self._answer(turn, None)
        if not is_turn or (news is not None and not news.in_turn):
            return not turn.batch
        try:
            journal.append([step for waiting in turn.batch for step in waiting.steps])
        except TurnLost as error:
            turn.lost += 1
            if turn.lost == _MAX_LOST:
                raise JournalFailed(str(error)) from error
            return False
        self.turns += 1
        self.turn_changes += len(turn.batch)
        self.turn_seconds += monotonic() - turn.began
        return True

    def _answer(self, turn: _Turn, error: JournalFailed | None) -> None:
        """Answer the questions of *turn*: memory is as current as the journal, unless *error*."""
        self._is_connected = error is None
        if error is None:
            self._current_at = turn.began
        if turn.questions:
            # If there was news, it is in memory by now: the thread has waited for the renewal.
            self._running_loop.call_soon_threadsafe(_settle_questions, turn.questions, error)
            turn.questions = []

    def _tidy(self) -> bool:
        assert self._journal is not None
        try:
            return self._journal.tidy()
        except Exception:  # noqa: BLE001
            # Nobody waits for housekeeping, but everybody would wait for a thread that has died.
            _log.exception("housekeeping of the journal failed")
            return False

    def _more(self) -> list[_Waiting]:
        """Return what else waits for the journal by now."""
        out: list[_Waiting] = []
        with suppress(Empty):
            while (batch := self._batches.get_nowait()) is not None:
                out += batch
            self._batches.put(None)  # the end, which _write() has to see
        return out

    def _recalled(self) -> list[_Waiting]:
        """Take back what the journal's thread, which is waiting, has not taken yet."""
        behind = [*self._more(), *self._inbox]
        self._inbox = []
        if self._questions:
            self._batches.put([])  # their wake-up was taken back with the batches
        return behind

    def _renewal(self, batch: list[_Waiting], news: News) -> Sliced[None]:
        """Take in *news* before *batch* and everything that was admitted after it.

        These were admitted against a state that is no longer the last one. They are admitted again
        in the same order, and their answers may be different.
        """
        self.news_groups += len(news.groups)
        self.reloads += news.is_all
        batch = [*batch, *self._recalled()]
        try:
            # From the last to the first: each step is undone on the state that it made.
            for waiting in reversed(batch):
                yield from self.store.withdrawal(reversed(waiting.steps))
            yield from self.store.renewal(news)
        except Exception as error:  # noqa: BLE001 - the journal's thread waits
            self._renewed.put([])
            self._break(batch, error)
            return
        for waiting in batch:
            yield from self._admit(waiting)
        self._renewed.put(batch)

    def _break(self, unsettled: list[_Waiting], error: Exception) -> None:
        """Admit nothing any more: half of a change of the store may have been made."""
        cause = f"what is in memory is not known to be what is stored: {error!r}"
        self._broken = JournalFailed(f"{cause}; the server has to start anew", unknown=True)
        _log.critical("the store is broken", exc_info=error)
        self._is_broken.set()
        self._settle_broken(unsettled, self._broken)

    def _settle_broken(self, unsettled: list[_Waiting], error: JournalFailed) -> None:
        for waiting in unsettled:
            waiting.settle(error)
        self._unsettled -= len(unsettled)
        self._note_if_idle()

    def _written(self, batch: list[_Waiting], error: JournalFailed | None) -> None:
        """Apply and answer a batch that is durable, or withdraw everything that is not."""
        if self._broken is not None:
            if error is not None or _is_long(batch):
                self._settled.release()
            self._settle_broken(batch, self._broken)
            return
        self._note_outage(error)
        if error is not None:
            self._enqueue_first(self._withdrawal(batch, error))
        elif _is_long(batch):
            self._enqueue_first(self._long_application(batch))
        else:
            for waiting in batch:
                self.store.apply(waiting.steps)
                waiting.settle(waiting.answer)
            self._unsettled -= len(batch)
            self._note_if_idle()

    def _long_application(self, batch: list[_Waiting]) -> Sliced[None]:
        """Apply and answer *batch*, for which the journal's thread waits."""
        for waiting in batch:
            yield from self._application(waiting)
        self._settled.release()
        self._unsettled -= len(batch)

    def _note_outage(self, error: JournalFailed | None) -> None:
        """Note the state of the journal, and log when an outage begins and ends."""
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
        """Undo *batch* and what was admitted after it: memory must not run ahead of the disk."""
        behind = self._recalled()
        try:
            for waiting in reversed([*batch, *behind]):
                yield from self.store.withdrawal(reversed(waiting.steps))
                waiting.steps = []
        except Exception as broken:  # noqa: BLE001 - the journal's thread waits
            self._settled.release()
            self._break([*batch, *behind], broken)
            return
        self._settled.release()
        never_written = JournalFailed(error.cause)  # not ``unknown``, even if the batch is
        for waiting in batch:
            waiting.settle(error)
        for waiting in behind:
            waiting.settle(never_written)
        self._unsettled -= len(batch) + len(behind)

    def _note_if_idle(self) -> None:
        if not self.waiting:
            self._idle.set()


def _is_long(batch: list[_Waiting]) -> bool:
    """Return whether *batch* is applied in slices, while the journal's thread waits."""
    return sum(len(waiting.steps) for waiting in batch) > PER_SLICE


def _settle_questions(questions: list[_Question], error: JournalFailed | None) -> None:
    for question in questions:
        if not question.done():  # else all its readers have hung up
            question.set_result(error)
