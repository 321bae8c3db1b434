"""Errors that say what was wrong with an answer, and what to do about it."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from pushgate.client.address import DEFAULT_PORTS
from pushgate.errors import (
    PushAuthError,
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
        message += f", response body: {text[:_MAX_SHOWN]}"
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
        if error.status == 404 and "/api/v1/groups" in info.url:
            hint = "the gateway has no list of groups; Pushgate has"
        elif error.status == 405 and info.method == "PATCH":
            hint = "the gateway cannot replace single series; Pushgate can"
        return hint
    # Redirected from http to https: the most frequent redirect there is.
    there = urlsplit(location_in(error, info))
    if there.scheme != "https" or not info.url.startswith("http://"):
        return ""
    return f"the gateway wants https: use https://{there.netloc.rpartition('@')[2]} as the address"


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
