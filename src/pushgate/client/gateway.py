"""The gateway for blocking code, and what it shares with the one for asyncio."""

import gzip
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, assert_never, overload
from weakref import WeakSet

from pushgate.client import lifecycle, protobuf, text
from pushgate.client.address import (
    DEFAULT_ADDRESS,
    group_labels,
    job_label,
    parse_address,
    push_url,
)
from pushgate.client.auth import LaterToken, checked_header, credentials_of
from pushgate.client.collect import Collector, Collectors, Selection, Source
from pushgate.client.delivery import (
    Authorize,
    Delivery,
    Pause,
    PreparedRequest,
    PushMethod,
    Send,
    Step,
    Steps,
    deliver,
)
from pushgate.client.failures import RequestInfo, too_late
from pushgate.client.families import Rules, described, gather, report
from pushgate.client.group_list import PAGE, GroupQuery, ListedGroup, listed_in
from pushgate.client.job import JOB_GROUPS, Function, Job, OnPushError
from pushgate.client.log import log, warn_once
from pushgate.client.options import Options, checked_seconds, described_options, takes_options
from pushgate.client.periodic import Final, PeriodicPusher
from pushgate.client.results import (
    GatewayStatus,
    Group,
    Payload,
    PushResult,
    groups_in,
    status_in,
)
from pushgate.client.retry import Retry
from pushgate.client.route import Route
from pushgate.errors import ConfigurationError, EncodingError, PushgatewayError
from pushgate.properties import PrometheusProperties, resolve
from pushgate.version import __version__

if TYPE_CHECKING:
    from pushgate.client.transport import Connection

# Bytes from which on compression pays.
_MIN_COMPRESSED = 1024
_USER_AGENT = f"pushgate/{__version__}"
# What job_run() and periodic() of a kind of gateway return.
_Job = TypeVar("_Job")
_Periodic = TypeVar("_Periodic")


@dataclass(slots=True)
class Learned:
    """What a gateway object has learned about its gateway."""

    text_only: bool = False
    version_known: bool = False
    last_size: int = 0


