"""What the gateways for blocking code and for asyncio share: everything but the waiting."""

import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Generic, Self, TypeVar, overload

from pushgate.client.address import (
    DEFAULT_ADDRESS,
    group_labels,
    job_label,
    parse_address,
    push_url,
)
from pushgate.client.auth import blamed_on, checked_header, credentials_of
from pushgate.client.collect import Collector, Collectors, Selection, Source, described, report
from pushgate.client.delivery import Delivery, PushMethod, Request, Way, deliver
from pushgate.client.failures import RequestInfo, too_late
from pushgate.client.group_list import PAGE, ListedGroup, listed_in, path_of
from pushgate.client.job import JOB_GROUPS, Function, OnPushError
from pushgate.client.operation import Awaited, operation
from pushgate.client.options import (
    ABOUT,
    OnEmpty,
    Options,
    checked_seconds,
    takes_options,
    wrong_type,
)
from pushgate.client.periodic import Final
from pushgate.client.results import GatewayStatus, Group, Payload, PushResult, groups_in, status_in
from pushgate.client.retry import Retry
from pushgate.client.route import Route
from pushgate.errors import ConfigurationError, EncodingError, PushgatewayError
from pushgate.log import log, warn_once
from pushgate.properties import resolve
from pushgate.version import __version__

# Bytes. A smaller body fits into one packet anyway.
_MIN_COMPRESSED = 1024

# What job_run() and periodic() of a kind of gateway return.
_Job = TypeVar("_Job")
_Periodic = TypeVar("_Periodic")


