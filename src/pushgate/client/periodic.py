"""Periodic pushes from a thread."""

import logging
import math
import os
import random
import threading
import time
from collections.abc import Iterator
from typing import Literal, Protocol, Self, TypeAlias

from pushgate.client.log import log
from pushgate.client.options import checked_seconds
from pushgate.errors import ConfigurationError

Final: TypeAlias = Literal["push", "delete"] | None


class Gateway(Protocol):
    """The gateway of a :class:`PeriodicPusher`."""

    def push(self) -> object: ...

    def delete(self) -> object: ...

    def __enter__(self) -> object: ...

    def __exit__(self, *_: object) -> None: ...


class Schedule:
    """The times of periodic pushes, and how the last ones went.

    Attributes:
        last_success: When a push last succeeded, in seconds since the epoch, or None.
        consecutive_failures: How many pushes have failed since.
    """

    def __init__(self, interval: float, jitter: float) -> None:
        checked_seconds("interval", interval)
        share: object = jitter  # whatever the caller says it is
        if not isinstance(share, int | float) or not 0 <= share < 1:
            raise ConfigurationError(
                "jitter: expecting a share of the interval, at least 0 and below 1", key="jitter"
            )
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

    def _succeeded(self) -> None:
        if self.consecutive_failures:
            log.warning("pushing works again after %d failures", self.consecutive_failures)
        self.last_success, self.consecutive_failures = time.time(), 0

    def _failed(self, error: Exception) -> None:
        self.consecutive_failures += 1
        level = logging.WARNING if self.consecutive_failures == 1 else logging.DEBUG
        log.log(level, "a periodic push failed: %s", error)


class PeriodicPusher(Schedule):
    """Pushes from a daemon thread; see :meth:`PushGateway.periodic`.

    An error never stops it. A forked child does not push.
    """

    def __init__(self, gateway: Gateway, interval: float, jitter: float, final: Final) -> None:
        super().__init__(interval, jitter)
        self._gateway = gateway
        self._final = final
        self._stopping = threading.Event()
        self._owner = 0

    def __enter__(self) -> Self:
        self._owner = os.getpid()
        self._stopping.clear()
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
            if self._final is not None:
                self._try(self._final)
        finally:
            self._gateway.__exit__()

    def _work(self) -> None:
        for pause in self._pauses():
            if self._stopping.wait(pause):
                return
            self._try("push")

    def _try(self, what: Literal["push", "delete"]) -> None:
        try:
            self._gateway.push() if what == "push" else self._gateway.delete()
        except Exception as error:  # noqa: BLE001  an error never stops it
            self._failed(error)
        else:
            self._succeeded()