class GatewayBase(Generic[_Job, _Periodic]):
    """A group on a gateway, its options, and what to send. Subclasses do the waiting."""

    _job_kind: Callable[..., _Job]
    _periodic_kind: Callable[..., _Periodic]

    @takes_options(Options)
    def __init__(self, *args: Any, **options: Any) -> None:
        self._given = Options(*args, **options)
        properties = resolve(self._given.properties)
        try:
            self._options = self._given.effective(properties)
            self._configure(properties)
        except ConfigurationError as error:
            if not error.source:
                error.comes_from(self._given.source_of(error.key, properties))
            raise
        self._learned = Learned()
        self._prepare()

    def _configure(self, properties: PrometheusProperties) -> None:
        """Work out what the options mean."""
        chosen = self._options
        written = DEFAULT_ADDRESS if chosen.address is None else chosen.address
        address = self._address = parse_address(written, chosen.scheme)
        self._job = job_label(chosen.job)
        self._labels = group_labels(chosen.grouping_key or {}, chosen.instance, address)
        self._url = push_url(address.base, self._job, self._labels, encoding=chosen.url_encoding)
        self._credentials = credentials_of(chosen, address.credentials)
        self._route = Route(address, chosen)
        retry = chosen.retry
        self._retry = Retry(attempts=retry + 1) if isinstance(retry, int) else retry
        self._source = Source(
            chosen.registry,
            chosen.include_default_collectors,
            chosen.multiprocess,
            properties.filter if chosen.apply_filter else None,
        )
        may_clash = chosen.on_label_clash == "allow"
        self._rules = Rules(
            escaping=chosen.escaping_scheme or "underscores",
            include_created=chosen.include_created,
            timestamps=chosen.timestamps,
            forbidden_labels=frozenset() if may_clash else frozenset({"job", *self._labels}),
        )

    def _prepare(self) -> None:
        """Check and create what the kind of gateway needs besides: lock, connection."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The URL of the group, without credentials."""
        return self._url

    @property
    def job(self) -> str:
        """The ``job`` of the group."""
        return self._job

    @property
    def grouping_key(self) -> Mapping[str, str]:
        """The other labels of the group, sorted by name."""
        return dict(self._labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the options alone: the copy makes a connection of its own."""
        from prometheus_client.registry import REGISTRY, CollectorRegistry

        options = self._given.arguments()
        if options["registry"] is REGISTRY:
            options["registry"] = None  # that of the other process
        elif isinstance(options["registry"], CollectorRegistry):
            raise TypeError(
                "A gateway with registry= cannot be pickled, because its metrics would be copies:"
                " make it where it pushes."
            )
        return partial(type(self), **options), ()

    def replace(self, **changes: Any) -> Self:
        """Return a gateway that differs in these options, with a connection of its own.

        Example:
            >>> from pushgate import PushGateway
            >>> PushGateway("gateway:9091", job="a").replace(job="b").url
            'http://gateway:9091/metrics/job/b'
        """
        unknown = changes.keys() - self._given.arguments().keys()
        if unknown:
            raise TypeError(f"no such option: {min(unknown)}")
        return type(self)(**(self._given.arguments() | changes))

    def render(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
    ) -> Payload:
        """Return what a push would send, before compression. Nothing is sent.

        Args:
            collectors: One or many, instead of the registry.
            names: Push only the metrics of these names.
            exclude: Returns whether to leave out the metric of this name.

        Raises:
            EncodingError: The metrics cannot be pushed as they are.

        Example:
            >>> from pushgate import PushGateway
            >>> PushGateway(format="text").render(names=[]).body
            b''
        """
        return self._render(Selection(collectors, names, exclude))

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
        ignore: type[BaseException] | Iterable[type[BaseException]] = (),
    ) -> _Job: ...
    def job_run(
        self,
        name: str | Function | None = None,
        *,
        include: Iterable[Collector] = (),
        prefix: str = "batch_job_",
        push_start: bool = False,
        on_push_error: OnPushError = "log",
        ignore: type[BaseException] | Iterable[type[BaseException]] = (),
    ) -> _Job | Function:
        """Return a context manager and decorator that pushes how a job went.

        Those of :class:`AsyncPushGateway` are for ``async with`` and coroutine functions.

        The push at the end says when the job started and ended, how long it took, and
        whether it succeeded. A failed push never changes what the job does.

        Args:
            name: The ``job`` of the group, unless it is this gateway's.
            include: Collectors to push in the same request.
            prefix: What the names of the job metrics begin with.
            push_start: Whether to push at the start, too, so that a killed job is seen.
            on_push_error: ``log``, ``raise``, or a function that is given the error.
            ignore: Exceptions (or one) that end a run without an outcome, such as Celery's
                ``Retry``: nothing is pushed, because the run will go on later.

        Example:
            >>> with gateway.job_run("nightly") as job:  # doctest: +SKIP
            ...     job.counter("rows", "Rows read").inc(3)
        """
        if callable(name):  # @gateway.job_run without parentheses
            decorated: Function = self.job_run()(name)  # type: ignore[operator]  # a job
            return decorated
        return self._job_kind(
            self if name is None else self.replace(job=name),
            tuple(include),
            prefix,
            on_push_error,
            push_start=push_start,
            ignore=(ignore,) if isinstance(ignore, type) else tuple(ignore),
        )

    def periodic(self, interval: float, *, jitter: float = 0.1, final: Final = "push") -> _Periodic:
        """Return a context manager that pushes every *interval* seconds beside the program.

        It pushes from a thread; that of :class:`AsyncPushGateway` from a task.

        Args:
            interval: Seconds from one push to the next.
            jitter: How much later a push may be, as a share of *interval*.
            final: What to do at the end: ``push``, ``delete``, or None.
        """
        return self._periodic_kind(self, interval, jitter, final)

    def _render(self, selection: Selection, *, in_text: bool = False) -> Payload:
        in_text = in_text or self._options.format == "text" or self._learned.text_only
        writer = text if in_text else protobuf
        body = bytearray()
        families = samples = 0
        metrics = self._source.metrics(selection)
        for family in gather(metrics, self._rules, selection.left_out):
            try:
                body += writer.encode(family)
            except Exception as error:  # noqa: BLE001  collectors yield whatever they like
                reason = f"{family.name!a} cannot be pushed: {described(error)}"
                report(EncodingError(reason), selection.left_out, error)
            else:
                families += 1
                samples += len(family.points)
        self._learned.last_size = len(body)
        return Payload(bytes(body), writer.CONTENT_TYPE, families, samples)

    def _expires(self, deadline: float | None) -> float:
        limit = self._options.deadline if deadline is None else deadline
        seconds = checked_seconds("deadline", limit)
        return math.inf if seconds is None else time.monotonic() + seconds

    def _push_steps(
        self, method: str, selection: Selection, payload: Payload, expires: float
    ) -> Steps:
        """Yield the steps of a push of *payload*; return its PushResult."""
        nothing = PushResult(0, 0, 0.0, 0, payload.families, payload.samples, self.url, "")
        if not self._is_enabled(method):
            return nothing
        if not payload.families:
            match self._options.on_empty:
                case "error":
                    raise EncodingError("There is nothing to push.")
                case "warn":
                    warn_once("There is nothing to push; a push of nothing empties the group.")
                case "skip":
                    return nothing
        if self._rules.escaping == "allow-utf-8" and not self._learned.version_known:
            yield from self._check_version(expires)
        request = self._prepared(method, expires, payload)
        if self._options.format == "auto" and payload.format == "protobuf":
            # Encoded only if the gateway turns out not to read protobuf.
            def as_text() -> PreparedRequest:
                return self._prepared(method, expires, self._render(selection, in_text=True))

            request = replace(request, as_text=as_text)
        delivery = yield from deliver(request, time.monotonic)
        if delivery.request.info.is_protobuf is not request.info.is_protobuf:
            self._learned.text_only = True
            warn_once("The gateway does not read protobuf: native histograms are lost.")
        return _result(delivery, payload)

    def _is_enabled(self, method: str) -> bool:
        if not self._options.enabled:
            log.info("%s %s is not sent: pushgate.enabled is false", method, self.url)
        return self._options.enabled

    def _warn_about_job_metrics(self) -> None:
        if self.url in JOB_GROUPS:
            warn_once(
                f"push() replaces the whole group {self.url}, the metrics of its job_run too;"
                " use push_add(), or include= in job_run()."
            )

    def _delete_steps(self, expires: float) -> Steps:
        """Yield the steps of deleting the group; return the PushResult."""
        if not self._is_enabled("DELETE"):
            return PushResult(0, 0, 0.0, 0, 0, 0, self.url, "")
        delivery = yield from deliver(self._prepared("DELETE", expires), time.monotonic)
        return _result(delivery, Payload(b"", ""))

    def _read_steps(self, path: str, expires: float, method: str = "GET") -> Steps:
        """Yield the steps of a request for *path*; return the body of the answer."""
        info = RequestInfo(self._address.base, f"{self._address.base}{path}", method)
        request = replace(self._prepared(method, expires), info=info)
        delivery = yield from deliver(request, time.monotonic)
        return delivery.answer.body

    def _list_steps(self, query: GroupQuery, expires: float) -> Steps:
        """Yield the steps of listing the groups of *query*; return a tuple of them."""
        groups: list[ListedGroup] = []
        total = 1
        while len(groups) < total:
            path = query.path(limit=PAGE, offset=len(groups))
            total, page = listed_in((yield from self._read_steps(path, expires)))
            if not page:
                break  # some were deleted in the meantime
            groups += page
        return tuple(groups)

    def _delete_groups_steps(self, query: GroupQuery, expires: float, *, dry_run: bool) -> Steps:
        """Yield the steps of deleting the groups of *query*; return a tuple of them."""
        if not dry_run and not self._is_enabled("DELETE"):
            return ()
        path = query.path(dry_run=str(dry_run).lower())
        return tuple(listed_in((yield from self._read_steps(path, expires, "DELETE")))[1])

    def _check_version(self, expires: float) -> Steps:
        """Refuse a gateway whose scrapes UTF-8 names would break."""
        try:
            body = yield from self._read_steps("/api/v1/status", expires)
            status: GatewayStatus | None = status_in(body)
        except PushgatewayError:
            status = None
        if status is None or not status.version:
            warn_once("It is unknown whether the gateway can keep UTF-8 names.")
        elif not status.keeps_utf8_names:
            raise ConfigurationError(
                f"Pushgateway {status.version} breaks its scrapes with UTF-8 names;"
                " it takes 1.11.0, or another escaping_scheme.",
                key="escaping_scheme",
            )
        self._learned.version_known = True

    def _prepared(
        self, method: str, expires: float, payload: Payload | None = None
    ) -> PreparedRequest:
        """Return the request that sends *payload* to the group."""
        headers = {"User-Agent": _USER_AGENT}
        # A function is asked at each push, for values that change.
        for name, value in (self._options.headers or {}).items():
            headers[name] = checked_header(name, value() if callable(value) else value)
        body = b""
        if payload is not None:
            headers["Content-Type"] = payload.content_type
            body, coding = payload.body, self._options.compression
            if coding is not None and len(body) >= _MIN_COMPRESSED:
                headers["Content-Encoding"] = coding
                body = compressed(body, coding)
        return PreparedRequest(
            info=RequestInfo(
                base=self._address.base,
                url=self.url,
                method=method,
                is_protobuf=payload is not None and payload.format == "protobuf",
                is_compressed="Content-Encoding" in headers,
            ),
            headers=headers,
            body=body,
            renewable=self._credentials is not None and self._credentials.renewable,
            retry=self._retry,
            expires=expires,
            job=self._job,
            grouping_key=self._labels,
        )


def compressed(body: bytes, coding: str) -> bytes:
    """Return *body* in the content coding ``gzip`` or ``snappy`` (framed).

    Raises:
        ConfigurationError: snappy needs a package that is not installed.
    """
    if coding == "gzip":
        # Without a time in the header, the same metrics are the same bytes.
        return gzip.compress(body, compresslevel=6, mtime=0)
    try:
        import cramjam
    except ImportError as error:
        raise ConfigurationError(
            "snappy needs another package: pip install cramjam", key="compression"
        ) from error
    return bytes(cramjam.snappy.compress(body))


def _result(delivery: Delivery, payload: Payload) -> PushResult:
    info = delivery.request.info
    sent_as = "protobuf" if info.is_protobuf else "text"
    return PushResult(
        status=delivery.answer.status,
        attempts=delivery.attempts,
        elapsed=delivery.elapsed,
        bytes_sent=len(delivery.request.body),
        families=payload.families,
        samples=payload.samples,
        url=info.url,
        format=sent_as if payload.content_type else "",
    )


def _method(*, add: bool, merge: bool) -> PushMethod:
    if merge:
        return "PATCH"
    return "POST" if add else "PUT"


class PushGateway(GatewayBase[Job, PeriodicPusher]):
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
        transport, client = self._options.transport, self._options.http_client
        if transport is not None or client is not None:
            import httpx2

            if isinstance(transport, httpx2.AsyncBaseTransport) and not isinstance(
                transport, httpx2.BaseTransport
            ):
                raise ConfigurationError("This transport is for AsyncPushGateway.", key="transport")
            if isinstance(client, httpx2.AsyncClient):
                raise ConfigurationError("This client is for AsyncPushGateway.", key="http_client")
        self._users = 0
        self._sent: Callable[[int], object] | None = None
        self.forget_connection()
        _live.add(self)

    def forget_connection(self) -> None:
        """Start with a new lock and a new connection: after a fork both are the parent's."""
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def watch(self, sent: Callable[[int], object]) -> None:
        """Call *sent* with the number of bytes of each piece of a body that is sent."""
        self._sent = sent

    def push(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace the whole group (PUT): metrics that it held and that are not pushed are gone.

        Args:
            collectors: One or many, instead of the registry.
            names: Push only the metrics of these names.
            exclude: Returns whether to leave out the metric of this name.
            deadline: Seconds for all attempts together, instead of the gateway's.

        Raises:
            EncodingError: The metrics cannot be pushed as they are.
            PushConnectionError: There was no answer; a PushTimeoutError if not in time.
            PushHTTPError: The gateway refused the push; the message has its explanation.

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
        """Replace the families of the same names (POST); the other families of the group stay.

        Arguments and errors are those of :meth:`push`.
        """
        return self.push_selection("POST", Selection(collectors, names, exclude), deadline)

    def merge(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace the same series (PATCH); all other series of the group stay.

        It needs a gateway that is Pushgate. Arguments and errors are those of :meth:`push`.
        """
        return self.push_selection("PATCH", Selection(collectors, names, exclude), deadline)

    def push_payload(
        self,
        payload: Payload,
        *,
        add: bool = False,
        merge: bool = False,
        deadline: float | None = None,
    ) -> PushResult:
        """Push a body that is already encoded, as it is; errors as for :meth:`push`.

        Args:
            payload: The body; nothing in it is checked.
            add: As :meth:`push_add` (POST), instead of :meth:`push` (PUT).
            merge: As :meth:`merge` (PATCH).
            deadline: Seconds for all attempts together, instead of the gateway's.
        """
        method, expires = _method(add=add, merge=merge), self._expires(deadline)
        with self._turn(method, expires):
            result: PushResult = self._run(self._push_steps(method, Selection(), payload, expires))
            return result

    replace_group = push
    replace_families = push_add
    replace_series = merge

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

    def list_groups(
        self,
        match: str | Iterable[str] = (),
        *,
        failed: bool | None = None,
        older_than: float | None = None,
        deadline: float | None = None,
    ) -> tuple[ListedGroup, ...]:
        """Return the groups that meet all conditions, without their metrics.

        Unlike :meth:`groups`, it needs a gateway that is Pushgate.

        Args:
            match: Selectors such as ``{job="backup",instance=~"db.*"}``, of which one has to
                match. Unless given, every group does.
            failed: Whether the last push to the group failed; None for both.
            older_than: The last successful push is more seconds ago than this.
            deadline: Seconds for all requests together, instead of the gateway's.

        Raises:
            PushConnectionError: There was no answer; a PushTimeoutError if not in time.
            PushHTTPError: The gateway refused the request, for a wrong selector for example.

        Example:
            >>> gateway.list_groups('{job=~"back.*"}', failed=True)  # doctest: +SKIP
        """
        query = GroupQuery.of(match, failed=failed, older_than=older_than)
        expires = self._expires(deadline)
        with self._turn("GET", expires):
            groups: tuple[ListedGroup, ...] = self._run(self._list_steps(query, expires))
            return groups

    def delete_groups(
        self,
        match: str | Iterable[str] = (),
        *,
        failed: bool | None = None,
        older_than: float | None = None,
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> tuple[ListedGroup, ...]:
        """Delete the groups that meet all conditions, all or none; return them.

        It needs *match*, with a matcher in each selector, or *older_than*. Arguments and
        errors are those of :meth:`list_groups`; with *dry_run* nothing is deleted.
        """
        query = GroupQuery.of(match, failed=failed, older_than=older_than)
        expires = self._expires(deadline)
        with self._turn("DELETE", expires):
            steps = self._delete_groups_steps(query, expires, dry_run=dry_run)
            groups: tuple[ListedGroup, ...] = self._run(steps)
            return groups

    def ready(self, *, deadline: float | None = None) -> bool:
        """Return whether the gateway answers, and that it is ready."""
        try:
            self._read("/-/ready", deadline)
        except PushgatewayError:
            return False
        return True

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
        checked_seconds("deadline", deadline)
        lifecycle.at_exit(lambda: self.push(deadline=deadline), signals)

    def __enter__(self) -> Self:
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        # While another thread pushes, the connection is that thread's to close.
        if not self._users and self._lock.acquire(blocking=False):
            self._close()
            self._lock.release()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def push_selection(
        self,
        method: PushMethod,
        selection: Selection,
        deadline: float | None = None,
    ) -> PushResult:
        """Push what *selection* takes. Errors as for :meth:`push`."""
        expires = self._expires(deadline)
        with self._turn(method, expires):
            steps = self._push_steps(method, selection, self._render(selection), expires)
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
        # One at a time: a retry of an older push must not overwrite a newer one.
        lock, left = self._lock, min(max(expires - time.monotonic(), 0), threading.TIMEOUT_MAX)
        if not lock.acquire(timeout=left):
            info = RequestInfo(self._address.base, self.url, method)
            raise too_late(info, "while another push went on")
        try:
            yield
        finally:
            # Outside of a `with` block each push closes its connection: a job that pushes
            # once should not hold a socket until it ends.
            if not self._users:
                self._close()
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
                time.sleep(seconds)
                return None
            case _ as never:
                assert_never(never)


if PushGateway.__doc__:  # python -OO strips it
    PushGateway.__doc__ = PushGateway.__doc__.replace("{options}", described_options())

# Gateways whose connections a forked child must not share: both would read the answers.
_live: WeakSet[PushGateway] = WeakSet()


def _forget_connections() -> None:
    for gateway in _live:
        gateway.forget_connection()


os.register_at_fork(after_in_child=_forget_connections)
