"""Lets groups expire when they are due, going by a clock that may be wrong."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from pushgate.model.slices import PER_SLICE
from pushgate.server.store.change import Expire
from pushgate.server.store.gateway import Gateway
from pushgate.server.store.store import Step

_log = logging.getLogger(__name__)

# How far the clock may have gained on the monotonic one since the last look. NTP corrects it in
# smaller steps; a larger one may be a mistake.
_MAX_STEP = 10 * 10**9
_SECOND_LOOK = 60 * 10**9
_MAX_LOGGED = 20
_SETTLE_SECONDS = 4.0

Clock = Callable[[], int]
"""Returns nanoseconds."""


class Expiry:
    """Lets the groups of a gateway expire. Use it on the gateway's event loop.

    A clock that jumps forward is believed at once, unless more than half of all groups would
    expire. Then it is believed only if it still says the same a minute later; until then, the
    monotonic clock counts on from the last time that was believed.

    Attributes:
        expired: how many groups have lost their metrics.
        expired_by, forgotten_by: how many groups have lost their metrics and how many were
            deleted, by the selector of their rule; the default rule is the empty string.
    """

    def __init__(
        self, gateway: Gateway, wall: Clock = time.time_ns, monotonic: Clock = time.monotonic_ns
    ) -> None:
        self.expired = 0
        self.expired_by: Counter[str] = Counter()
        self.forgotten_by: Counter[str] = Counter()
        self._gateway = gateway
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._doubted_since: int | None = None
        self._last: asyncio.Task[None] | None = None

    def tick(self) -> None:
        """Look at the clock, and let what is due expire. Call it every second.

        A jump is what the clock has gained on the monotonic one since the last look.
        """
        self._believed_time()
        self.begin()

    def begin(self) -> None:
        """Let what is due expire, before any change that is submitted later. Takes below 1 µs."""
        first = self._gateway.store.first_due
        if first is None or first > (now := self._believed_time()):
            return
        steps: list[Step] = []
        applied: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._gateway.submit(Expire(now), applied.set_result, steps)
        self._last = asyncio.create_task(self._account(applied, steps))

    async def settle(self) -> None:
        """Let what is due expire, and return when it is no longer visible.

        If the journal fails or hangs, it stays visible: a full disk must not end all scrapes.
        """
        self.begin()
        if self._last is not None:
            with suppress(TimeoutError):
                # Shielded, because others wait for the same task.
                async with asyncio.timeout(_SETTLE_SECONDS):
                    await asyncio.shield(self._last)

    async def _account(self, applied: asyncio.Future[Exception | None], steps: list[Step]) -> None:
        """Wait until *steps* are *applied*, then count and log them, some hundreds at a time."""
        if await applied is not None:
            return
        counts: Counter[str] = Counter()
        while steps:
            for step in steps[:PER_SLICE]:
                text = self._count(step)
                counts[text] += 1
                if counts[text] <= _MAX_LOGGED:
                    _log.info(text, extra={"group": str(step.key)})
            del steps[:PER_SLICE]
            await asyncio.sleep(0)
        for text, count in counts.items():
            if count > _MAX_LOGGED:
                _log.info(f"{text}; and others", extra={"more": count - _MAX_LOGGED})

    def _count(self, step: Step) -> str:
        """Count *step* and return what happened."""
        rule = str(self._gateway.store.rules.of(step.key).selector or "")
        if step.before and step.before.blocks:
            self.expired += 1
            self.expired_by[rule] += 1
        if step.after is not None:
            return "metrics of a group expired"
        self.forgotten_by[rule] += 1
        return "a group was forgotten"

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
        store = self._gateway.store
        due = store.due(wall)
        if 2 * due <= len(store):
            return True
        self._doubted_since = monotonic
        _log.warning(
            "the clock jumped forward, and more than half of all groups would expire; "
            "they stay unless it says the same in a minute",
            extra={"groups": due, "seconds": (wall - monotonic - self._offset) // 10**9},
        )
        return False
