"""What the blocking and the asyncio gateway have in common: everything but the waiting."""

import gzip
import logging
import math
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

import httpx2
from prometheus_client.registry import REGISTRY, CollectorRegistry

from pushgate import __version__
from pushgate.client import protobuf, text
from pushgate.client.address import UrlEncoding
from pushgate.client.auth import FilePath
from pushgate.client.exchange import Delivery, Order, Steps, deliver
from pushgate.client.failures import Sent
from pushgate.client.families import LeftOut, Rules, described, gather, report
from pushgate.client.results import GatewayStatus, Payload, PushResult, status_in
from pushgate.client.retry import Retry
from pushgate.client.settings import Header, seconds, settle
from pushgate.client.source import Collector, Collectors, Multiprocess, Source
from pushgate.client.warning import warn_once
from pushgate.errors import ConfigurationError, EncodingError, PushgatewayError
from pushgate.properties import PrometheusProperties, resolve
from pushgate.properties.schema import Compression, EscapingScheme, Format, Scheme

_log = logging.getLogger("pushgate.client")
# Smaller bodies do not get smaller.
_COMPRESS_FROM = 1024
_USER_AGENT = f"pushgate/{__version__}"


# Groups that a job_run has pushed to in this process.
JOB_GROUPS: set[str] = set()


class Selection(NamedTuple):
    """What one push takes; see :meth:`Source.metrics`."""

    collectors: Collectors | None = None
    names: Iterable[str] | None = None
    exclude: Callable[[str], bool] | None = None
    left_out: LeftOut | None = None
    """Called with the error of each metric that cannot be pushed, which is left out."""


@dataclass(slots=True)
class Memory:
    """What a gateway object has learnt about its gateway."""

    text_only: bool = False
    version_known: bool = False
    last_size: int = 0


