"""The gateway for asyncio, with its jobs and its periodic pushes."""

import asyncio
import inspect
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from copy import copy
from functools import wraps
from typing import Any, Literal, Self, TypeVar, assert_never, cast

from pushgate.client.auth import LaterToken
from pushgate.client.collect import Collectors, Selection
from pushgate.client.delivery import Authorize, Pause, PushMethod, Send, Step, Steps
from pushgate.client.failures import RequestInfo, too_late
from pushgate.client.gateway import GatewayBase, PushGateway
from pushgate.client.group_list import GroupQuery, ListedGroup
from pushgate.client.job import JobRun, refuse_generator
from pushgate.client.periodic import Final, Schedule
from pushgate.client.results import GatewayStatus, Group, PushResult, groups_in, status_in
from pushgate.client.route import seconds_left
from pushgate.errors import ConfigurationError, PushgatewayError, PushRejectedError

# Bytes of the last push from which on the next one is encoded in a thread: encoding more
# would hold up the event loop for milliseconds.
_ENCODE_IN_THREAD = 1 << 20
CoroutineFunction = TypeVar("CoroutineFunction", bound=Callable[..., Coroutine[Any, Any, Any]])


class AsyncJob(JobRun):
    """A job run for asyncio; see :meth:`AsyncPushGateway.job_run`."""

    async def __aenter__(self) -> Self:
        self._begin()
        if self._push_start:
            await self._push(None)
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._ignore):
            return
        self._finish(error)
        # A cancelled job is a failed job, and says so even if it is cancelled once more.
        await asyncio.shield(asyncio.ensure_future(self._push(error)))

    async def _push(self, error: BaseException | None) -> None:
        try:
            try:
                await self._gateway.push_selection("POST", self._selection())
            except PushRejectedError as refused:
                await self._gateway.push_selection("POST", self._own_selection(refused))
                raise
        except Exception as failure:  # noqa: BLE001  no push may break the job
            self._push_failed(failure, error)

    def __call__(self, function: CoroutineFunction) -> CoroutineFunction:
        refuse_generator(function)
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"{function.__qualname__} is no coroutine function; use PushGateway")

        @wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            async with copy(self):
                return await function(*args, **kwargs)

        return cast("CoroutineFunction", run)


class AsyncPeriodicPusher(Schedule):
    """Pushes from an asyncio task; see :meth:`AsyncPushGateway.periodic`."""

    def __init__(
        self, gateway: "AsyncPushGateway", interval: float, jitter: float, final: Final
    ) -> None:
        super().__init__(interval, jitter)
        self._gateway = gateway
        self._final = final

    async def __aenter__(self) -> Self:
        await self._gateway.__aenter__()
        self._task: asyncio.Task[None] = asyncio.create_task(self._work(), name="pushgate")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        # wait() instead of await: the task's CancelledError is not ours.
        await asyncio.wait([self._task])
        try:
            if self._final is not None:
                await self._try(self._final)
        finally:
            await self._gateway.__aexit__()

    async def _work(self) -> None:
        for pause in self._pauses():
            await asyncio.sleep(pause)
            await self._try("push")

    async def _try(self, what: Literal["push", "delete"]) -> None:
        try:
            await (self._gateway.push() if what == "push" else self._gateway.delete())
        except Exception as error:  # noqa: BLE001  an error never stops it
            self._failed(error)
        else:
            self._succeeded()


