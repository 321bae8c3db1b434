"""The gateway for asyncio."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self, assert_never, overload

import httpx2

from pushgate.client.base import GatewayBase, Selection
from pushgate.client.exchange import Authorize, Pause, Send, Step, Steps
from pushgate.client.failures import Sent, failure_of, too_late
from pushgate.client.gateway import PushGateway
from pushgate.client.job import AsyncJob, CoroutineFunction, OnPushError
from pushgate.client.periodic import AsyncPeriodicPusher, Final
from pushgate.client.results import (
    GatewayStatus,
    Group,
    Payload,
    PushResult,
    groups_in,
    status_in,
)
from pushgate.client.source import Collector, Collectors
from pushgate.client.transport import Answer, AsyncConnection, seconds_left
from pushgate.errors import ConfigurationError, PushgatewayError

# From this size on (of the push before) encoding would hold up the event loop.
_ENCODE_IN_THREAD = 1 << 20


class AsyncPushGateway(GatewayBase):
    """The same group, options and calls as :class:`PushGateway`, to be awaited.

    Immutable; the pushes of one object follow each other. As an async context manager it
    keeps its connection. Cancelling a push ends it at once.

    Example:
        >>> AsyncPushGateway("gateway:9091", job="worker").url
        'http://gateway:9091/metrics/job/worker'
    """

    def _prepare(self) -> None:
        transport, client = self._options["transport"], self._options["http_client"]
        if transport is not None and not isinstance(transport, httpx2.AsyncBaseTransport):
            raise ConfigurationError("This transport is for PushGateway.", key="transport")
        if isinstance(client, httpx2.Client):
            raise ConfigurationError("This client is for PushGateway.", key="http_client")
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def push(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace the whole group; see :meth:`PushGateway.push`."""
        self._warn_about_job_metrics()
        return await self.push_selection("PUT", Selection(collectors, names, exclude), deadline)

    async def push_add(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace the families of the same names; see :meth:`PushGateway.push_add`."""
        return await self.push_selection("POST", Selection(collectors, names, exclude), deadline)

    replace_group = push
    replace_families = push_add

    async def delete(self, *, deadline: float | None = None) -> PushResult:
        """Delete the group; see :meth:`PushGateway.delete`."""
        expires = self._expires(deadline)
        async with self._turn("DELETE", expires):
            result: PushResult = await self._run(self._delete_steps(expires))
            return result

    async def status(self, *, deadline: float | None = None) -> GatewayStatus:
        """Return version and flags of the gateway; see :meth:`PushGateway.status`."""
        return status_in(await self._read("/api/v1/status", deadline))

    async def groups(self, *, deadline: float | None = None) -> tuple[Group, ...]:
        """Return every group the gateway holds; see :meth:`PushGateway.groups`."""
        return groups_in(await self._read("/api/v1/metrics", deadline))

    async def ready(self, *, deadline: float | None = None) -> bool:
        """Return whether the gateway is there and says it is ready."""
        try:
            await self._read("/-/ready", deadline)
        except PushgatewayError:
            return False
        return True

    @overload
    def job_run(self, name: CoroutineFunction, /) -> CoroutineFunction: ...
    @overload
    def job_run(
        self,
        name: str | None = None,
        *,
        include: Iterable[Collector] = (),
        prefix: str = "batch_job_",
        push_start: bool = False,
        on_push_error: OnPushError = "log",
        ignore: Iterable[type[BaseException]] = (),
    ) -> AsyncJob: ...
    def job_run(
        self,
        name: str | CoroutineFunction | None = None,
        *,
        include: Iterable[Collector] = (),
        prefix: str = "batch_job_",
        push_start: bool = False,
        on_push_error: OnPushError = "log",
        ignore: Iterable[type[BaseException]] = (),
    ) -> AsyncJob | CoroutineFunction:
        """Return what pushes how a job went, for ``async with`` and for coroutine functions.

        Arguments are those of :meth:`PushGateway.job_run`.
        """
        if callable(name):  # @gateway.job_run without parentheses
            return self.job_run()(name)
        return AsyncJob(
            self if name is None else self.replace(job=name),
            tuple(include),
            prefix,
            on_push_error,
            push_start=push_start,
            ignore=tuple(ignore),
        )

    def periodic(
        self, interval: float, *, jitter: float = 0.1, final: Final = "push"
    ) -> AsyncPeriodicPusher:
        """Return an async context manager that pushes every *interval* seconds from a task.

        Arguments are those of :meth:`PushGateway.periodic`.
        """
        return AsyncPeriodicPusher(self, interval, jitter, final)

    def push_at_exit(
        self, *, signals: Iterable[signal.Signals] = (), deadline: float = 5.0
    ) -> None:
        """Push when the interpreter exits, when no event loop is left: by blocking.

        Arguments and errors are those of :meth:`PushGateway.push_at_exit`.

        Raises:
            ConfigurationError: This gateway has an async transport or client.
        """
        PushGateway(**self._options).push_at_exit(signals=signals, deadline=deadline)

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if self._users or self._loop is not asyncio.get_running_loop():
            return
        # A push of another task still needs it, and closes it itself.
        if not self._lock.locked():
            await self._connection.close()

    async def push_selection(
        self, method: str, selection: Selection, deadline: float | None = None
    ) -> PushResult:
        """Push what *selection* takes, with PUT or POST. Errors as for :meth:`push`."""
        expires = self._expires(deadline)
        async with self._turn(method, expires):
            payload = await self._encoded(selection)
            steps = self._push_steps(method, selection, payload, expires)
            result: PushResult = await self._run(steps)
            return result

    async def _encoded(self, selection: Selection) -> Payload:
        if self._memory.last_size < _ENCODE_IN_THREAD:
            return self._rendered(selection)
        return await asyncio.to_thread(self._rendered, selection)

    async def _read(self, path: str, deadline: float | None) -> bytes:
        expires = self._expires(deadline)
        async with self._turn("GET", expires):
            body: bytes = await self._run(self._read_steps(path, expires))
            return body

    @asynccontextmanager
    async def _turn(self, method: str, expires: float) -> AsyncIterator[None]:
        """Wait for the pushes before this one, but not beyond its own deadline."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Locks and sockets belong to a loop; asyncio.run() makes a new one each time,
            # and a forked child has another one than its parent.
            self._loop, self._lock = loop, asyncio.Lock()
            self._connection = AsyncConnection(
                self._settings.route, self._options["transport"], self._options["http_client"]
            )
        lock, about = self._lock, Sent(self._settings.address.base, self.url, method)
        async with _in_time(about, expires, "while another push went on"):
            await lock.acquire()
        try:
            yield
        finally:
            try:
                if not self._users:
                    await self._connection.close()
            finally:
                lock.release()

    async def _run(self, steps: Steps) -> Any:
        """Take *steps* one by one, and return what they come to."""
        outcome: Any = None
        try:
            while True:
                outcome = await self._take(steps.send(outcome))
        except StopIteration as done:
            return done.value

    async def _take(self, step: Step) -> Any:
        match step:
            case Authorize():
                return await self._authorization(step)
            case Send():
                return await self._attempt(step)
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return None
            case _ as never:
                assert_never(never)

    async def _authorization(self, step: Authorize) -> str | None:
        value = self._settings.authorization(renew=step.renew)
        if value is None or isinstance(value, str):
            return value
        async with _in_time(step.about, step.expires, "while waiting for the token"):
            return await value

    async def _attempt(self, step: Send) -> Answer | PushgatewayError:
        try:
            return await self._connection.send(step.request, step.expires)
        except (httpx2.RequestError, httpx2.InvalidURL, OSError) as error:
            return failure_of(error, step.about)


@asynccontextmanager
async def _in_time(about: Sent, expires: float, what: str) -> AsyncIterator[None]:
    """Let the deadline pass for what goes on inside, *what* saying what that is."""
    try:
        async with asyncio.timeout(seconds_left(expires)):
            yield
    except TimeoutError:
        raise too_late(about, what) from None
