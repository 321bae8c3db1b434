"""Drop-ins for the push functions of ``prometheus_client``: same names, same signatures.

They send the same requests, once, without runtime configuration. What they add: the
gateway's own explanation is in the error, the address may hold credentials, the timeout
bounds the whole push, and :func:`instance_ip_grouping_key` is not ``127.0.0.1``.

Every failure is an ``OSError``: an ``HTTPError`` (with ``.code``) if the gateway refused the
push, or would refuse its job or grouping key, else a ``URLError``. It is also the
:class:`~pushgate.PushgatewayError` that says what was wrong. Only what a custom *handler*
raises besides ``HTTPError`` comes out as it is.

Example:
    >>> from pushgate.compat import push_to_gateway  # instead of prometheus_client
"""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, cast, get_args
from urllib.error import HTTPError, URLError

from prometheus_client.exposition import default_handler, generate_latest
from prometheus_client.registry import REGISTRY

from pushgate.client.address import DEFAULT_ADDRESS, instance_label, parse_address, push_url
from pushgate.client.auth import basic
from pushgate.client.base import compressed
from pushgate.client.collect import Collector
from pushgate.client.failures import Answer, RequestInfo, failure_in
from pushgate.client.gateway import PushGateway
from pushgate.client.text import CONTENT_TYPE
from pushgate.errors import ConfigurationError, EncodingError, PushgatewayError, PushHTTPError
from pushgate.properties.schema import Compression

_FOREVER = float("inf")


class Handler(Protocol):
    """A function that makes a request, such as ``prometheus_client``'s ``basic_auth_handler``."""

    def __call__(
        self,
        url: str,
        method: str,
        timeout: float | None,
        headers: list[tuple[str, str]],
        data: bytes,
    ) -> Callable[[], None]:
        """Return what sends the request, and raises an exception if that fails."""
        ...


def push_to_gateway(
    gateway: str,
    job: str,
    registry: Collector | None,
    grouping_key: Mapping[str, Any] | None = None,
    timeout: float | None = 30,
    handler: Handler = default_handler,
    compression: Compression | None = None,
) -> None:
    """Replace the whole group; as ``prometheus_client.push_to_gateway``."""
    with _url_errors():
        content = _text(registry, compression)
        _send("PUT", gateway, job, grouping_key, timeout, handler, content)


def pushadd_to_gateway(
    gateway: str,
    job: str,
    registry: Collector | None,
    grouping_key: Mapping[str, Any] | None = None,
    timeout: float | None = 30,
    handler: Handler = default_handler,
    compression: Compression | None = None,
) -> None:
    """Replace the families of the same names; as ``prometheus_client.pushadd_to_gateway``."""
    with _url_errors():
        content = _text(registry, compression)
        _send("POST", gateway, job, grouping_key, timeout, handler, content)


def delete_from_gateway(
    gateway: str,
    job: str,
    grouping_key: Mapping[str, Any] | None = None,
    timeout: float | None = 30,
    handler: Handler = default_handler,
) -> None:
    """Delete the group; as ``prometheus_client.delete_from_gateway``."""
    with _url_errors():
        content = _Content([("Content-Type", CONTENT_TYPE)], b"")
        _send("DELETE", gateway, job, grouping_key, timeout, handler, content)


def instance_ip_grouping_key(gateway: str = DEFAULT_ADDRESS) -> dict[str, str]:
    """Return a grouping key with the local address from which packets to *gateway* are sent."""
    with _url_errors():
        return {"instance": instance_label("ip", parse_address(gateway))}


class _Content(NamedTuple):
    headers: list[tuple[str, str]]
    body: bytes


