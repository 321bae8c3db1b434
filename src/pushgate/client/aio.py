"""The gateway for asyncio: its connection, jobs and periodic pushes."""

import asyncio
import inspect
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from copy import copy
from functools import wraps
from typing import Any, Self, TypeVar, cast

from pushgate.client.auth import blamed_on
from pushgate.client.base import GatewayBase
from pushgate.client.delivery import Request
from pushgate.client.exchange import Connection
from pushgate.client.failures import Answer, RequestInfo, too_late
from pushgate.client.gateway import PushGateway
from pushgate.client.job import JobRun, refuse_generator
from pushgate.client.operation import Awaited
from pushgate.client.periodic import Schedule
from pushgate.client.resolving import Addresses, start
from pushgate.client.results import Payload
from pushgate.client.route import Route, seconds_left
from pushgate.client.sockets import PIECE, DeadlineSocket
from pushgate.errors import PushgatewayError

# If the last body had as many bytes, the next one is encoded in a thread: encoding it would
# block the event loop for milliseconds.
_ENCODE_IN_THREAD = 1 << 20
CoroutineFunction = TypeVar("CoroutineFunction", bound=Callable[..., Coroutine[Any, Any, Any]])


class _AsyncioSocket(DeadlineSocket):
    is_awaited = True

    async def _resolve(self, look_up: Callable[[], Addresses]) -> Addresses:
        loop = asyncio.get_running_loop()
        resolved: asyncio.Future[Addresses] = loop.create_future()

        def settle(answer: Addresses | OSError) -> None:
            if resolved.done():
                return
            if isinstance(answer, OSError):
                resolved.set_exception(answer)
            else:
                resolved.set_result(answer)

        def done(answer: Addresses | OSError) -> None:
            with suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(settle, answer)

        # Not loop.getaddrinfo(): asyncio.run() would wait for its thread before it returns.
        start(look_up, done)
        async with asyncio.timeout(self._timeout()):
            return await resolved

    async def _connect(self, address: Any, seconds: float) -> None:
        self._connected.setblocking(False)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(self._connected, address)

    async def write(self, data: bytes) -> None:
        async with asyncio.timeout(self._timeout()):
            await asyncio.get_running_loop().sock_sendall(self._connected, data)

    async def read(self) -> bytes:
        async with asyncio.timeout(self._timeout()):
            return await asyncio.get_running_loop().sock_recv(self._connected, PIECE)


class _InLoop:
    """What a gateway has in one event loop, because locks and sockets belong to a loop.

    Attributes:
        users: The ``async with`` blocks that keep the connection.
    """

    def __init__(self, route: Route) -> None:
        self.lock, self.users = asyncio.Lock(), 0
        self.connection = Connection(route, _AsyncioSocket(route))


class _AsyncioWay:
    """Lets asyncio wait. The threads of a program may run a loop each."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._by_loop: dict[asyncio.AbstractEventLoop, _InLoop] = {}

    def _here(self) -> _InLoop:
        """Return what belongs to the running loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._by_loop:
            # asyncio.run() makes a loop each time, and nobody asks for what the last one had.
            for closed in [each for each in list(self._by_loop) if each.is_closed()]:
                self._by_loop.pop(closed, None)
            self._by_loop[loop] = _InLoop(self._route)
        return self._by_loop[loop]

    def enter(self) -> None:
        """Keep the connection until :meth:`leave`."""
        self._here().users += 1

    def leave(self) -> None:
        """Close the connection at the end of the last block."""
        here = self._here()
        here.users -= 1
        # While another task pushes, the connection is that task's to close.
        if not here.users and not here.lock.locked():
            here.connection.close()

    @asynccontextmanager
    async def turn(self, info: RequestInfo, expires: float) -> AsyncIterator[None]:
        # One at a time: a retry of an older push must not overwrite a newer one.
        here = self._here()
        async with _in_time(info, expires, "while another push went on"):
            await here.lock.acquire()
        try:
            yield
        finally:
            try:
                if not here.users:
                    here.connection.close()
            finally:
                here.lock.release()

    async def encode(self, encode: Callable[[], Payload], size: int) -> Payload:
        if size < _ENCODE_IN_THREAD:
            return encode()
        return await asyncio.to_thread(encode)

    async def token(self, token: Awaitable[str], info: RequestInfo, expires: float) -> str:
        async with _in_time(info, expires, "while waiting for the token"):
            with blamed_on("bearer_token"):
                return await token

    async def send(self, request: Request) -> Answer | PushgatewayError:
        return await self._here().connection.send(request)

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class AsyncJob(JobRun):
    """A job run for asyncio; see :meth:`AsyncPushGateway.job_run`."""

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        # A cancelled job has failed. Shielded, so that a second cancellation does not stop the
        # push that says so.
        await asyncio.shield(asyncio.ensure_future(self._end(error)))

    def __call__(self, function: CoroutineFunction) -> CoroutineFunction:
        refuse_generator(function)
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__qualname__} is not a coroutine function; use PushGateway")

        @wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            async with copy(self):
                return await function(*args, **kwargs)

        return cast("CoroutineFunction", run)


class AsyncPeriodicPusher(Schedule):
    """Pushes from an asyncio task; see :meth:`AsyncPushGateway.periodic`."""

    async def __aenter__(self) -> Self:
        await self._gateway.__aenter__()
        self._task: asyncio.Task[None] = asyncio.create_task(self._work(), name="pushgate")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        # wait() instead of await: the task's CancelledError is not ours.
        await asyncio.wait([self._task])
        try:
            await self._call(self._final)
        finally:
            await self._gateway.__aexit__()

    async def _work(self) -> None:
        for pause in self._pauses():
            await asyncio.sleep(pause)
            await self._call("push")


class AsyncPushGateway(GatewayBase[AsyncJob, AsyncPeriodicPusher], Awaited):
    """Like :class:`PushGateway`, for asyncio: the same options, and methods to be awaited.

    Immutable. In one event loop, the pushes of one object are made one after the other. As an async
    context manager it keeps its connection open. Cancelling a push ends it at once.

    Example:
        >>> AsyncPushGateway("gateway:9091", job="worker").url
        'http://gateway:9091/metrics/job/worker'
    """

    _job_kind = AsyncJob
    _periodic_kind = AsyncPeriodicPusher

    _way_kind = _AsyncioWay
    _way: _AsyncioWay

    def push_at_exit(
        self, *, signals: Iterable[signal.Signals] = (), deadline: float = 5.0
    ) -> None:
        """Push when the interpreter exits, by blocking: there is no event loop any more.

        Arguments and errors are those of :meth:`PushGateway.push_at_exit`.

        Raises:
            ConfigurationError: This gateway has an asyncio transport or client.
        """
        PushGateway(**self._given.arguments()).push_at_exit(signals=signals, deadline=deadline)

    async def __aenter__(self) -> Self:
        self._way.enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._way.leave()


@asynccontextmanager
async def _in_time(info: RequestInfo, expires: float, what: str) -> AsyncIterator[None]:
    """Raise PushTimeoutError if the deadline passes in the block; *what* ends its message."""
    try:
        async with asyncio.timeout(seconds_left(expires)):
            yield
    except TimeoutError:
        raise too_late(info, what) from None