class GatewayBase:
    """A group on a gateway, its options, and what to send; the options are PushGateway's."""

    def __init__(  # noqa: PLR0913  the options of one thing, all by keyword
        self,
        address: str | None = None,
        *,
        job: str | None = None,
        scheme: Scheme | None = None,
        grouping_key: Mapping[str, object] | None = None,
        instance: str | None = None,
        registry: Collector | None = None,
        include_default_collectors: bool = False,
        multiprocess: Multiprocess = "auto",
        format: Format = "auto",  # noqa: A002  the word users look for
        escaping_scheme: EscapingScheme | None = None,
        include_created: bool = False,
        timestamps: Literal["error", "strip"] = "error",
        on_label_clash: Literal["error", "allow"] = "error",
        on_empty: Literal["warn", "skip", "error"] = "warn",
        apply_filter: bool = False,
        basic_auth: tuple[str, str] | None = None,
        bearer_token: str | Callable[[], str | Awaitable[str]] | None = None,
        bearer_token_file: FilePath | None = None,
        headers: Mapping[str, Header] | None = None,
        verify: bool = True,
        ca_file: FilePath | None = None,
        ca_path: FilePath | None = None,
        ca_data: str | bytes | None = None,
        client_cert: tuple[FilePath, ...] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        proxy: str | None = "env",
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        deadline: float | None = 30.0,
        retry: Retry | int = Retry(),  # noqa: B008  frozen
        compression: Compression | None = None,
        flavor: Literal["pushgateway", "aggregation", "gravel"] = "pushgateway",
        url_encoding: UrlEncoding | None = None,
        transport: httpx2.BaseTransport | httpx2.AsyncBaseTransport | None = None,
        http_client: httpx2.Client | httpx2.AsyncClient | None = None,
        properties: PrometheusProperties | Mapping[str, str] | Literal[False] | None = None,
    ) -> None:
        options: dict[str, Any] = {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in locals().items()
            if name != "self"
        }
        self._options = options
        settings = self._settings = settle(options, resolve(properties))
        self._source = Source(registry, include_default_collectors, multiprocess, settings.filter)
        group = frozenset({"job", *settings.labels})
        self._rules = Rules(
            escaping=settings.escaping,
            include_created=include_created,
            timestamps=timestamps,
            forbidden_labels=frozenset() if on_label_clash == "allow" else group,
        )
        self._memory = Memory()
        self._prepare()

    def _prepare(self) -> None:
        """Create what the kind of gateway needs to wait: connection, lock."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """The URL of the group; credentials are never in it."""
        return self._settings.url

    @property
    def job(self) -> str:
        """The ``job`` of the group."""
        return self._settings.job

    @property
    def grouping_key(self) -> Mapping[str, str]:
        """The other labels of the group, sorted by name."""
        return dict(self._settings.labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the options alone: the copy makes a connection of its own."""
        options = dict(self._options)
        if options["registry"] is REGISTRY:
            options["registry"] = None  # that of the other process
        elif isinstance(options["registry"], CollectorRegistry):
            raise TypeError(
                "A gateway with registry= cannot be pickled, because its metrics would be copies:"
                " make it where it pushes."
            )
        return _unpickled, (type(self), options)

    def replace(self, **changes: Any) -> Self:
        """Return a gateway that differs in these options, with a connection of its own.

        Example:
            >>> from pushgate import PushGateway
            >>> PushGateway("gateway:9091", job="a").replace(job="b").url
            'http://gateway:9091/metrics/job/b'
        """
        unknown = changes.keys() - self._options.keys()
        if unknown:
            raise TypeError(f"no such option: {min(unknown)}")
        return type(self)(**{**self._options, **changes})

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
            names: Only metrics called so.
            exclude: None for whose name this is true.

        Raises:
            EncodingError: The metrics cannot be pushed as they are.

        Example:
            >>> from pushgate import PushGateway
            >>> PushGateway(format="text").render(names=[]).body
            b''
        """
        return self._rendered(Selection(collectors, names, exclude))

    def _rendered(self, selection: Selection) -> Payload:
        in_text = self._settings.format == "text" or self._memory.text_only
        return self._render(selection, in_text=in_text)

    def _render(self, selection: Selection, *, in_text: bool) -> Payload:
        left_out = selection.left_out
        writer = text if in_text else protobuf
        body = bytearray()
        families = samples = 0
        for family in gather(self._source.metrics(*selection), self._rules, left_out):
            try:
                body += writer.encode(family)
            except Exception as error:  # noqa: BLE001  collectors yield whatever they like
                reason = f"{family.name!a} cannot be pushed: {described(error)}"
                report(EncodingError(reason), left_out, error)
            else:
                families += 1
                samples += len(family.points)
        self._memory.last_size = len(body)
        return Payload(bytes(body), writer.CONTENT_TYPE, families, samples)

    def _expires(self, deadline: float | None) -> float:
        limit = self._settings.deadline if deadline is None else seconds("deadline", deadline)
        return math.inf if limit is None else time.monotonic() + limit

    def _push_steps(
        self, method: str, selection: Selection, payload: Payload, expires: float
    ) -> Steps:
        """Yield the steps of a push of *payload*; return its PushResult."""
        settings = self._settings
        if not self._is_enabled(method) or self._skips(payload):
            return PushResult(0, 0, 0.0, 0, payload.families, payload.samples, self.url, "")
        if settings.escaping == "allow-utf-8" and not self._memory.version_known:
            yield from self._check_version(expires)
        order = self._order(method, expires, payload)
        if settings.format == "auto" and payload.format == "protobuf":
            order = replace(order, in_text=lambda: self._text_order(method, selection, expires))
        delivery = yield from deliver(order, time.monotonic)
        if delivery.order.about.is_protobuf is not order.about.is_protobuf:
            self._memory.text_only = True
            warn_once("The gateway does not read protobuf: native histograms are lost.")
        return _result(delivery, payload)

    def _is_enabled(self, method: str) -> bool:
        if not self._settings.enabled:
            _log.info("%s %s is not sent: pushgate.enabled is false", method, self.url)
        return self._settings.enabled

    def _skips(self, payload: Payload) -> bool:
        if payload.families:
            return False
        if self._options["on_empty"] == "error":
            raise EncodingError("There is nothing to push.")
        if self._options["on_empty"] == "warn":
            warn_once("There is nothing to push; a push of nothing empties the group.")
        return bool(self._options["on_empty"] == "skip")

    def _warn_about_job_metrics(self) -> None:
        if self.url in JOB_GROUPS:
            warn_once(
                f"push() replaces the whole group {self.url}, the metrics of its job_run too;"
                " use push_add(), or include= in job_run()."
            )

    def _delete_steps(self, expires: float) -> Steps:
        if not self._settings.flavor.can_delete:
            raise ConfigurationError("This flavor of gateway has no delete.", key="flavor")
        if not self._is_enabled("DELETE"):
            return PushResult(0, 0, 0.0, 0, 0, 0, self.url, "")
        delivery = yield from deliver(self._order("DELETE", expires), time.monotonic)
        return _result(delivery, Payload(b"", ""))

    def _read_steps(self, path: str, expires: float) -> Steps:
        """Yield the steps of a GET of *path*; return the body of the answer."""
        about = Sent(self._settings.address.base, f"{self._settings.address.base}{path}", "GET")
        order = replace(self._order("GET", expires), about=about, idempotent=True)
        delivery = yield from deliver(order, time.monotonic)
        return delivery.answer.body

    def _check_version(self, expires: float) -> Steps:
        """Refuse a gateway that would poison its scrapes with UTF-8 names."""
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
        self._memory.version_known = True

    def _text_order(self, method: str, selection: Selection, expires: float) -> Order:
        return self._order(method, expires, self._render(selection, in_text=True))

    def _order(self, method: str, expires: float, payload: Payload | None = None) -> Order:
        settings = self._settings
        headers = {"User-Agent": _USER_AGENT, **settings.header_values()}
        body = b""
        if payload is not None:
            headers["Content-Type"] = payload.content_type
            body, encoding = payload.body, settings.compression
            if encoding is not None and len(body) >= _COMPRESS_FROM:
                headers["Content-Encoding"] = encoding
                body = compressed(body, encoding)
        return Order(
            about=Sent(
                base=settings.address.base,
                url=settings.url,
                method=method,
                is_protobuf=payload is not None and payload.format == "protobuf",
                is_compressed="Content-Encoding" in headers,
            ),
            headers=headers,
            body=body,
            renewable=settings.credentials is not None and settings.credentials.renewable,
            retry=settings.retry,
            idempotent=settings.flavor.idempotent,
            expires=expires,
            context={"job": settings.job, "grouping_key": settings.labels},
        )


def _unpickled(kind: type[GatewayBase], options: dict[str, Any]) -> GatewayBase:
    return kind(**options)


def compressed(body: bytes, coding: str) -> bytes:
    """Return *body* in the content coding ``gzip`` or ``snappy`` (framed).

    Raises:
        ConfigurationError: snappy needs a package that is not installed.
    """
    if coding == "gzip":
        return gzip.compress(body, compresslevel=6, mtime=0)
    try:
        import cramjam
    except ImportError as error:
        raise ConfigurationError(
            "snappy needs another package: pip install cramjam", key="compression"
        ) from error
    return bytes(cramjam.snappy.compress(body))


def _result(delivery: Delivery, payload: Payload) -> PushResult:
    return PushResult(
        status=delivery.answer.status,
        attempts=delivery.attempts,
        elapsed=delivery.elapsed,
        bytes_sent=len(delivery.order.body),
        families=payload.families,
        samples=payload.samples,
        url=delivery.order.about.url,
        format=""
        if not payload.content_type
        else ("protobuf" if delivery.order.about.is_protobuf else "text"),
    )
