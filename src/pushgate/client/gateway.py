"""The gateway for blocking code."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar, assert_never
from weakref import WeakSet

from pushgate.client.auth import LaterToken
from pushgate.client.base import GatewayBase
from pushgate.client.delivery import Authorize, Encode, Pause, Send, Step, Steps, Turn
from pushgate.client.failures import too_late
from pushgate.client.job import Job
from pushgate.client.operation import Blocking, carry_all, finished
from pushgate.client.options import checked_seconds, described_options
from pushgate.client.periodic import PeriodicPusher
from pushgate.errors import ConfigurationError

if TYPE_CHECKING:
    from pushgate.client.transport import Connection

_Result = TypeVar("_Result")


class PushGateway(GatewayBase[Job, PeriodicPusher], Blocking):
    """A group on a gateway, and how to reach it.

    Immutable and thread-safe; the pushes of one object follow each other. As a context
    manager it keeps its connection; it neither pushes nor deletes on its own.

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

    def _prepare(self) -> None:
        self._check_connection(is_awaited=False)
        self._sent: Callable[[int], object] | None = None
        self.forget_connection()
        _live.add(self)

    def forget_connection(self) -> None:
        """Replace the lock and the connection: after a fork both belong to the parent."""
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def watch(self, sent: Callable[[int], object]) -> None:
        """Call *sent* with the number of bytes of each piece of a body that is sent."""
        self._sent = sent

    def push_at_exit(
        self, *, signals: Iterable[signal.Signals] = (), deadline: float = 5.0
    ) -> None:
        """Push when the interpreter exits; failures are logged.

        Args:
            signals: Signals, such as SIGTERM, that raise SystemExit from now on, so that
                ``finally`` blocks and exit hooks run: by default Python skips them.
            deadline: Seconds that the push may take.

        Raises:
            ConfigurationError: Signals are given, but this is not the main thread.
        """
        from pushgate.client import lifecycle

        checked_seconds("deadline", deadline)
        lifecycle.at_exit(lambda: self.push(deadline=deadline), signals)

    def __enter__(self) -> Self:
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        # Not waiting for the lock, because a push can last until its deadline: while another
        # thread pushes, the connection is that thread's to close.
        if not self._users and self._lock.acquire(blocking=False):
            self._close()
            self._lock.release()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def carry_out(self, steps: Steps[_Result]) -> _Result:
        """Take *steps* one after the other, and return what they come to."""
        with ExitStack() as turn:
            return finished(carry_all(steps, lambda step: self._take(step, turn)))

    async def _take(self, step: Step, turn: ExitStack) -> Any:
        """Return what came of *step*. *turn* is held until it is closed."""
        match step:
            case Turn():
                turn.close()  # a job that is refused pushes twice, and each push has its turn
                turn.enter_context(self._turn_of(step))
            case Encode(encode):
                return encode()
            case Authorize():
                credentials = self._credentials
                value = None if credentials is None else credentials.header(renew=step.renew)
                if not isinstance(value, LaterToken):
                    return value
                value.close()
                raise ConfigurationError(
                    "A coroutine function as token source needs AsyncPushGateway.",
                    key="bearer_token",
                )
            case Send():
                if self._connection is None:
                    from pushgate.client.transport import Connection  # see there

                    self._connection = Connection(self._route)
                return self._connection.send(step, self._sent)
            case Pause(seconds):
                time.sleep(seconds)  # noqa: ASYNC251  no event loop waits for it, see finished()
            case _ as never:
                assert_never(never)
        return None

    @contextmanager
    def _turn_of(self, step: Turn) -> Iterator[None]:
        # One at a time: a retry of an older push must not overwrite a newer one.
        lock, left = self._lock, max(step.expires - time.monotonic(), 0)
        if not lock.acquire(timeout=min(left, threading.TIMEOUT_MAX)):
            raise too_late(step.info, "while another push went on")
        try:
            yield
        finally:
            # Outside of a `with` block each push closes its connection: a job that pushes
            # once should not hold a socket until it ends.
            if not self._users:
                self._close()
            lock.release()


if PushGateway.__doc__:  # python -OO strips it
    PushGateway.__doc__ = PushGateway.__doc__.replace("{options}", described_options())

# Gateways whose connections a forked child must not share: both would read the answers.
_live: WeakSet[PushGateway] = WeakSet()


def _forget_connections() -> None:
    for gateway in _live:
        gateway.forget_connection()


os.register_at_fork(after_in_child=_forget_connections)
