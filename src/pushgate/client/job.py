"""Job runs: when they started and ended and whether they succeeded, in one push."""

import inspect
import time
from collections.abc import Callable, Iterable
from copy import copy
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias, TypeVar, cast

from pushgate.client.collect import Collector, Selection, described
from pushgate.client.delivery import PushMethod
from pushgate.client.operation import finished
from pushgate.client.outcome import Metric, outcome, started
from pushgate.client.results import PushResult
from pushgate.errors import ConfigurationError, EncodingError, PushRejectedError
from pushgate.log import log

if TYPE_CHECKING:  # imported when a job runs: most gateways run none
    from prometheus_client import Counter, Gauge
    from prometheus_client.registry import CollectorRegistry

    from pushgate.instruments import Histogram

# The URLs of the groups that a job_run has pushed to in this process.
JOB_GROUPS: set[str] = set()
# A decorated function keeps its type.
Function = TypeVar("Function", bound=Callable[..., Any])
OnPushError: TypeAlias = Literal["log", "raise"] | Callable[[Exception], object]


class Pusher(Protocol):
    """The gateway of a job; its class cannot be named here, because its module imports this one."""

    @property
    def url(self) -> str: ...

    async def pushing(self, method: PushMethod, selection: Selection) -> PushResult: ...


class JobRun:
    """The metrics of one run of a job, blocking or not.

    Attributes:
        registry: A fresh registry per run, so that repeated runs never collide.
    """

    registry: "CollectorRegistry"
    # The metrics about the run itself. They are pushed even if the others are refused.
    _own: "CollectorRegistry"

    def __init__(
        self,
        gateway: Pusher,
        include: tuple[Collector, ...],
        prefix: str,
        on_push_error: OnPushError,
        *,
        push_start: bool,
        ignore: tuple[type[BaseException], ...] = (),
    ) -> None:
        if not all(BaseException in getattr(kind, "__mro__", ()) for kind in ignore):
            raise ConfigurationError("ignore: expecting exception classes", key="ignore")
        # Nobody would await what a coroutine function returns.
        is_function = callable(on_push_error) and not inspect.iscoroutinefunction(on_push_error)
        if on_push_error not in ("log", "raise") and not is_function:
            expected = "expecting 'log', 'raise' or a function, but not a coroutine function"
            raise ConfigurationError(f"on_push_error: {expected}", key="on_push_error")
        self._gateway = gateway
        self._ignore = ignore
        self._include = include
        self._prefix = prefix
        self._on_push_error = on_push_error
        self._push_start = push_start

    def gauge(
        self, name: str, documentation: str, labelnames: Iterable[str] = (), **options: Any
    ) -> "Gauge":
        """Return a new gauge of this run; arguments as for ``prometheus_client.Gauge``."""
        from pushgate.client.instruments import RunGauge

        return RunGauge(name, documentation, labelnames, registry=self.registry, **options)

    def counter(
        self, name: str, documentation: str, labelnames: Iterable[str] = (), **options: Any
    ) -> "Counter":
        """Return a new counter of this run; arguments as for ``prometheus_client.Counter``."""
        from pushgate.client.instruments import RunCounter

        return RunCounter(name, documentation, labelnames, registry=self.registry, **options)

    def histogram(
        self, name: str, documentation: str, labelnames: Iterable[str] = (), **options: Any
    ) -> "Histogram":
        """Return a new histogram of this run; arguments as for :class:`pushgate.Histogram`."""
        from pushgate.instruments.histogram import RunHistogram

        return RunHistogram(name, documentation, labelnames, registry=self.registry, **options)

    async def _begin(self) -> None:
        from prometheus_client.registry import CollectorRegistry

        self.registry, self._own = CollectorRegistry(), CollectorRegistry()
        self._clock = time.perf_counter()  # the wall clock may be set while the job runs
        self._record(started(time.time()))
        JOB_GROUPS.add(self._gateway.url)  # a push() there is warned about
        if self._push_start:
            await self._push(None)

    async def _end(self, error: BaseException | None) -> None:
        """Record and push how the run ended: *error* has ended it, unless it is None."""
        if isinstance(error, self._ignore):
            return
        now, took, code = time.time(), time.perf_counter() - self._clock, None
        if isinstance(error, SystemExit):  # its code may be a status, None, or a message
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        succeeded = error is None or code == 0
        self._record(*outcome(now, took, succeeded=succeeded, code=code))
        await self._push(error)

    def _record(self, *metrics: Metric) -> None:
        from pushgate.client.instruments import RunGauge

        for name, documentation, value in metrics:
            RunGauge(f"{self._prefix}{name}", documentation, registry=self._own).set(value)

    async def _push(self, error: BaseException | None) -> None:
        """Push all metrics. A failure is reported so that it cannot hide *error*, the job's own."""

        def left_out(error: EncodingError) -> None:
            log("warning", "Left out of the push of the job metrics: %s", error)

        everything = Selection([self._own, self.registry, *self._include], left_out=left_out)
        try:
            try:
                await self._gateway.pushing("POST", everything)
            except PushRejectedError as refused:
                # The job's own metrics are valid: that the run ended must not be lost.
                refused.add_note("The job is pushed without its other metrics.")
                await self._gateway.pushing("POST", Selection([self._own]))
                raise
        except Exception as failure:
            reason = " ".join([str(failure), *getattr(failure, "__notes__", ())])
            if error is not None:
                error.add_note(f"The push of the job metrics failed, too: {reason}")
            if callable(self._on_push_error):
                try:
                    self._on_push_error(failure)
                except Exception as raised:
                    if error is None:
                        raise
                    error.add_note(f"on_push_error failed, too: {described(raised)}")
            elif self._on_push_error == "raise" and error is None:
                raise
            else:
                log("warning", "The push of the job metrics failed: %s", reason)


def refuse_generator(function: Callable[..., object]) -> None:
    """Raise TypeError if *function* is a generator: its end cannot be observed."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} is a generator: it has no end to measure")


class Job(JobRun):
    """A job run for blocking code; see :meth:`PushGateway.job_run`.

    Example:
        >>> @gateway.job_run("nightly")  # doctest: +SKIP
        ... def nightly(): ...
    """

    def __enter__(self) -> Self:
        finished(self._begin())
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        finished(self._end(error))

    def __call__(self, function: Function) -> Function:
        refuse_generator(function)
        if inspect.iscoroutinefunction(function):
            import asyncio

            @wraps(function)
            async def coroutine_run(*args: Any, **kwargs: Any) -> Any:
                job = copy(self)
                # In threads: this gateway blocks, and other tasks should go on meanwhile.
                await asyncio.to_thread(job.__enter__)
                error: BaseException | None = None
                try:
                    return await function(*args, **kwargs)
                except BaseException as raised:
                    error = raised
                    raise
                finally:
                    # Shielded, so that a second cancellation does not stop the push.
                    ending = asyncio.to_thread(job.__exit__, None, error, None)
                    await asyncio.shield(asyncio.ensure_future(ending))

            return cast("Function", coroutine_run)

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            # A copy for each call: calls may overlap, in threads or by recursion.
            with copy(self):
                return function(*args, **kwargs)

        return cast("Function", run)
