"""Lets groups expire when they are due, going by a clock that may be wrong."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from operator import attrgetter

from pushgate.model.grouping import GroupingKey
from pushgate.server.store.change import Expire
from pushgate.server.store.gateway import Gateway
from pushgate.server.store.store import Step

_log = logging.getLogger(__name__)

# How far the clock may have gained on the monotonic one since the last look. NTP corrects it in
# smaller steps; a larger one may be a mistake.
_MAX_STEP = 10 * 10**9
_SECOND_LOOK = 60 * 10**9
_MAX_LOGGED = 20
# For how long a reader waits for all that is due, and the start of the server for each batch of it.
_SETTLE_SECONDS = 4.0

Clock = Callable[[], int]
"""Returns nanoseconds."""


class Expiry:
    """Lets the groups of a gateway expire. Use it on the gateway's event loop.

    A clock that jumps forward is believed at once, unless more than half of all groups would
    expire; with more than 500 groups, that is estimated from 500 of them. Then it is believed only
    if it still says the same a minute later; until then, the monotonic clock counts on from the
    last time that was believed.

    Attributes:
        expired_by, forgotten_by: how many groups have lost their metrics and how many were
            deleted, by the selector of their rule; the default rule is the empty string.
    """

    def __init__(
        self, gateway: Gateway, wall: Clock = time.time_ns, monotonic: Clock = time.monotonic_ns
    ) -> None:
        self.expired_by: Counter[str] = Counter()
        self.forgotten_by: Counter[str] = Counter()
        self._gateway = gateway
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._doubted_since: int | None = None
        self._is_under_way = False
        self._last: asyncio.Future[None] | None = None
        self._logged: Counter[str] = Counter()
        self._postponed: list[Callable[[], None]] = []
        gateway.call_after_expiry = self._call_after_expiry

    @property
    def expired(self) -> int:
        """How many groups have lost their metrics."""
        return self.expired_by.total()

    def tick(self) -> None:
        """Look at the clock, and let what is due expire. Call it every second.

        A jump is what the clock has gained on the monotonic one since the last look.
        """
        self._believed_time()
        self.begin()

    def begin(self, key: GroupingKey | None = None) -> None:
        """Let what is due expire, the group *key* before any change that is submitted later.

        Takes below 1 µs if nothing is due. Many groups go in batches, one after the other, so that
        a push waits for one of them at most. Only one that would be refused because of other groups
        waits until all that is due is gone.
        """
        first = self._gateway.store.first_due
        if first is None or first > (now := self._believed_time()) or self._gateway.is_closing:
            return
        if not self._is_under_way:
            self._is_under_way = True
            self._submit(Expire(now))
        if key is not None and self._gateway.store.is_due(key, now):
            self._submit(Expire(now, key))

    async def settle(self) -> None:
        """Let what is due expire, and return when it is no longer visible, or after 4 seconds.

        What is left then stays visible, as it does if the journal fails: neither a full disk nor
        many groups must end all scrapes.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                await self.settle_all()

    async def settle_all(self) -> None:
        """Let what is due expire, and return when it is no longer visible, however long it takes.

        Only if the journal fails, or takes 4 seconds for one batch, it stays visible.
        """
        self.begin()
        now = self._believed_time()
        while self._last is not None and not self._last.done():
            is_rest = not self._is_due(now)
            settled, _ = await asyncio.wait((self._last,), timeout=_SETTLE_SECONDS)
            if is_rest or not settled:
                return

    def _is_due(self, now: int) -> bool:
        first = self._gateway.store.first_due
        return first is not None and first <= now and not self._gateway.is_closing

    def _submit(self, change: Expire) -> None:
        steps: list[Step] = []
        self._last = settled = asyncio.get_running_loop().create_future()

        def done(error: Exception | None) -> None:
            self._go_on(change, error, steps)
            settled.set_result(None)  # after the next batch is under way

        self._gateway.submit(change, done, steps)

    def _go_on(self, change: Expire, error: Exception | None, steps: list[Step]) -> None:
        """Count the *steps* of *change*, and submit the next batch of what was due with it."""
        if error is None:
            self._account(steps)
        if change.key is not None:
            return
        if error is None and self._is_due(change.time):
            self._submit(Expire(change.time))
            return
        for text, count in self._logged.items():
            if count > _MAX_LOGGED:
                _log.info(f"{text}; and others", extra={"more": count - _MAX_LOGGED})
        self._logged.clear()
        self._is_under_way = False
        if error is None:
            self.begin()  # what has become due meanwhile
        postponed, self._postponed = self._postponed, []
        for retry in postponed:
            retry()

    def _call_after_expiry(self, retry: Callable[[], None]) -> bool:
        """If anything is due, call *retry* when it is gone, or stays because of the journal."""
        self.begin()
        if self._is_under_way:
            self._postponed.append(retry)
        return self._is_under_way

    def _account(self, steps: list[Step]) -> None:
        """Count and log *steps*, which are durable."""
        for rule, some in groupby(steps, attrgetter("rule")):
            selector = str(rule.selector or "")
            for step in some:
                if step.before and step.before.blocks:
                    self.expired_by[selector] += 1
                text = "metrics of a group expired"
                if step.after is None:
                    self.forgotten_by[selector] += 1
                    text = "a group was forgotten"
                self._logged[text] += 1
                if self._logged[text] <= _MAX_LOGGED:
                    _log.info(text, extra={"group": str(step.key)})

    def _believed_time(self) -> int:
        wall, monotonic = self._wall(), self._monotonic()
        if wall - monotonic - self._offset <= _MAX_STEP or self._is_believable(wall, monotonic):
            self._offset = wall - monotonic
            self._doubted_since = None
        return monotonic + self._offset

    def _is_believable(self, wall: int, monotonic: int) -> bool:
        """Return whether the clock, which has jumped to *wall*, is believed."""
        if self._doubted_since is not None:
            return monotonic - self._doubted_since >= _SECOND_LOOK
        share = self._gateway.store.share_due(wall)
        if share <= 0.5:
            return True
        self._doubted_since = monotonic
        _log.warning(
            "the clock jumped forward, and more than half of all groups would expire; "
            "they stay unless it says the same in a minute",
            extra={
                "percent": round(100 * share),
                "seconds": (wall - monotonic - self._offset) // 10**9,
            },
        )
        return False
