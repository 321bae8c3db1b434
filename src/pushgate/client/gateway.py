"""The gateway for blocking code."""

import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Self
from weakref import WeakSet

from pushgate.client.base import GatewayBase
from pushgate.client.delivery import Request
from pushgate.client.failures import Answer, RequestInfo, too_late
from pushgate.client.job import Job
from pushgate.client.operation import Blocking
from pushgate.client.options import checked_seconds, described_options
from pushgate.client.periodic import PeriodicPusher
from pushgate.client.results import Payload
from pushgate.client.route import Route
from pushgate.errors import ConfigurationError, PushgatewayError

if TYPE_CHECKING:  # slow to import
    import signal

    from pushgate.client.exchange import Connection


class _BlockingWay:
    """Waits by blocking, so that its coroutines are never suspended.

    Attributes:
        users: The ``with`` blocks that keep the connection.
    """

    def __init__(self, route: Route) -> None:
        self._route = route
        self.users = 0
        self.forget_connection()
        _live.add(self)

    def forget_connection(self) -> None:
        """Replace the lock and the connection: after a fork both belong to the parent."""
        self._lock = threading.Lock()
        self._holder: int | None = None  # the thread whose turn it is
        self._connection: Connection | None = None

    def leave(self) -> None:
        """Close the connection at the end of the last ``with`` block."""
        self.users -= 1
        # Not waiting for the lock, because a push can last until its deadline: while another
        # thread pushes, the connection is that thread's to close.
        if not self.users and self._lock.acquire(blocking=False):
            self.close()
            self._lock.release()

    def close(self) -> None:
        """Close the connection; the next push makes another one."""
        if self._connection is not None:
            self._connection.close()

    @asynccontextmanager
    async def turn(self, info: RequestInfo, expires: float) -> AsyncIterator[None]:
        # One at a time: a retry of an older push must not overwrite a newer one.
        lock, left = self._lock, max(expires - time.monotonic(), 0)
        if self._holder == threading.get_ident():
            raise PushgatewayError(
                f"{info.prefix}this thread is using the same gateway already: a collector or a"
                " signal handler needs one of its own"
            )
        if not lock.acquire(timeout=min(left, threading.TIMEOUT_MAX)):
            raise too_late(info, "while another push went on")
        self._holder = threading.get_ident()
        try:
            yield
        finally:
            try:
                # Outside of a `with` block each push closes its connection: a job that pushes
                # once should not hold a socket until it ends.
                if not self.users:
                    self.close()
            finally:
                self._holder = None
                lock.release()

    async def encode(self, encode: Callable[[], Payload], size: int) -> Payload:  # noqa: ARG002
        return encode()

    async def token(self, token: Awaitable[str], info: RequestInfo, expires: float) -> str:  # noqa: ARG002
        if isinstance(token, Coroutine):
            token.close()  # or Python warns that it was never awaited
        raise ConfigurationError(
            "A coroutine function as token source needs AsyncPushGateway.", key="bearer_token"
        )

    async def send(self, request: Request) -> Answer | PushgatewayError:
        if self._connection is None:
            from pushgate.client.exchange import Connection  # see there
            from pushgate.client.sockets import BlockingSocket

            self._connection = Connection(self._route, BlockingSocket(self._route))
        return await self._connection.send(request)

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251  no event loop waits for it


class PushGateway(GatewayBase[Job, PeriodicPusher], Blocking):
    """A group on a gateway, and how to reach it.

    Immutable and thread-safe. The pushes of one object are made one after the other. As a context
    manager it keeps its connection open; entering and leaving it pushes nothing.

    {options}

    Raises:
        ConfigurationError: An option is wrong.

    Example:
        >>> gateway = PushGateway("gateway:9091", job="nightly", grouping_key={"region": "eu"})
        >>> gateway.url
        'http://gateway:9091/metrics/job/nightly/region/eu'
    """

    _job_kind = Job
    _periodic_kind = PeriodicPusher

    _way_kind = _BlockingWay
    _way: _BlockingWay

    def watch(self, sent: Callable[[int], object]) -> None:
        """Call *sent* with the number of bytes whenever a piece of a body has been sent."""
        self._sent = sent

    def push_at_exit(
        self, *, signals: "Iterable[signal.Signals]" = (), deadline: float = 5.0
    ) -> None:
        """Push when the interpreter exits, if there is something to push. Failures are logged.

        In the group of a job_run, this is :meth:`push_add`, which keeps the metrics of the job.

        Args:
            signals: Signals, such as SIGTERM, that raise SystemExit from now on, so that
                ``finally`` blocks and exit hooks run. By default, Python runs neither. A signal
                that is ignored, as SIGHUP under nohup, stays ignored.
            deadline: Seconds that the push may take. Python 3.12 starts no thread at its exit, so
                that there a resolver that hangs may take longer.

        Raises:
            ConfigurationError: There are signals, but this is not the main thread.
        """
        from pushgate.client import lifecycle

        checked_seconds("deadline", deadline)
        # An empty push would empty the group of a program that only wanted the signals.
        last_push = partial(self.push_unattended, deadline=deadline, on_empty="skip")
        lifecycle.at_exit(last_push, signals)

    def __enter__(self) -> Self:
        self._way.users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._way.leave()


if PushGateway.__doc__:  # python -OO strips it
    PushGateway.__doc__ = PushGateway.__doc__.replace("{options}", described_options())

# A forked child must not share their connections: both would read the answers.
_live: WeakSet[_BlockingWay] = WeakSet()


def _forget_connections() -> None:
    for way in _live:
        way.close()  # the child's copy of the socket; the parent's stays open
        way.forget_connection()


os.register_at_fork(after_in_child=_forget_connections)
