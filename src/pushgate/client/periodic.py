"""Periodic pushes, from a thread or for asyncio."""

import math
import os
import random
import threading
import time
from collections.abc import Awaitable, Iterator
from typing import Any, Literal, Self, TypeAlias

from pushgate.client.operation import finished
from pushgate.client.options import checked_seconds, wrong_type
from pushgate.errors import ConfigurationError
from pushgate.log import Level, log

Final: TypeAlias = Literal["push", "delete"] | None


class Schedule:
    """Periodic pushes, and how the last ones went; a subclass waits in between.

    Attributes:
        last_success: When a push last succeeded, in seconds since the epoch, or None.
        consecutive_failures: How many pushes have failed since.
    """

    def __init__(self, gateway: Any, interval: float, jitter: float, final: Final) -> None:
        if checked_seconds("interval", interval) is None:
            raise wrong_type("interval", "seconds", interval)
        share: object = jitter  # whatever the caller says it is
        if not isinstance(share, int | float) or not 0 <= share < 1:
            raise ConfigurationError(
                "jitter: expecting a share of the interval, at least 0 and below 1", key="jitter"
            )
        # A misspelled one must not delete the group.
        if final not in ("push", "delete", None):
            raise ConfigurationError("final: expecting 'push', 'delete' or None", key="final")
        self._gateway, self._final = gateway, final  # of either kind
        self._interval, self._jitter = interval, jitter
        self.last_success: float | None = None
        self.consecutive_failures = 0

    def _pauses(self) -> Iterator[float]:
        """Yield the seconds until the next push. A push that overruns skips the missed ones."""
        started = time.monotonic()
        while True:
            now = time.monotonic()
            # Counted from the start, so that pushes do not drift by what each of them takes.
            ticks = math.floor((now - started) / self._interval) + 1
            # Random, so that programs that started together do not push together.
            late = random.uniform(0, self._jitter * self._interval)  # noqa: S311  no secret
            yield started + ticks * self._interval + late - now

    async def _call(self, what: Final) -> None:
        """Push, delete, or do nothing; an error is logged and does not stop the schedule."""
        if what is None:
            return
        try:
            gateway = self._gateway
            result = gateway.push_unattended() if what == "push" else gateway.delete()
            if isinstance(result, Awaitable):
                await result
        except Exception as error:  # noqa: BLE001  whatever a collector raises, too
            self.consecutive_failures += 1
            # Not at each push: a gateway that is down for a night would fill the log.
            level: Level = "warning" if self.consecutive_failures == 1 else "debug"
            log(level, "a periodic push failed: %s", error)
        else:
            if self.consecutive_failures:
                log("warning", "pushing works again after %d failures", self.consecutive_failures)
            self.last_success, self.consecutive_failures = time.time(), 0


class PeriodicPusher(Schedule):
    """Pushes from a daemon thread; see :meth:`PushGateway.periodic`.

    An error never stops it. A forked child does not push.
    """

    def __enter__(self) -> Self:
        self._owner = os.getpid()
        self._stopping = threading.Event()
        self._gateway.__enter__()
        self._thread = threading.Thread(target=self._work, name="pushgate", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # A forked child leaves the block, too, but the last push is its parent's.
        if os.getpid() != self._owner:
            return
        self._stopping.set()
        # The last push comes after the thread's, so that it has the final values.
        self._thread.join()
        try:
            finished(self._call(self._final))
        finally:
            self._gateway.__exit__()

    def _work(self) -> None:
        for pause in self._pauses():
            if self._stopping.wait(min(pause, threading.TIMEOUT_MAX)):
                return
            finished(self._call("push"))
