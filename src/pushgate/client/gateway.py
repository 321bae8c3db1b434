"""The gateway for blocking code."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, assert_never, overload
from weakref import WeakSet

import httpx2

from pushgate.client import lifecycle
from pushgate.client.base import GatewayBase, Selection
from pushgate.client.exchange import Authorize, Pause, Send, Step, Steps
from pushgate.client.failures import Sent, failure_of, too_late
from pushgate.client.job import Function, Job, OnPushError
from pushgate.client.periodic import Final, PeriodicPusher
from pushgate.client.results import GatewayStatus, Group, PushResult, groups_in, status_in
from pushgate.client.settings import seconds
from pushgate.client.source import Collector, Collectors
from pushgate.client.transport import Answer, Connection
from pushgate.errors import ConfigurationError, PushgatewayError


class PushGateway(GatewayBase):
    """A group on a gateway, and how to reach it.

    Immutable and thread-safe; the pushes of one object follow each other. As a context
    manager it keeps its connection; it neither pushes nor deletes on its own.

    Args:
        address: ``host:port``, with a path if need be, or a whole URL, perhaps with
            ``user:password@``. Unless given, ``localhost:9091``.
        job: The ``job`` of the group; unless given, the name of the running program.
        scheme: ``http`` or ``https``, if the address has none.
        grouping_key: Further labels of the group; values become text.
        instance: The ``instance`` of the group: ``ip``, ``hostname``, ``fqdn``, or a text.
        registry: What to push; unless given, ``prometheus_client.REGISTRY``.
        include_default_collectors: Whether the default registry's metrics about process
            and interpreter go along.
        multiprocess: Whether to push the sum of all processes. ``auto``: if
            ``PROMETHEUS_MULTIPROC_DIR`` is set and no registry is given.
        format: ``protobuf``, ``text``, or ``auto``: protobuf, unless the gateway turns out
            not to read it.
        escaping_scheme: How names beyond the classic data model are written.
        include_created: Whether creation times are pushed as ``_created`` gauges too.
        timestamps: ``strip`` removes sample timestamps; no gateway takes them.
        on_label_clash: What to do if a metric has a label of the group.
        on_empty: What to do if there is nothing to push.
        apply_filter: Whether the ``exporter.filter`` properties count.
        basic_auth: User and password.
        bearer_token: A token, or a function or coroutine function that returns one.
        bearer_token_file: A file with a token, read again whenever it changes.
        headers: Further headers; a value may be a function.
        verify: False accepts any certificate.
        ca_file: PEM file of the authorities to trust, instead of the system's.
        ca_path: Directory of such files, as OpenSSL wants it.
        ca_data: The certificates themselves.
        client_cert: Files of certificate and key, and the key's password if it has one.
        ssl_context: Instead of all the TLS options above.
        server_hostname: Name to ask for and to verify, if it is not the host's.
        proxy: Its URL; ``env``: what ``HTTP_PROXY`` and its kind say; None: no proxy.
        connect_timeout: Seconds; 10 unless given.
        read_timeout: Seconds without a byte of the answer; 10 unless given.
        deadline: Seconds for a push with all its attempts; None is no limit.
        retry: A :class:`Retry`, or how many retries.
        compression: ``gzip``, ``snappy`` (``pip install cramjam``), or None.
        flavor: ``aggregation`` and ``gravel`` are gateways that add up.
        url_encoding: ``percent`` for a gateway that does not know ``@base64``.
        transport: An httpx2 transport, instead of our own connections.
        http_client: An httpx2 client, instead of our own connections; it is not closed.
        properties: Runtime configuration: None is that of the process, a mapping goes on
            top of it, False ignores it.

    Raises:
        ConfigurationError: An option is wrong.

    Example:
        >>> gateway = PushGateway("gateway:9091", job="nightly", grouping_key={"region": "eu"})
        >>> gateway.url
        'http://gateway:9091/metrics/job/nightly/region/eu'
    """

    def _prepare(self) -> None:
        transport, client = self._options["transport"], self._options["http_client"]
        if isinstance(transport, httpx2.AsyncBaseTransport) and not isinstance(
            transport, httpx2.BaseTransport
        ):
            raise ConfigurationError("This transport is for AsyncPushGateway.", key="transport")
        if isinstance(client, httpx2.AsyncClient):
            raise ConfigurationError("This client is for AsyncPushGateway.", key="http_client")
        self._users = 0
        self.forget_connection()
        _live.add(self)

    def forget_connection(self) -> None:
        """Start with a new lock and a new connection: after a fork both are the parent's."""
        self._lock = threading.Lock()
        self._connection = Connection(
            self._settings.route, self._options["transport"], self._options["http_client"]
        )

    def watch(self, sent: Callable[[int], object]) -> None:
        """Call *sent* with a number of bytes each time that a piece has been sent."""
        self._connection.sent = sent

    def push(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace the whole group: whatever it held and is not pushed now, is gone (PUT).

        Args:
            collectors: One or many, instead of the registry.
            names: Only metrics called so.
            exclude: None for whose name this is true.
            deadline: Seconds for all attempts together, instead of the gateway's.

        Raises:
            EncodingError: The metrics cannot be pushed as they are.
            PushConnectionError: There was no answer; PushTimeoutError: not in time.
            PushHTTPError: The gateway refused; its own words are in the message.

        Example:
            >>> PushGateway("gateway:9091", job="nightly").push()  # doctest: +SKIP
        """
        self._warn_about_job_metrics()
        return self.push_selection("PUT", Selection(collectors, names, exclude), deadline)

    def push_add(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace the families of the same names; the group's others stay (POST).

        Arguments and errors are those of :meth:`push`.
        """
        return self.push_selection("POST", Selection(collectors, names, exclude), deadline)

    replace_group = push
    replace_families = push_add

    def delete(self, *, deadline: float | None = None) -> PushResult:
        """Delete the group; that it does not exist is no error. Errors as for :meth:`push`."""
        expires = self._expires(deadline)
        with self._turn("DELETE", expires):
            result: PushResult = self._run(self._delete_steps(expires))
            return result

    def status(self, *, deadline: float | None = None) -> GatewayStatus:
        """Return version and flags of the gateway. Errors as for :meth:`push`."""
        return status_in(self._read("/api/v1/status", deadline))

    def groups(self, *, deadline: float | None = None) -> tuple[Group, ...]:
        """Return every group the gateway holds. Errors as for :meth:`push`."""
        return groups_in(self._read("/api/v1/metrics", deadline))

    def ready(self, *, deadline: float | None = None) -> bool:
        """Return whether the gateway is there and says it is ready."""
        try:
            self._read("/-/ready", deadline)
        except PushgatewayError:
            return False
        return True

    @overload
    def job_run(self, name: Function, /) -> Function: ...
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
    ) -> Job: ...
    def job_run(
        self,
        name: str | Function | None = None,
        *,
        include: Iterable[Collector] = (),
        prefix: str = "batch_job_",
        push_start: bool = False,
        on_push_error: OnPushError = "log",
        ignore: Iterable[type[BaseException]] = (),
    ) -> Job | Function:
        """Return what pushes how a job went: for ``with``, and for decorating functions.

        Args:
            name: The ``job`` of the group, unless it is this gateway's.
            include: Collectors that go along in the same push.
            prefix: Of the names of the job metrics.
            push_start: Whether to push when the job starts, too.
            on_push_error: ``log``, ``raise``, or a function that is given the error.
            ignore: Exceptions that end a run without an outcome, such as Celery's
                ``Retry``: nothing is pushed, because the run will go on later.

        Example:
            >>> with gateway.job_run("nightly") as job:  # doctest: +SKIP
            ...     job.counter("rows", "Rows read").inc(3)
        """
        if callable(name):  # @gateway.job_run without parentheses
            return self.job_run()(name)
        return Job(
            self if name is None else self.replace(job=name),
            tuple(include),
            prefix,
            on_push_error,
            push_start=push_start,
            ignore=tuple(ignore),
        )

    def periodic(
        self, interval: float, *, jitter: float = 0.1, final: Final = "push"
    ) -> PeriodicPusher:
        """Return a context manager that pushes every *interval* seconds from a thread.

        Args:
            interval: Seconds from one push to the next.
            jitter: How much later a push may be, as a share of *interval*.
            final: What to do at the end: ``push``, ``delete``, or None.
        """
        return PeriodicPusher(self, interval, jitter, final)

    def push_at_exit(
        self, *, signals: Iterable[signal.Signals] = (), deadline: float = 5.0
    ) -> None:
        """Push when the interpreter exits; failures are logged.

        Args:
            signals: Signals such as SIGTERM that shall end the program by SystemExit, so
                that ``finally`` and exit hooks run: by default Python skips them.
            deadline: Seconds that the push may take.

        Raises:
            ConfigurationError: Signals are given, but this is not the main thread.
        """
        seconds("deadline", deadline)
        lifecycle.at_exit(lambda: self.push(deadline=deadline), signals)

    def __enter__(self) -> Self:
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        # A push of another thread still needs it, and closes it itself.
        if not self._users and self._lock.acquire(blocking=False):
            self._connection.close()
            self._lock.release()

    def push_selection(
        self, method: str, selection: Selection, deadline: float | None = None
    ) -> PushResult:
        """Push what *selection* takes, with PUT or POST. Errors as for :meth:`push`."""
        expires = self._expires(deadline)
        with self._turn(method, expires):
            payload = self._rendered(selection)
            steps = self._push_steps(method, selection, payload, expires)
            result: PushResult = self._run(steps)
            return result

    def _read(self, path: str, deadline: float | None) -> bytes:
        expires = self._expires(deadline)
        with self._turn("GET", expires):
            body: bytes = self._run(self._read_steps(path, expires))
            return body

    @contextmanager
    def _turn(self, method: str, expires: float) -> Iterator[None]:
        """Wait for the pushes before this one, but not beyond its own deadline."""
        lock, left = self._lock, min(max(expires - time.monotonic(), 0), threading.TIMEOUT_MAX)
        if not lock.acquire(timeout=left):
            about = Sent(self._settings.address.base, self.url, method)
            raise too_late(about, "while another push went on")
        try:
            yield
        finally:
            if not self._users:
                self._connection.close()
            lock.release()

    def _run(self, steps: Steps) -> Any:
        """Take *steps* one by one, and return what they come to."""
        outcome: Any = None
        try:
            while True:
                outcome = self._take(steps.send(outcome))
        except StopIteration as done:
            return done.value

    def _take(self, step: Step) -> Any:
        match step:
            case Authorize():
                return self._authorization(step)
            case Send():
                return self._attempt(step)
            case Pause(seconds):
                time.sleep(seconds)
                return None
            case _ as never:
                assert_never(never)

    def _authorization(self, step: Authorize) -> str | None:
        value = self._settings.authorization(renew=step.renew)
        if value is None or isinstance(value, str):
            return value
        value.close()
        raise ConfigurationError(
            "A coroutine function as token source needs AsyncPushGateway.", key="bearer_token"
        )

    def _attempt(self, step: Send) -> Answer | PushgatewayError:
        try:
            return self._connection.send(step.request, step.expires)
        except (httpx2.RequestError, httpx2.InvalidURL, OSError) as error:
            return failure_of(error, step.about)


_live: WeakSet[PushGateway] = WeakSet()


def _forget_connections() -> None:
    for gateway in _live:
        gateway.forget_connection()


os.register_at_fork(after_in_child=_forget_connections)
