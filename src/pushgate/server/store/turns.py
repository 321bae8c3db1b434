"""The journal's thread: it appends what was admitted, in turns, and asks what is new.

Changes that are admitted while a batch is on its way to the disk form the next batch. Where several
servers share a journal, a turn may bring news. Then the gateway withdraws everything that waits,
takes in the news, and admits again what was withdrawn; the turn goes on with the result.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import monotonic

from pushgate.errors import JournalFailed
from pushgate.model.slices import PER_SLICE
from pushgate.server.storage.journal import Journal, TurnLost
from pushgate.server.store.change import Change
from pushgate.server.store.store import News, Step

_log = logging.getLogger(__name__)

# For how long at most a batch waits for clients that were just answered.
_MAX_GATHERING_SECONDS = 0.0003
# How often a turn may be lost before its changes are refused.
_MAX_LOST = 3

Done = Callable[[Exception | None], None]
"""Called on the event loop when a change is durable and visible, or why it is not."""

Question = asyncio.Future[JournalFailed | None]
"""Whether memory is as current as the journal: None, or why that is not known."""


@dataclass(slots=True)
class Waiting:
    """A change that is not yet settled, and the result of its last admission."""

    change: Change
    done: Done
    out: list[Step] | None
    steps: list[Step] = field(default_factory=list)
    answer: Exception | None = None
    was_postponed: bool = False

    def settle(self, error: Exception | None) -> None:
        """Tell the submitter that the change is durable and visible, or why it is not.

        If that fails, perhaps for lack of memory, it is logged: others still have to be told.
        """
        if self.out is not None:
            self.out += self.steps
        try:
            self.done(error)
        except Exception:  # noqa: BLE001
            _log.exception("could not answer a change")


def is_long(batch: list[Waiting]) -> bool:
    """Return whether *batch* is applied in slices, while the journal's thread waits."""
    return sum(len(waiting.steps) for waiting in batch) > PER_SLICE


@dataclass(slots=True)
class JournalState:
    """What is known of the journal. Anyone may read it.

    The journal's thread writes it. A reader that waited for too long also writes ``is_connected``.

    Attributes:
        is_connected: whether the journal answered when it was last asked what is new.
        current_at: when memory was last known to have what all servers had acknowledged, by the
            monotonic clock.
        has_failed: whether the last attempt to write or find the journal failed.
        failures: how many attempts have failed.
        turns: how many batches were appended.
        turn_seconds: how long all turns took, including the wait for them.
        turn_changes: how many changes were settled in turns.
    """

    is_connected: bool = True
    current_at: float = field(default_factory=monotonic)
    has_failed: bool = False
    failures: int = 0
    turns: int = 0
    turn_seconds: float = 0.0
    turn_changes: int = 0


@dataclass(slots=True)
class _Turn:
    """The task of the journal's thread: append *batch*, and answer *questions*."""

    batch: list[Waiting]
    questions: list[Question]
    began: float = field(default_factory=monotonic)
    lost: int = 0