class AsyncPushGateway(GatewayBase[AsyncJob, AsyncPeriodicPusher]):
    """The same group, options and calls as :class:`PushGateway`, to be awaited.

    Immutable; the pushes of one object follow each other. As an async context manager it
    keeps its connection. Cancelling a push ends it at once.

    Example:
        >>> AsyncPushGateway("gateway:9091", job="worker").url
        'http://gateway:9091/metrics/job/worker'
    """

    _job_kind = AsyncJob
    _periodic_kind = AsyncPeriodicPusher

    def _prepare(self) -> None:
        transport, client = self._options.transport, self._options.http_client
        if transport is not None or client is not None:
            import httpx2

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

    async def merge(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace the same series; see :meth:`PushGateway.merge`."""
        return await self.push_selection("PATCH", Selection(collectors, names, exclude), deadline)

    replace_group = push
    replace_families = push_add
    replace_series = merge

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

    async def list_groups(
        self,
        match: str | Iterable[str] = (),
        *,
        failed: bool | None = None,
        older_than: float | None = None,
        deadline: float | None = None,
    ) -> tuple[ListedGroup, ...]:
        """Return the groups that meet all conditions; see :meth:`PushGateway.list_groups`."""
        query = GroupQuery.of(match, failed=failed, older_than=older_than)
        expires = self._expires(deadline)
        async with self._turn("GET", expires):
            groups: tuple[ListedGroup, ...] = await self._run(self._list_steps(query, expires))
            return groups

    async def delete_groups(
        self,
        match: str | Iterable[str] = (),
        *,
        failed: bool | None = None,
        older_than: float | None = None,
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> tuple[ListedGroup, ...]:
        """Delete the groups that meet all conditions; see :meth:`PushGateway.delete_groups`."""
        query = GroupQuery.of(match, failed=failed, older_than=older_than)
        expires = self._expires(deadline)
        async with self._turn("DELETE", expires):
            steps = self._delete_groups_steps(query, expires, dry_run=dry_run)
            groups: tuple[ListedGroup, ...] = await self._run(steps)
            return groups

    async def ready(self, *, deadline: float | None = None) -> bool:
        """Return whether the gateway is there and says it is ready."""
        try:
            await self._read("/-/ready", deadline)
        except PushgatewayError:
            return False
        return True

    def push_at_exit(
        self, *, signals: Iterable[signal.Signals] = (), deadline: float = 5.0
    ) -> None:
        """Push when the interpreter exits, with a blocking gateway: no event loop is left then.

        Arguments and errors are those of :meth:`PushGateway.push_at_exit`.

        Raises:
            ConfigurationError: This gateway has an async transport or client.
        """
        PushGateway(**self._given.arguments()).push_at_exit(signals=signals, deadline=deadline)

    async def __aenter__(self) -> Self:
        self._users += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._users -= 1
        if self._users or self._loop is not asyncio.get_running_loop():
            return
        # While another task pushes, the connection is that task's to close.
        if not self._lock.locked():
            await self._connection.close()

    async def push_selection(
        self,
        method: PushMethod,
        selection: Selection,
        deadline: float | None = None,
    ) -> PushResult:
        """Push what *selection* takes. Errors as for :meth:`push`."""
        expires = self._expires(deadline)
        async with self._turn(method, expires):
            if self._learned.last_size < _ENCODE_IN_THREAD:
                payload = self._render(selection)
            else:
                payload = await asyncio.to_thread(self._render, selection)
            steps = self._push_steps(method, selection, payload, expires)
            result: PushResult = await self._run(steps)
            return result

    async def _read(self, path: str, deadline: float | None) -> bytes:
        expires = self._expires(deadline)
        async with self._turn("GET", expires):
            body: bytes = await self._run(self._read_steps(path, expires))
            return body

    @asynccontextmanager
    async def _turn(self, method: str, expires: float) -> AsyncIterator[None]:
        """Wait for the pushes before this one, but not beyond its own deadline."""
        from pushgate.client.transport import AsyncConnection  # see there

        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # Locks and sockets belong to a loop; asyncio.run() makes a new one each time,
            # and a forked child has another one than its parent.
            self._loop, self._lock = loop, asyncio.Lock()
            self._connection = AsyncConnection(self._route)
        # One at a time: a retry of an older push must not overwrite a newer one.
        lock, info = self._lock, RequestInfo(self._address.base, self.url, method)
        async with _in_time(info, expires, "while another push went on"):
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
                credentials = self._credentials
                value = None if credentials is None else credentials.header(renew=step.renew)
                if not isinstance(value, LaterToken):
                    return value
                async with _in_time(step.info, step.expires, "while waiting for the token"):
                    return await value
            case Send():
                return await self._connection.send(step)
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return None
            case _ as never:
                assert_never(never)


@asynccontextmanager
async def _in_time(info: RequestInfo, expires: float, what: str) -> AsyncIterator[None]:
    """Raise PushTimeoutError if the block outlasts the deadline; *what* says during what."""
    try:
        async with asyncio.timeout(seconds_left(expires)):
            yield
    except TimeoutError:
        raise too_late(info, what) from None
