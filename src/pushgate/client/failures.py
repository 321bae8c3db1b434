"""What went wrong, as an error that says so: from an answer, or from the lack of one."""

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx2

from pushgate.client.transport import Answer
from pushgate.client.warning import warn_once
from pushgate.errors import (
    ConfigurationError,
    PushAuthError,
    PushConnectionError,
    PushgatewayError,
    PushHTTPError,
    PushRedirectError,
    PushRejectedError,
    PushServerError,
    PushTimeoutError,
)

# So much of a body goes into a message; the error's .body has all of it.
_SHOWN = 4096
_AUTH = {401, 403, 407}
# client_golang and the gateway, in their words; see also :func:`is_about_text`.
_HINTS = (
    ("must not have timestamps", "timestamps='strip' leaves them out"),
    ("client sent an http request to an https server", "use https://"),
)
_CONFLICTS = ("inconsistent", "is not a", "should have")
_TEXT_PARSER = ("expected float as value", "text format parsing error")


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request was, as far as messages need it."""

    base: str
    url: str
    method: str
    is_protobuf: bool = False
    is_compressed: bool = False

    @property
    def prefix(self) -> str:
        """How every message about it begins."""
        what = {"DELETE": "delete metrics from", "GET": "read"}.get(self.method, "push metrics to")
        return f"Failed to {what} the Prometheus Pushgateway on {self.base}: "


def is_about_text(answer: PushHTTPError) -> bool:
    """Return whether a text parser has complained: it was sent protobuf, or compressed text."""
    body = answer.body.decode(errors="replace").lower()
    return answer.status in {400, 415} and any(word in body for word in _TEXT_PARSER)


def failure_in(answer: Answer, sent: Sent) -> PushHTTPError | None:
    """Return the error that *answer* is, or None if it is a success (any 2xx)."""
    if 200 <= answer.status < 300:
        return None
    text = answer.body.decode(errors="replace").strip()
    message = f"{sent.prefix}Response code from {sent.url} was {answer.status}"
    if text:
        message += f", response body: {text[:_SHOWN]}"
    location = answer.headers.get("location")
    if location and 300 <= answer.status < 400:
        message += f", which leads to {_without_secrets(location)}"
    error = _class_for(answer.status)(message)
    error.status, error.reason = answer.status, answer.reason
    error.body, error.headers = answer.body, answer.headers
    error.hint = _hint(error, text.lower(), sent)
    return error


def warn_about_page(answer: Answer, sent: Sent) -> None:
    """Warn once if a success is a page for people: a login page in front of the gateway."""
    if "html" in answer.headers.get("content-type", "").lower():
        hint = _port_hint(sent) or "is a login page or another server in front of the gateway?"
        warn_once(
            f"{sent.url} answered {answer.status} with an HTML page, as no gateway does: {hint}"
        )


def _class_for(status: int) -> type[PushHTTPError]:
    if status in _AUTH:
        return PushAuthError
    if status < 400:
        return PushRedirectError
    return PushServerError if status >= 500 or status in {408, 429} else PushRejectedError


def _hint(error: PushHTTPError, text: str, sent: Sent) -> str:
    for words, hint in _HINTS:
        if words in text:
            return hint
    if sent.is_compressed and "invalid metric name" in text:
        return "the gateway does not know this compression; use compression=None"
    if sent.is_protobuf and is_about_text(error):
        return "the gateway does not read protobuf; use format='text'"
    if error.status == 400 and any(words in text for words in _CONFLICTS):
        return "another group holds this name differently: rename it, or delete that group"
    if error.status in {404, 405, 501}:
        return _port_hint(sent)
    return _https_hint(error, sent)


def _https_hint(error: PushHTTPError, sent: Sent) -> str:
    """Return the advice for a redirect from http to https, the most frequent one."""
    here = urlsplit(sent.url)
    there = urlsplit(urljoin(sent.url, error.headers.get("location", "")))
    if (here.scheme, there.scheme) != ("http", "https") or not 300 <= error.status < 400:
        return ""
    where = f"https://{there.hostname}" + (f":{there.port}" if there.port else "")
    return f"the gateway wants https: use {where} as the address"


def _port_hint(sent: Sent) -> str:
    """Return the advice for an address without a port, which is rarely meant."""
    base = urlsplit(sent.base)
    if base.port is not None:
        return ""
    port = 443 if base.scheme == "https" else 80
    return f"the address has no port, so this was port {port}; a Pushgateway listens on 9091"


def _without_secrets(location: str) -> str:
    scheme, separator, rest = location.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def failure_of(error: Exception, sent: Sent) -> PushgatewayError:
    """Return why there was no answer, *error* being what the transport raised."""
    if isinstance(error, PushgatewayError):
        return error
    if isinstance(
        error, httpx2.InvalidURL | httpx2.UnsupportedProtocol | httpx2.LocalProtocolError
    ):
        return ConfigurationError(f"{sent.prefix}{error}", key="address")
    if isinstance(error, httpx2.ProxyError) and str(error).startswith("407"):
        refused = PushAuthError(f"{sent.prefix}the proxy says {error}")
        refused.status = 407
        return refused
    root = _root(error)
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return _timeout(error, sent)
    failure = PushConnectionError(f"{sent.prefix}{_reason(root, sent)}")
    failure.__cause__ = root
    failure.sent = not isinstance(error, httpx2.ConnectError | httpx2.ProxyError)
    failure.tls = isinstance(root, ssl.SSLError)
    # A certificate or a protocol does not get better; a handshake that broke off may.
    failure.final = failure.tls and not isinstance(root, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    if "WRONG_VERSION_NUMBER" in str(root) or "RECORD_LAYER_FAILURE" in str(root):
        failure.hint = "that port speaks plain HTTP; use http://"
    elif not failure.sent and not failure.tls and not isinstance(root, socket.gaierror):
        failure.hint = _port_hint(sent)
    return failure


def too_late(about: Sent, when: str) -> PushTimeoutError:
    """Return the error that the deadline passed; *when* says during what, or after what."""
    error = PushTimeoutError(f"{about.prefix}the deadline passed {when}")
    error.phase, error.url, error.method = "deadline", about.url, about.method
    return error


def _timeout(error: Exception, sent: Sent) -> PushTimeoutError:
    connecting = isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout)
    failure = PushTimeoutError(f"{sent.prefix}{'Connect' if connecting else 'Read'} timed out")
    failure.phase = "connect" if connecting else "read"
    failure.sent = not connecting
    failure.hint = _port_hint(sent) if connecting else ""
    return failure


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        if isinstance(cause, BaseExceptionGroup):  # one for each address of the host
            yield from cause.exceptions
        cause = cause.__cause__ or cause.__context__


def _root(error: BaseException) -> BaseException:
    """Return the error of the operating system or of TLS behind *error*, else the last one."""
    causes = list(_causes(error))
    of_system = [cause for cause in causes if isinstance(cause, OSError)]
    return next((cause for cause in of_system if cause.errno), [*of_system, causes[-1]][0])


def _reason(root: BaseException, sent: Sent) -> str:
    if isinstance(root, socket.gaierror):
        host = httpx2.URL(sent.base).host
        return f"unknown host {host}: {root.strerror}"
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {root.verify_message or root}"
    if isinstance(root, OSError) and root.strerror and root.errno:
        # asyncio puts the address there instead of the reason
        return root.strerror if isinstance(root, ssl.SSLError) else os.strerror(root.errno)
    return str(root) or type(root).__name__
