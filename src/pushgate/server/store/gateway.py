"""One store, one journal, one writer: admit, journal, apply, answer.

All changes pass through here, on the event loop. They are admitted at once, and appended by the
journal's thread, in batches, so one sync serves all pushes that arrive meanwhile, and the disk
never waits for answers to be sent. A long admission is done in slices, and later changes wait for
it; so is the application of a change of many groups. The order of the steps in
:meth:`Gateway.submit` and :meth:`Gateway._written` is the durability guarantee.

Where several servers share a journal, each batch is appended in a turn, and a turn may bring news.
Then everything that waits is withdrawn, the news is taken in, and what was withdrawn is admitted
again, against the new state of all servers: see :meth:`Gateway._renewal`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import monotonic, perf_counter

from pushgate.errors import ConflictingPush, InconsistentPush, JournalFailed, StaleCopy, StoreFull
from pushgate.model.slices import PER_SLICE, Sliced, releasing
from pushgate.server.storage.journal import Journal
from pushgate.server.store.change import Change, Fail, Push
from pushgate.server.store.group import Failure
from pushgate.server.store.rules import Rules
from pushgate.server.store.store import News, Step, Store
from pushgate.server.store.turns import Done, JournalState, Turns, Waiting, is_long

_log = logging.getLogger(__name__)

# For how long an admission keeps the event loop from other work.
_SLICE_SECONDS = 0.003
# How much a group keeps of the reason why a push was refused, in characters.
_MAX_REASON = 1000

# For how long a reader waits for the journal before it gets what is in memory. Prometheus gives up
# after ten seconds by default.
_READ_SECONDS = 4.0
# How long a shared journal, which is asked each second, may take for an answer until this server is
# not ready. A server that freezes in its turn makes the others wait for 5 seconds.
_SILENT_SECONDS = 6.0


class Gateway:
    """The write side of the server. Use it from one event loop, between start and close."""

    def __init__(
        self, store: Store, journal: Journal | None = None, max_staleness: float = float("inf")
    ) -> None:
        """Serve *store*; without a *journal*, changes are only in memory.

        For *max_staleness* seconds, readers are served while a shared journal does not answer.
        """
        self.store = store
        self.journal = JournalState()
        """What is known of the journal."""
        self._turns: Turns | None = None
        if journal is not None:
            self._turns = Turns(journal, self.journal, self._written, self._renew)
        self.is_shared = journal is not None and journal.is_shared
        """Whether other servers also change what is served."""
        self.call_after_expiry: Callable[[Callable[[], None]], bool] = lambda _: False
        """Calls its argument when what is due has expired; returns False if nothing is due."""
        self._max_staleness = max_staleness
        self._broken: JournalFailed | None = None
        self._is_broken = asyncio.Event()
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
        return self._turns is not None

    @property
    def is_ready(self) -> bool:
        """Whether the last attempt to write the journal succeeded, and a shared one answers."""
        is_silent = self.copy_age >= _SILENT_SECONDS
        return not (is_silent or self.journal.has_failed or self._broken is not None)

    @property
    def copy_age(self) -> float:
        """How many seconds ago memory was known to have what all servers had acknowledged."""
        return monotonic() - self.journal.current_at if self.is_shared else 0.0

    @property
    def waiting(self) -> int:
        """How many changes are not yet answered."""
        return self._unsettled + len(self._work)

    def start(self) -> None:
        """Start the journal's thread; call it on the event loop."""
        if self._turns is not None:
            self._turns.start()

    async def close(self) -> None:
        """Finish what was admitted, then close the journal. Nothing may be submitted any more."""
        self.is_closing = True
        await self._idle.wait()
        if self._turns is not None:
            await self._turns.close()

    def submit(self, change: Change, done: Done, steps: list[Step] | None = None) -> None:
        """Admit *change* and call *done* when it is settled, maybe before returning.

        A push that the store refuses is recorded in its group, durably, before *done*
        gets the :exc:`InconsistentPush`. The steps of the change are added to *steps* before.
        """
        waiting = Waiting(change, done, steps)
        is_in_turn = not self._work and self._broken is None
        admitted = self.store.admit_quickly(change) if is_in_turn else None
        if admitted is None:
            self._enqueue(self._admission(waiting))
            return
        waiting.steps = admitted
        if self._turns is not None:
            self._pass_on(waiting, self._turns)
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

    def _enqueue(self, work: Sliced[None], *, is_next: bool = False) -> None:
        """Do *work* after all that waits, or next, before the admissions that have not begun."""
        self._work.insert(1 if is_next else len(self._work), work)
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

    def _admission(self, waiting: Waiting) -> Sliced[None]:
        if self._broken is not None:
            waiting.settle(self._broken)
            return
        yield from self._admit(waiting)
        if isinstance(waiting.answer, ConflictingPush | StoreFull) and self._postpone(waiting):
            yield from self.store.withdrawal(reversed(waiting.steps))
        elif self._turns is None or self._is_answered_at_once(waiting):
            yield from self._application(waiting)
        else:
            self._pass_on(waiting, self._turns)

    def _postpone(self, waiting: Waiting) -> bool:
        """Admit again, once, what was refused because of other groups, if any are due.

        Returns whether that will happen.
        """

        def again() -> None:
            self._unsettled -= 1
            self._enqueue(self._admission(waiting))

        if waiting.was_postponed or not self.call_after_expiry(again):
            return False
        self._unsettled += 1
        waiting.was_postponed = True
        return True

    def _application(self, waiting: Waiting) -> Sliced[None]:
        """Make visible what was admitted, and answer."""
        yield from self.store.application(waiting.steps)
        waiting.settle(waiting.answer)
        yield from releasing(waiting.steps)

    def _pass_on(self, waiting: Waiting, turns: Turns) -> None:
        """Hand what was admitted to the journal."""
        self._idle.clear()
        self._unsettled += 1
        turns.add(waiting)

    def _admit(self, waiting: Waiting) -> Sliced[None]:
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

    def _is_answered_at_once(self, waiting: Waiting) -> bool:
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
        if self._turns is not None and not self._unsettled:
            self._turns.probe()

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
        if self._turns is None or not self.is_shared:
            return 0.0
        try:
            async with asyncio.timeout(_READ_SECONDS):
                # Shielded, because readers share the question.
                failure = await asyncio.shield(self._turns.question())
        except TimeoutError:
            self.journal.is_connected = False
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

    def _renew(self, turns: Turns, batch: list[Waiting], news: News) -> None:
        self._enqueue(self._renewal(turns, batch, news), is_next=True)

    def _renewal(self, turns: Turns, batch: list[Waiting], news: News) -> Sliced[None]:
        """Take in *news* before *batch* and everything that was admitted after it.

        These were admitted against a state that is no longer the last one. They are admitted again
        in the same order, and their answers may be different.
        """
        self.news_groups += len(news.groups)
        self.reloads += news.is_all
        batch = [*batch, *turns.take()]
        try:
            # From the last to the first: each step is undone on the state that it made.
            for waiting in reversed(batch):
                yield from self.store.withdrawal(reversed(waiting.steps))
            yield from self.store.renewal(news)
        except Exception as error:  # noqa: BLE001 - the journal's thread waits
            turns.put_renewed([])
            self._break(batch, error)
            return
        for waiting in batch:
            yield from self._admit(waiting)
        turns.put_renewed(batch)

    def _break(self, unsettled: list[Waiting], error: Exception) -> None:
        """Admit nothing any more: half of a change of the store may have been made."""
        cause = f"what is in memory is not known to be what is stored: {error!r}"
        self._broken = JournalFailed(f"{cause}; the server has to start anew", unknown=True)
        _log.critical("the store is broken", exc_info=error)
        self._is_broken.set()
        self._settle_broken(unsettled)

    def _settle_broken(self, unsettled: list[Waiting]) -> None:
        for waiting in unsettled:
            waiting.settle(self._broken)
        self._unsettled -= len(unsettled)
        self._note_if_idle()

    def _written(self, turns: Turns, batch: list[Waiting], error: JournalFailed | None) -> None:
        """Apply and answer a batch that is durable, or withdraw everything that is not."""
        if self._broken is not None:
            if error is not None or is_long(batch):
                turns.go_on()
            self._settle_broken(batch)
            return
        if error is not None:
            self._enqueue(self._withdrawal(turns, batch, error), is_next=True)
        elif is_long(batch):
            self._enqueue(self._long_application(turns, batch), is_next=True)
        else:
            for waiting in batch:
                self.store.apply(waiting.steps)
                waiting.settle(waiting.answer)
            self._unsettled -= len(batch)
            self._note_if_idle()

    def _long_application(self, turns: Turns, batch: list[Waiting]) -> Sliced[None]:
        """Apply and answer *batch*, for which the journal's thread waits."""
        for waiting in batch:
            yield from self._application(waiting)
        turns.go_on()
        self._unsettled -= len(batch)

    def _withdrawal(self, turns: Turns, batch: list[Waiting], error: JournalFailed) -> Sliced[None]:
        """Undo *batch* and what was admitted after it: memory must not run ahead of the disk."""
        behind = turns.take()
        try:
            for waiting in reversed([*batch, *behind]):
                yield from self.store.withdrawal(reversed(waiting.steps))
                waiting.steps = []
        except Exception as broken:  # noqa: BLE001 - the journal's thread waits
            turns.go_on()
            self._break([*batch, *behind], broken)
            return
        turns.go_on()
        never_written = JournalFailed(error.cause)  # not ``unknown``, even if the batch is
        for waiting in batch:
            waiting.settle(error)
        for waiting in behind:
            waiting.settle(never_written)
        self._unsettled -= len(batch) + len(behind)

    def _note_if_idle(self) -> None:
        if not self.waiting:
            self._idle.set()