def _text(registry: Collector | None, compression: Compression | None) -> _Content:
    """Return what is pushed; the body is prometheus_client's own."""
    headers = [("Content-Type", CONTENT_TYPE)]
    try:
        body = generate_latest(cast("Any", REGISTRY if registry is None else registry))
    except OSError:
        raise
    except Exception as error:
        # Whatever a collector yields or raises, callers catch OSError.
        raise EncodingError(f"The metrics cannot be written as text: {error}") from error
    if compression is None:
        return _Content(headers, body)
    coding = compression.lower()
    if coding not in get_args(Compression):
        raise ConfigurationError(f"Unsupported compression type: {compression}", key="compression")
    return _Content([*headers, ("Content-Encoding", coding)], compressed(body, coding))


def _send(
    method: str,
    written: str,
    job: str,
    grouping_key: Mapping[str, Any] | None,
    timeout: float | None,
    handler: Handler,
    content: _Content,
) -> None:
    """Send *content* once: with our connection, or with the *handler* of the caller."""
    headers, body = content
    written = str(written)  # None is the mistake of a caller, not the default address
    seconds = _FOREVER if timeout is None else timeout
    gateway = PushGateway(
        written,
        job=job,
        grouping_key={str(name): str(value) for name, value in (grouping_key or {}).items()},
        retry=0,
        deadline=timeout,
        connect_timeout=seconds,
        read_timeout=seconds,
        properties=False,
    )
    address = parse_address(written)
    # As prometheus_client writes it: values with blanks are in base64.
    url = push_url(address.base, gateway.job, gateway.grouping_key, blanks_in_base64=True)
    if handler is default_handler:
        request = gateway.prepared(method)
        sent = {**request.headers, **dict(headers), "Content-Length": str(len(body))}
        info = request.info._replace(url=url)
        gateway.send(request._replace(info=info, headers=sent, body=body))
        return
    if address.credentials is not None:
        headers = [*headers, ("Authorization", basic(*address.credentials))]
    try:
        handler(url=url, method=method, timeout=timeout, headers=headers, data=body)()
    except HTTPError as error:
        with error:
            answered = {name.lower(): value for name, value in (error.headers or {}).items()}
            answer = Answer(error.code, error.msg, answered, error.read())
        # No handler raises it for a success, but it would be no failure to us.
        failure = failure_in(answer, RequestInfo(address.base, url, method))
        raise failure or error from error


@contextmanager
def _url_errors() -> Iterator[None]:
    """Let ``except URLError`` and ``except HTTPError`` catch our errors, too."""
    try:
        yield
    except PushgatewayError as error:
        raise _url_error(error) from error.__cause__


def _url_error(error: PushgatewayError) -> Exception:
    # A group that every gateway refuses is not sent. prometheus_client would send it, and its
    # callers expect the status of the answer.
    is_no_group = isinstance(error, ConfigurationError) and error.key in {"job", "grouping_key"}
    urllib_error = HTTPError if is_no_group or isinstance(error, PushHTTPError) else URLError
    kind = _url_error_class(type(error), urllib_error)
    new = OSError.__new__(kind)  # the constructors of both parents want other arguments
    if isinstance(error, PushHTTPError):
        body = io.BytesIO(error.body)
        HTTPError.__init__(new, error.url, error.status, error.reason, error.headers, body)  # type: ignore[arg-type]
    elif is_no_group:
        HTTPError.__init__(new, "", 400, "Bad Request", {}, io.BytesIO(str(error).encode()))  # type: ignore[arg-type]
    else:
        URLError.__init__(new, error.__cause__ or str(error))  # type: ignore[arg-type]
    new.__dict__.update(error.__dict__, original=error)
    return new


def _url_error_class(kind: type[PushgatewayError], urllib_error: type[OSError]) -> type[OSError]:
    """Return a subclass of *kind* and of the error that urllib raises in its place."""
    members = {
        "__module__": __name__,
        "__doc__": kind.__doc__,
        "__str__": lambda self: str(self.original),
        "__reduce__": lambda self: (_url_error, (self.original,)),
    }
    return cast("type[OSError]", type(kind.__name__, (kind, urllib_error), members))