class Turns:
    """Appends batches to a journal in a thread. Use it from one event loop, after the start."""

    def __init__(
        self,
        journal: Journal,
        state: JournalState,
        written: Callable[["Turns", list[Waiting], JournalFailed | None], None],
        renew: Callable[["Turns", list[Waiting], News], None],
    ) -> None:
        """Append to *journal*, and call *written* and *renew* on the event loop.

        Args:
            journal: used by the thread only, until the end.
            state: is kept up to date.
            written: applies and answers a batch, or withdraws everything that is not durable.
                After an error or a long batch, the thread waits for :meth:`go_on`.
            renew: takes in news before a batch; the thread waits for :meth:`put_renewed`.
        """
        self._journal = journal
        self._state = state
        self._written = written
        self._renew = renew
        self._inbox: deque[Waiting] = deque()
        self._expected, self._gathered_at = 0, 0.0
        self._is_busy = False
        self._calls: SimpleQueue[bool] = SimpleQueue()  # False: the last one
        self._questions: deque[Question] = deque()
        self._renewed: SimpleQueue[list[Waiting]] = SimpleQueue()
        self._settled = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Start the thread; call it on the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Append what is left, and close the journal."""
        self._calls.put(False)
        await asyncio.to_thread(self._thread.join)
        self._journal.close()

    def add(self, waiting: Waiting) -> None:
        """Append what was admitted, in one of the next turns."""
        self._inbox.append(waiting)
        if len(self._inbox) == 1:
            # In the next iteration of the loop, so that what else arrived in this one goes along.
            self._loop.call_soon(self._call)

    def take(self) -> list[Waiting]:
        """Take what waits for the journal by now, in order.

        The thread does so for a turn, and the gateway while the thread waits for it.
        """
        out: list[Waiting] = []
        with suppress(IndexError):  # the loop may add to it meanwhile
            while True:
                out.append(self._inbox.popleft())
        return out

    def go_on(self) -> None:
        """Let the thread take the next turn: the last batch is applied or withdrawn."""
        self._settled.release()

    def put_renewed(self, batch: list[Waiting]) -> None:
        """Go on with the turn that brought news: now *batch* is to be appended."""
        self._renewed.put(batch)

    def probe(self) -> None:
        """Find out whether the journal works, unless there is something to append."""
        if self._calls.empty():
            self._calls.put(True)

    def question(self) -> Question:
        """Return a question to the journal that has not been asked yet; readers share it."""
        try:
            return self._questions[-1]
        except IndexError:
            question: Question = self._loop.create_future()
            self._questions.append(question)
            self._calls.put(True)
            return question

    def _call(self) -> None:
        """Call the thread to take what is in the inbox, unless it is busy.

        A batch costs about the same whatever its size, and clients that were just answered are
        likely to push again. So it waits for as many changes as there were last time, but not
        longer than the last turn took. A single client does not wait.
        """
        if self._is_busy or not self._inbox:
            return
        if len(self._inbox) < self._expected and monotonic() < self._gathered_at:
            self._loop.call_soon(self._call)
            return
        self._is_busy = True
        self._calls.put(True)

    def _finish(self, turn: _Turn, error: JournalFailed | None) -> None:
        """Have the batch of *turn* answered; then its clients, and what came meanwhile, go on."""
        # First, so that later changes have their turn even if this batch cannot be applied.
        self._is_busy = False
        if self._inbox:
            self._loop.call_soon(self._call)
        if turn.batch or error is not None:
            now = monotonic()
            self._expected = len(turn.batch) + len(self._inbox)
            self._gathered_at = now + min(now - turn.began, _MAX_GATHERING_SECONDS)
            self._written(self, turn.batch, error)

    # From here on in the thread.

    def _write(self) -> None:
        """Append batches as they come, and tidy between them."""
        while self._calls.get():
            # Readers may append a question meanwhile; only this thread removes any.
            questions = [self._questions.popleft() for _ in range(len(self._questions))]
            self._take_turn(_Turn(self.take(), questions))
            while self._tidy() and self._calls.empty():
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
        self._note_outage(error)
        # Later batches were admitted on top of this one. They must not be written before the loop
        # has withdrawn them, nor be applied before all of this one is.
        has_to_wait = error is not None or is_long(turn.batch)
        self._loop.call_soon_threadsafe(self._finish, turn, error)
        if error is not None:
            self._answer(turn, error)
        if has_to_wait:
            self._settled.acquire()

    def _is_carried_out(self, turn: _Turn) -> bool:
        """Do the next part of *turn*; return whether it was the last."""
        journal = self._journal
        is_turn = bool(turn.batch) or self._state.has_failed
        news = journal.begin() if is_turn else journal.check()
        if news is not None:
            self._loop.call_soon_threadsafe(self._renew, self, turn.batch, news)
            turn.batch = self._renewed.get()
            is_turn = news.in_turn
        elif is_turn:
            turn.batch += self.take()  # what arrived while others had the turn
        self._answer(turn, None)
        if not is_turn:
            return not (turn.batch or self._state.has_failed)
        try:
            journal.append([step for waiting in turn.batch for step in waiting.steps])
        except TurnLost as error:
            turn.lost += 1
            if turn.lost == _MAX_LOST:
                raise JournalFailed(str(error)) from error
            return False
        self._state.turns += 1
        self._state.turn_changes += len(turn.batch)
        self._state.turn_seconds += monotonic() - turn.began
        return True

    def _answer(self, turn: _Turn, error: JournalFailed | None) -> None:
        """Answer the questions of *turn*: memory is as current as the journal, unless *error*."""
        self._state.is_connected = error is None
        if error is None:
            self._state.current_at = turn.began
        if turn.questions:
            # If there was news, it is in memory by now: the thread has waited for the renewal.
            self._loop.call_soon_threadsafe(_settle, turn.questions, error)
            turn.questions = []

    def _note_outage(self, error: JournalFailed | None) -> None:
        """Note the state of the journal, and log when an outage begins and ends."""
        if error is not None:
            self._state.failures += 1
        if error is not None and not self._state.has_failed:
            _log.error(
                "the journal cannot be written; pushes are refused until it can",
                extra={"err": error.cause},
            )
        elif error is None and self._state.has_failed:
            _log.info("the journal can be written again")
        self._state.has_failed = error is not None

    def _tidy(self) -> bool:
        try:
            return self._journal.tidy()
        except Exception:  # noqa: BLE001
            # Nobody waits for housekeeping, but everybody would wait for a thread that has died.
            _log.exception("housekeeping of the journal failed")
            return False


def _settle(questions: list[Question], error: JournalFailed | None) -> None:
    for question in questions:
        if not question.done():  # else all its readers have hung up
            question.set_result(error)