class GatewayBase(Generic[_Job, _Periodic]):
    """A group on a gateway, its options, and what to send."""

    _job_kind: Callable[..., _Job]
    _periodic_kind: Callable[..., _Periodic]
    _way_kind: Callable[[Route], Way]
    _way: Way
    _sent: Callable[[int], object] | None = None
    # What is known about the gateway from its answers.
    _text_only = False
    _version_known = False

    @takes_options(Options)
    def __init__(self, *args: Any, **options: Any) -> None:
        if unknown := options.keys() - ABOUT.keys():  # Options would speak of its own __init__()
            raise TypeError(f"no such option: {min(unknown)}")
        self._given = Options(*args, **options)
        properties = resolve(self._given.properties)
        try:
            chosen = self._options = self._given.effective(properties)
            written = DEFAULT_ADDRESS if chosen.address is None else chosen.address
            self._address = parse_address(written, chosen.scheme)
            self._job = job_label(chosen.job)
            self._labels = group_labels(chosen.grouping_key or {}, chosen.instance, self._address)
            self._url = push_url(
                self._address.base, self._job, self._labels, encoding=chosen.url_encoding
            )
            self._credentials = credentials_of(chosen, self._address.credentials)
            self._route = Route(self._address, chosen)
        except ConfigurationError as error:
            if not error.source:
                error.comes_from(self._given.source_of(error.key, properties))
            raise
        self._retry = chosen.retry if isinstance(chosen.retry, Retry) else Retry(chosen.retry + 1)
        self._source = Source(
            chosen.registry,
            chosen.include_default_collectors,
            chosen.multiprocess,
            properties.filter if chosen.apply_filter else None,
        )
        self._last_size = 0  # bytes of the last body, a guess at the next one
        self._check_connection()
        self._way = self._way_kind(self._route)

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
        # A partial, because pickle passes the arguments of a class by position only.
        return partial(type(self), **options), ()

    def replace(self, **changes: Any) -> Self:
        """Return a gateway with these options changed, and a connection of its own.

        Example:
            >>> from pushgate import PushGateway
            >>> PushGateway("gateway:9091", job="a").replace(job="b").url
            'http://gateway:9091/metrics/job/b'
        """
        return type(self)(**(self._given.arguments() | changes))

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
        """Return a context manager and decorator that pushes the outcome of a job.

        With :class:`AsyncPushGateway`, use ``async with``, or decorate a coroutine function.

        The push at the end says when the job started and ended, how long it took, and
        whether it succeeded. A push that fails does not affect the job.

        Args:
            name: The ``job`` of the group. Defaults to the job of this gateway.
            include: Collectors to push in the same request.
            prefix: Prefix of the names of the job metrics.
            push_start: Whether to push at the start, too, so that a job that is killed can be seen.
            on_push_error: ``log``, ``raise``, or a function, but not a coroutine function, that
                is called with the error.
            ignore: An exception class, or several, such as Celery's ``Retry``. They end a run
                without an outcome: nothing is pushed, because the run will go on later.

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
        """Return a context manager that pushes every *interval* seconds in the background.

        It pushes from a thread, or with :class:`AsyncPushGateway` from a task. In the group of a
        job_run, it pushes with :meth:`push_add`, which keeps the metrics of the job.

        Args:
            interval: Seconds from one push to the next.
            jitter: How much later a push may be, as a share of *interval*.
            final: What to do at the end: ``push``, ``delete``, or None.
        """
        return self._periodic_kind(self, interval, jitter, final)

    def render(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
    ) -> Payload:
        """Return what :meth:`push` would send with these arguments, before compression.

        Raises:
            EncodingError: The metrics cannot be pushed as they are.

        Example:
            >>> from pushgate import PushGateway
            >>> PushGateway(format="text").render(names=[]).body
            b''
        """
        return self._render(Selection.of(collectors, names, exclude))

    @operation
    async def push(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace the whole group (PUT). Metrics that are not pushed are deleted from it.

        Args:
            collectors: One or more collectors to push instead of the registry.
            names: Push only metrics with these names.
            exclude: A function that is given the name of each metric, without ``_total`` or
                ``_info``, and returns whether to leave it out.
            deadline: Seconds for all attempts together, instead of the gateway's.

        Raises:
            EncodingError: The metrics cannot be pushed as they are.
            PushConnectionError: The gateway did not answer; a PushTimeoutError if not in time.
            PushHTTPError: The gateway refused the push. The message contains its explanation.

        Example:
            >>> PushGateway("gateway:9091", job="nightly").push()  # doctest: +SKIP
        """
        if self.url in JOB_GROUPS:
            warn_once(
                f"push() replaces the whole group {self.url}, the metrics of its job_run too;"
                " use push_add(), or include= in job_run()."
            )
        return await self.pushing("PUT", Selection.of(collectors, names, exclude), deadline)

    @operation
    async def push_add(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace families by name (POST). The group keeps its other families.

        Arguments and errors are those of :meth:`push`.
        """
        return await self.pushing("POST", Selection.of(collectors, names, exclude), deadline)

    @operation
    async def merge(
        self,
        collectors: Collectors | None = None,
        *,
        names: Iterable[str] | None = None,
        exclude: Callable[[str], bool] | None = None,
        deadline: float | None = None,
    ) -> PushResult:
        """Replace single series (PATCH). The group keeps all its other series.

        Only Pushgate can do this. Arguments and errors are those of :meth:`push`.
        """
        return await self.pushing("PATCH", Selection.of(collectors, names, exclude), deadline)

    replace_group = push
    replace_families = push_add
    replace_series = merge

    @operation
    async def push_unattended(
        self, *, deadline: float | None = None, on_empty: OnEmpty | None = None
    ) -> PushResult:
        """Push from a schedule or an exit hook: PUT, but POST into the group of a job_run.

        There a PUT would erase the metrics of the job. *on_empty* replaces the gateway's option.
        Errors as for :meth:`push`.
        """
        method: PushMethod = "POST" if self.url in JOB_GROUPS else "PUT"
        return await self.pushing(method, Selection(), deadline, on_empty)

    @operation
    async def push_payload(
        self,
        payload: Payload,
        *,
        add: bool = False,
        merge: bool = False,
        deadline: float | None = None,
    ) -> PushResult:
        """Push a body that is already encoded, unchanged. Errors as for :meth:`push`.

        Args:
            payload: The body. It is not checked.
            add: Push like :meth:`push_add` (POST) instead of :meth:`push` (PUT).
            merge: Push like :meth:`merge` (PATCH).
            deadline: Seconds for all attempts together, instead of the gateway's.
        """
        method: PushMethod = "PATCH" if merge else "POST" if add else "PUT"
        async with self._turn(method, deadline) as expires:
            return await self._push(method, payload, expires)

    @operation
    async def delete(self, *, deadline: float | None = None) -> PushResult:
        """Delete the group, if it exists. Errors as for :meth:`push`."""
        async with self._turn("DELETE", deadline) as expires:
            if not self._is_enabled("DELETE"):
                return PushResult(0, 0, 0.0, 0, 0, 0, self.url, "")
            delivery = await deliver(self._prepared("DELETE", expires), self._way)
            return _result(delivery, Payload(b"", ""))

    @operation
    async def status(self, *, deadline: float | None = None) -> GatewayStatus:
        """Return the version and the flags of the gateway. Errors as for :meth:`push`."""
        return status_in(await self._get("/api/v1/status", deadline))

    @operation
    async def groups(self, *, deadline: float | None = None) -> tuple[Group, ...]:
        """Return all groups that the gateway holds. Errors as for :meth:`push`."""
        return groups_in(await self._get("/api/v1/metrics", deadline))

    @operation
    async def list_groups(
        self,
        match: str | Iterable[str] = (),
        *,
        failed: bool | None = None,
        older_than: float | None = None,
        deadline: float | None = None,
    ) -> tuple[ListedGroup, ...]:
        """Return the groups that meet all conditions, without their metrics.

        Only Pushgate has this list; :meth:`groups` works with every Pushgateway.

        Args:
            match: One or more selectors, such as ``{job="backup",instance=~"db.*"}``. A group has
                to match one of them. Without any, every group matches.
            failed: Whether the last push to the group failed; None for either.
            older_than: Only groups whose last successful push is more than so many seconds ago.
            deadline: Seconds for all requests together, instead of the gateway's.

        Raises:
            PushConnectionError: The gateway did not answer; a PushTimeoutError if not in time.
            PushHTTPError: The gateway refused the request, for example because of a selector.

        Example:
            >>> gateway.list_groups('{job=~"back.*"}', failed=True)  # doctest: +SKIP
        """
        query = partial(path_of, _selectors(match), failed=failed, older_than=older_than)
        groups: list[ListedGroup] = []
        total = 1
        async with self._turn("GET", deadline) as expires:
            while len(groups) < total:
                path = query(limit=PAGE, offset=len(groups))
                total, page = listed_in(await self._read(path, expires))
                if not page:
                    break  # groups were deleted between two pages: the total is too high
                groups += page
        return tuple(groups)

    @operation
    async def delete_groups(
        self,
        match: str | Iterable[str] = (),
        *,
        failed: bool | None = None,
        older_than: float | None = None,
        dry_run: bool = False,
        deadline: float | None = None,
    ) -> tuple[ListedGroup, ...]:
        """Delete the groups that meet all conditions, all or none, and return them.

        Requires *match*, with a matcher in each selector, or *older_than*. With *dry_run*, nothing
        is deleted. Other arguments and errors are those of :meth:`list_groups`.
        """
        path = path_of(
            _selectors(match), failed=failed, older_than=older_than, dry_run=str(dry_run).lower()
        )
        if not dry_run and not self._is_enabled("DELETE"):
            return ()
        async with self._turn("DELETE", deadline) as expires:
            return tuple(listed_in(await self._read(path, expires, "DELETE"))[1])

    @operation
    async def ready(self, *, deadline: float | None = None) -> bool:
        """Return whether the gateway is reachable and ready."""
        try:
            await self._get("/-/ready", deadline)
        except PushgatewayError:
            return False
        return True

    @operation
    async def read(self, path: str, *, deadline: float | None = None) -> bytes:
        """Return the body of a GET of *path*. Errors as for :meth:`push`."""
        return await self._get(path, deadline)

    def prepared(self, method: str, payload: Payload | None = None) -> Request:
        """Return a request that :meth:`send` takes, which sends *payload* to the group."""
        return self._prepared(method, self._expires(None), payload)

    @operation
    async def send(self, request: Request) -> Delivery:
        """Send *request*, made by :meth:`prepared` and perhaps changed by the caller.

        It gets the gateway's credentials and retries. Errors as for :meth:`push`.
        """
        async with self._way.turn(request.info, request.expires):
            return await deliver(request, self._way)

    async def pushing(
        self,
        method: PushMethod,
        selection: Selection,
        deadline: float | None = None,
        on_empty: OnEmpty | None = None,
    ) -> PushResult:
        """Push what *selection* takes. Errors as for :meth:`push`."""
        async with self._turn(method, deadline) as expires:
            payload = await self._way.encode(partial(self._render, selection), self._last_size)
            on_empty = on_empty or self._options.on_empty
            return await self._push(method, payload, expires, selection, on_empty)

    def _expires(self, deadline: float | None) -> float:
        limit = self._options.deadline if deadline is None else deadline
        seconds = checked_seconds("deadline", limit)
        return math.inf if seconds is None else time.monotonic() + seconds

    @asynccontextmanager
    async def _turn(self, method: str, deadline: float | None) -> AsyncIterator[float]:
        """Wait for the operations before this one, and yield when its deadline will pass."""
        expires = self._expires(deadline)
        async with self._way.turn(self._info(method), expires):
            yield expires

    def _info(self, method: str) -> RequestInfo:
        return RequestInfo(self._address.base, self.url, method)

    def _is_enabled(self, method: str) -> bool:
        if not self._options.enabled:
            log("info", "%s %s is not sent: pushgate.enabled is false", method, self.url)
        return self._options.enabled

    def _render(self, selection: Selection, *, in_text: bool = False) -> Payload:
        # Not at the top: the command line pushes bodies that are encoded already.
        from pushgate.client.families import Rules, gather, label_without_text

        chosen = self._options
        if in_text or chosen.format == "text" or self._text_only:
            from pushgate.client.text import CONTENT_TYPE, encode
        else:
            from pushgate.client.protobuf import CONTENT_TYPE, encode
        rules = Rules(
            escaping=chosen.escaping_scheme or "underscores",
            include_created=chosen.include_created,
            timestamps=chosen.timestamps,
            forbidden_labels=(
                frozenset({"job", *self._labels})
                if chosen.on_label_clash == "error"
                else frozenset()
            ),
        )
        body = bytearray()
        families = samples = 0
        metrics = self._source.metrics(selection)
        for family in gather(metrics, rules, selection.left_out):
            try:
                body += encode(family)
            except Exception as error:  # noqa: BLE001  collectors yield whatever they like
                why = label_without_text(family) or described(error)
                failed = EncodingError(f"{family.name!a} cannot be pushed: {why}")
                report(failed, selection.left_out, error)
            else:
                families += 1
                samples += len(family.points)
        self._last_size = len(body)
        return Payload(bytes(body), CONTENT_TYPE, families, samples)

    async def _push(
        self,
        method: str,
        payload: Payload,
        expires: float,
        selection: Selection | None = None,
        on_empty: OnEmpty | None = None,
    ) -> PushResult:
        """Push *payload*, which was made of *selection*, or given as it is."""
        nothing = PushResult(0, 0, 0.0, 0, payload.families, payload.samples, self.url, "")
        if not self._is_enabled(method):
            return nothing
        if on_empty is not None and not payload.families:
            match on_empty:
                case "error":
                    raise EncodingError("There is nothing to push.")
                case "warn":
                    effect = "empties the group" if method == "PUT" else "changes nothing"
                    warn_once(f"There is nothing to push, and an empty push {effect}.")
                case "skip":
                    return nothing
        if selection is not None and time.monotonic() >= expires:
            raise too_late(self._info(method), "while the metrics were collected")
        # Before 1.11.0 the Go server stores UTF-8 names, and every scrape after that fails.
        if self._options.escaping_scheme == "allow-utf-8" and not self._version_known:
            await self._check_version(expires)
        request = self._prepared(method, expires, payload)
        is_auto = self._options.format == "auto" and payload.format == "protobuf"
        if is_auto and selection is not None:
            # Encoded again only if the gateway turns out not to read protobuf.
            def as_text() -> Request:
                return self._prepared(method, expires, self._render(selection, in_text=True))

            request = request._replace(as_text=as_text)
        delivery = await deliver(request, self._way)
        if delivery.request.info.is_protobuf is not request.info.is_protobuf:
            self._text_only = True
            warn_once("The gateway does not read protobuf: native histograms are lost.")
        return _result(delivery, payload)

    async def _check_version(self, expires: float) -> None:
        """Refuse a gateway whose scrapes UTF-8 names would break."""
        try:
            status = status_in(await self._read("/api/v1/status", expires))
        except PushgatewayError:
            status = None
        if status is None or not status.version:
            warn_once("It is unknown whether the gateway can keep UTF-8 names.")
        elif not status.keeps_utf8_names:
            raise ConfigurationError(
                f"Scrapes of Pushgateway {status.version} fail once it stores UTF-8 names;"
                " use 1.11.0 or newer, or another escaping_scheme.",
                key="escaping_scheme",
            )
        self._version_known = True

    async def _get(self, path: str, deadline: float | None) -> bytes:
        async with self._turn("GET", deadline) as expires:
            return await self._read(path, expires)

    async def _read(self, path: str, expires: float, method: str = "GET") -> bytes:
        """Request *path* below the gateway's address; return the body of the answer."""
        info = RequestInfo(self._address.base, f"{self._address.base}{path}", method)
        request = self._prepared(method, expires)._replace(info=info)
        delivery = await deliver(request, self._way)
        return delivery.answer.body

    def _prepared(self, method: str, expires: float, payload: Payload | None = None) -> Request:
        headers = {"User-Agent": f"pushgate/{__version__}"}
        # A function is asked at each push, for values that change.
        for name, value in (self._options.headers or {}).items():
            with blamed_on("headers"):
                text = value() if callable(value) else value
            headers[name] = checked_header(name, text)
        body = b""
        if payload is not None:
            headers["Content-Type"] = payload.content_type
            body, coding = payload.body, self._options.compression
            if coding is not None and len(body) >= _MIN_COMPRESSED:
                headers["Content-Encoding"] = coding
                body = compressed(body, coding)
        return Request(
            info=RequestInfo(
                base=self._address.base,
                url=self.url,
                method=method,
                is_protobuf=payload is not None and payload.format == "protobuf",
                is_compressed="Content-Encoding" in headers,
            ),
            headers=headers,
            body=body,
            credentials=self._credentials,
            retry=self._retry,
            expires=expires,
            job=self._job,
            grouping_key=self._labels,
            sent=self._sent,
        )

    def _check_connection(self) -> None:
        """Refuse a transport or client that this kind of gateway cannot use."""
        if self._options.transport is None and self._options.http_client is None:
            return
        import httpx2  # slow, and hardly ever needed

        is_awaited = isinstance(self, Awaited)
        for key, kinds in (
            ("transport", (httpx2.BaseTransport, httpx2.AsyncBaseTransport)),
            ("http_client", (httpx2.Client, httpx2.AsyncClient)),
        ):
            value, what = getattr(self._options, key), key.removeprefix("http_")
            if value is None or isinstance(value, kinds[is_awaited]):
                continue
            if isinstance(value, kinds):
                other = "PushGateway" if is_awaited else "AsyncPushGateway"
                raise ConfigurationError(f"This {what} is for {other}.", key=key)
            raise wrong_type(key, f"an httpx2 {what}", value)


def compressed(body: bytes, coding: str) -> bytes:
    """Return *body* in the content coding ``gzip`` or ``snappy`` (framed).

    Raises:
        ConfigurationError: snappy needs a package that is not installed.
    """
    if coding == "gzip":
        import gzip

        # Without a time in the header, the same metrics are the same bytes.
        return gzip.compress(body, compresslevel=6, mtime=0)
    try:
        import cramjam
    except ImportError as error:
        raise ConfigurationError(
            "snappy needs another package: pip install cramjam", key="compression"
        ) from error
    return bytes(cramjam.snappy.compress(body))


def _selectors(match: str | Iterable[str]) -> tuple[str, ...]:
    return (match,) if isinstance(match, str) else tuple(match)


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
