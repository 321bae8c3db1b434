"""Errors that say what was wrong with an answer, or why there is none, and what to do about it."""

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pushgate.client.address import DEFAULT_PORTS
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
from pushgate.log import warn_once

# Characters of a body that a message shows; the error's .body has all of it.
_MAX_SHOWN = 4096
_AUTH = {401, 403, 407}
_IN_URLS = "%!#$&'()*+,/:;=?@[]~"
# What the gateway and Go's libraries write, in lower case, and the advice for it.
_HINTS = (
    ("must not have timestamps", "timestamps='strip' leaves them out"),
    (
        "was collected before with the same name and label values",
        "the series is in this push twice, or in another group under the same labels: drop one",
    ),
    ("client sent an http request to an https server", "use https://"),
)
_CONFLICTS = ("inconsistent", "is not a", "should have")
# OpenSSL's X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, …_SELF_SIGNED_CERT_IN_CHAIN and
# …_UNABLE_TO_GET_ISSUER_CERT_LOCALLY.
_UNKNOWN_AUTHORITY = {18, 19, 20}
_TEXT_PARSER = ("expected float as value", "text format parsing error")


class Answer(NamedTuple):
    """An HTTP answer; header names are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


class RequestInfo(NamedTuple):
    """What error messages need to know about a request."""

    base: str
    url: str
    method: str
    is_protobuf: bool = False
    is_compressed: bool = False

    @property
    def prefix(self) -> str:
        """The beginning of every message about the request."""
        what = {"DELETE": "delete metrics from", "GET": "read"}.get(self.method, "push metrics to")
        return f"Failed to {what} the Prometheus Pushgateway on {self.base}: "


def is_about_text(answer: PushHTTPError) -> bool:
    """Return whether a text parser complained: it got protobuf, or compressed text."""
    body = answer.body.decode(errors="replace").lower()
    return answer.status in {400, 415} and any(word in body for word in _TEXT_PARSER)


def failure_in(answer: Answer, info: RequestInfo) -> PushHTTPError | None:
    """Return the error for *answer*, or None if it is a success (any 2xx)."""
    if 200 <= answer.status < 300:
        return None
    text = answer.body.decode(errors="replace").strip()
    if text.startswith('{"status":"error"'):  # Prometheus' API: the message is one field of it
        import json  # not at the top: a push that succeeds needs none

        with suppress(KeyError, ValueError):
            text = str(json.loads(text)["error"])
    message = f"{info.prefix}Response code from {info.url} was {answer.status}"
    if text:
        message += f", response body: {_shown(text)}"
    location = answer.headers.get("location")
    if location and 300 <= answer.status < 400:
        # It may contain credentials, and messages end up in logs.
        shown = re.sub(r"(?<=://)[^/]*@|^[^/]*@", "", location)
        message += f", which leads to {shown}"
    status = answer.status
    kind: type[PushHTTPError] = PushRejectedError
    if status in _AUTH:
        kind = PushAuthError
    elif status < 400:
        kind = PushRedirectError
    elif status >= 500 or status in {408, 429}:
        kind = PushServerError
    error = kind(message)
    error.status, error.reason = status, answer.reason
    error.body, error.headers = answer.body, answer.headers
    error.hint = _hint(error, text.lower(), info)
    return error


def _shown(text: str) -> str:
    """Return what a message shows of the body *text*: of an HTML page, its title."""
    if re.match(r"<(?:!doctype )?html", text, re.IGNORECASE):
        title = re.search(r"<title[^>]*>([^<]*)", text, re.IGNORECASE)
        text = f"an HTML page, {' '.join(title[1].split())}" if title else "an HTML page"
    # A control character would reach the terminal, and could end the line of a log.
    return "".join(
        character if character.isprintable() or character in "\n\t" else "\ufffd"
        for character in text[:_MAX_SHOWN].replace("\r\n", "\n")
    )


def warn_about_page(answer: Answer, info: RequestInfo) -> None:
    """Warn once if a success is an HTML page, such as a login in front of the gateway."""
    if "html" in answer.headers.get("content-type", "").lower():
        hint = port_hint(info) or "is a login page or another server in front of the gateway?"
        warn_once(
            f"{info.url} answered {answer.status} with an HTML page, as no gateway does: {hint}"
        )


def _hint(error: PushHTTPError, text: str, info: RequestInfo) -> str:
    for words, hint in _HINTS:
        if words in text:
            return hint
    if info.is_compressed and "invalid metric name" in text:
        return "the gateway does not support this compression; use compression=None"
    if info.is_protobuf and is_about_text(error):
        return "the gateway does not read protobuf; use format='text'"
    if error.status == 400 and any(words in text for words in _CONFLICTS):
        return "another group has a different metric of this name: rename it, or delete that group"
    if error.status in {404, 405, 501}:
        hint = port_hint(info)
        if error.status == 404 and "metrics" in urlsplit(info.base).path.split("/"):
            hint = "leave /metrics out of the address"
        elif error.status == 404 and "/api/v1/groups" in info.url:
            hint = "the gateway has no list of groups; Pushgate has"
        elif error.status == 405 and info.method == "PATCH":
            hint = "the gateway cannot replace single series; Pushgate can"
        return hint
    here, there = urlsplit(info.url), urlsplit(location_in(error, info))
    host = there.netloc.rpartition("@")[2]
    if not host or (there.scheme, host) == (here.scheme, here.netloc):
        return ""
    # From http to https: the most frequent redirect there is.
    wants_https = (here.scheme, there.scheme) == ("http", "https")
    why = "the gateway wants https" if wants_https else "it is another server, so not followed"
    return f"{why}: use {there.scheme}://{host} as the address"


def location_in(error: PushHTTPError, info: RequestInfo) -> str:
    """Return the URL that a redirect leads to; empty if it cannot be parsed."""
    location = error.headers.get("location")
    if not location or not isinstance(error, PushRedirectError):
        return ""
    try:
        # Blanks and other letters, which some servers leave as they are, are not for a request.
        target = urljoin(info.url, quote(location, safe=_IN_URLS, encoding="latin-1"))
        _ = urlsplit(target).port  # raises an error if it is no number
    except ValueError:
        return ""
    return target


def failure_of(
    error: Exception, info: RequestInfo, via: SplitResult | None, *, may_be_sent: bool
) -> PushgatewayError:
    """Return why there was no answer, *error* being what the connection raised.

    *via* is the proxy that the request should have gone through. *may_be_sent* is False if the
    connection was not ready yet, so that nothing can have been sent.

    Raises:
        Exception: *error* itself if it is no failure of a connection.
    """
    if isinstance(error, PushgatewayError):
        return error
    # By name, so that neither httpx2 nor ssl is imported for it; h11 and httpx2 share names.
    names = _names(error)
    if names & {"InvalidURL", "UnsupportedProtocol", "LocalProtocolError", "UnicodeError"}:
        return ConfigurationError(f"{info.prefix}{error}", key="address")
    # The proxy refused CONNECT; its status is in the error's text only.
    if "ProxyError" in names and str(error).startswith("407"):
        refused = PushAuthError(f"{info.prefix}the proxy says {error}")
        refused.status = 407
        return refused
    # These come before a connection is there: httpx2's PoolTimeout, until one is free.
    if names & {"ConnectTimeout", "PoolTimeout", "ConnectError", "ProxyError"}:
        may_be_sent = False
    if names & {"TimeoutException", "TimeoutError"}:
        late = PushTimeoutError(f"{info.prefix}{'Read' if may_be_sent else 'Connect'} timed out")
        late.phase, late.sent = ("read" if may_be_sent else "connect"), may_be_sent
        if may_be_sent:
            late.hint = "read_timeout= gives it longer to answer"
        elif "ResolverTimeoutError" in names:
            host = (via or urlsplit(info.base)).hostname
            late.hint = f"the resolver did not answer for {host}"
        else:
            late.hint = _proxy_hint(via) or port_hint(info)
        return late
    if not names & {"NetworkError", "ProtocolError", "ProxyError", "RequestError", "OSError"}:
        raise error
    root = _root(error)
    failure = PushConnectionError(f"{info.prefix}{_reason(root, via or urlsplit(info.base))}")
    failure.__cause__ = root
    failure.sent = may_be_sent
    failure.tls = "SSLError" in _names(root)
    # A wrong certificate or protocol stays wrong; a handshake that broke off may succeed later.
    failure.final = failure.tls and not _names(root) & {"SSLEOFError", "SSLZeroReturnError"}
    # What OpenSSL makes of an answer in plain text; the name depends on its version.
    if "WRONG_VERSION_NUMBER" in str(root) or "RECORD_LAYER_FAILURE" in str(root):
        failure.hint = "that port speaks plain HTTP; use http://"
    elif getattr(root, "verify_code", 0) in _UNKNOWN_AUTHORITY:
        failure.hint = "trust its authority with ca_file="
    elif not failure.sent and via is not None:
        failure.hint = _proxy_hint(via)
    elif not failure.sent and not failure.tls and not isinstance(root, socket.gaierror):
        failure.hint = port_hint(info)
    return failure


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _root(error: BaseException) -> BaseException:
    """Return the error of the operating system or of TLS behind *error*, else the last one."""
    # httpcore2 and anyio wrap the errors of sockets, and only those have an errno.
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        if isinstance(cause, BaseExceptionGroup):  # one for each address of the host
            causes += cause.exceptions
        cause = cause.__cause__ or cause.__context__
    of_system = [cause for cause in causes if isinstance(cause, OSError)]
    return next((cause for cause in of_system if cause.errno), [*of_system, causes[-1]][0])


def _reason(root: BaseException, url: SplitResult) -> str:
    """Return what *root* says, raised by a connection to the host of *url*."""
    if isinstance(root, socket.gaierror):
        return f"unknown host {url.hostname}: {root.strerror}"
    if "SSLCertVerificationError" in _names(root):
        return f"the certificate is not trusted: {getattr(root, 'verify_message', '') or root}"
    if isinstance(root, OSError) and root.strerror and root.errno:
        # In asyncio's errors, strerror is a sentence about the address.
        return root.strerror if "SSLError" in _names(root) else os.strerror(root.errno)
    return str(root) or type(root).__name__


def _proxy_hint(via: SplitResult | None) -> str:
    """Return what to look at if the connection went through a proxy, without its credentials."""
    return f"the connection goes through the proxy {via.netloc.rpartition('@')[2]}" if via else ""


def port_hint(info: RequestInfo) -> str:
    """Return advice if the address has no port, which is usually a mistake."""
    base = urlsplit(info.base)
    if base.port is not None:
        return ""
    port = DEFAULT_PORTS[base.scheme]
    return f"the address has no port, so this was port {port}; a Pushgateway listens on 9091"


def too_late(info: RequestInfo, when: str) -> PushTimeoutError:
    """Return the error for a deadline that has passed; *when* is the end of its message."""
    error = PushTimeoutError(f"{info.prefix}the deadline passed {when}")
    error.phase, error.url, error.method = "deadline", info.url, info.method
    return error
