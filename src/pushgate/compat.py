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
from typing import Any, TypeAlias, cast, get_args
from urllib.error import HTTPError, URLError

from prometheus_client.exposition import default_handler, generate_latest
from prometheus_client.registry import REGISTRY

from pushgate.client.address import DEFAULT_ADDRESS, instance_label, parse_address, push_url
from pushgate.client.auth import basic
from pushgate.client.base import compressed
from pushgate.client.collect import Collector
from pushgate.client.failures import Answer, RequestInfo, failure_in
from pushgate.client.gateway import PushGateway
from pushgate.client.options import checked_seconds, wrong_type
from pushgate.client.text import CONTENT_TYPE
from pushgate.errors import ConfigurationError, EncodingError, PushgatewayError, PushHTTPError
from pushgate.properties.schema import Compression

_FOREVER = float("inf")
_Content = tuple[list[tuple[str, str]], bytes]  # headers and body


Handler: TypeAlias = Callable[..., Callable[[], None]]
"""Makes a request, as ``prometheus_client``'s ``basic_auth_handler`` does.

It is called with ``url``, ``method``, ``timeout``, ``headers`` and ``data``. What it returns sends
the request, and raises an exception if that fails.
"""


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
        content = [("Content-Type", CONTENT_TYPE)], b""
        _send("DELETE", gateway, job, grouping_key, timeout, handler, content)


def instance_ip_grouping_key(gateway: str = DEFAULT_ADDRESS) -> dict[str, str]:
    """Return a grouping key with the local address from which packets to *gateway* are sent."""
    with _url_errors():
        return {"instance": instance_label("ip", parse_address(gateway))}


def _text(registry: Collector | None, compression: Compression | None) -> _Content:
    """Return headers and body of a push; the body is prometheus_client's own."""
    headers = [("Content-Type", CONTENT_TYPE)]
    try:
        body = generate_latest(cast("Any", REGISTRY if registry is None else registry))
    except OSError:
        raise
    except Exception as error:
        # Callers catch OSError, whatever a collector yields or raises.
        raise EncodingError(f"The metrics cannot be written as text: {error}") from error
    if compression is None:
        return headers, body
    coding = compression.lower()
    if coding not in get_args(Compression):
        raise ConfigurationError(f"Unsupported compression type: {compression}", key="compression")
    return [*headers, ("Content-Encoding", coding)], compressed(body, coding)


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
    # None is the mistake of a caller: neither the default address nor the name of the program.
    written = str(written)
    if job is None:
        raise wrong_type("job", "text", job)
    seconds = checked_seconds("timeout", timeout) or _FOREVER
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
        # A status of 2xx is no failure here, although no handler should raise one.
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
    # A group that every gateway refuses is not sent. prometheus_client sends it, so its callers
    # expect an error with the status of the answer.
    is_no_group = isinstance(error, ConfigurationError) and error.key in {"job", "grouping_key"}
    urllib_error = HTTPError if is_no_group or isinstance(error, PushHTTPError) else URLError
    # A subclass of both, for callers that catch either.
    members = {
        "__module__": __name__,
        "__doc__": type(error).__doc__,
        "__str__": lambda self: str(self.original),
        "__reduce__": lambda self: (_url_error, (self.original,)),
    }
    kind = cast("type[OSError]", type(type(error).__name__, (type(error), urllib_error), members))
    # Not by its constructor, because those of the parents take different arguments.
    new = OSError.__new__(kind)
    if isinstance(error, PushHTTPError):
        body = io.BytesIO(error.body)
        HTTPError.__init__(new, error.url, error.status, error.reason, error.headers, body)  # type: ignore[arg-type]
    elif is_no_group:
        HTTPError.__init__(new, "", 400, "Bad Request", {}, io.BytesIO(str(error).encode()))  # type: ignore[arg-type]
    else:
        URLError.__init__(new, error.__cause__ or str(error))  # type: ignore[arg-type]
    new.__dict__.update(error.__dict__, original=error)
    return new
