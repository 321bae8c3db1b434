"""A push from its first attempt to its last, for any way of waiting."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from os import urandom
from typing import Literal, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

from pushgate.client.address import DEFAULT_PORTS, ascii_host
from pushgate.client.auth import Credentials, bearer
from pushgate.client.failures import (
    Answer,
    RequestInfo,
    failure_in,
    is_about_text,
    location_in,
    too_late,
    warn_about_page,
)
from pushgate.client.results import Payload
from pushgate.client.retry import Retry
from pushgate.client.route import FOREVER
from pushgate.errors import (
    PushAuthError,
    PushgatewayError,
    PushHTTPError,
    PushRedirectError,
    PushTimeoutError,
)
from pushgate.log import log

PushMethod: TypeAlias = Literal["PUT", "POST", "PATCH"]
# A gateway behind a proxy redirects once, to https or to a path; more are a loop.
_MAX_REDIRECTS = 3
# Seconds by which the timer of an event loop may be early.
_EARLY = 0.002

# Named tuples here and in much of the client: a dataclass takes ten times as long to define,
# and a job that pushes once pays for that at each start.


class Way(Protocol):
    """How a gateway waits. Blocking code and asyncio differ in nothing else."""

    def turn(self, info: RequestInfo, expires: float) -> AbstractAsyncContextManager[None]:
        """Wait until the operations before this one have ended; the block is this one."""
        ...

    async def encode(self, encode: Callable[[], Payload], size: int) -> Payload:
        """Return what *encode* returns, which may take long; *size* is a guess, in bytes."""
        ...

    async def token(self, token: Awaitable[str], info: RequestInfo, expires: float) -> str:
        """Return *token*, for which only an asyncio gateway can wait."""
        ...

    async def send(self, request: "Request") -> Answer | PushgatewayError:
        """Return the answer to *request*, or the error in its place. Its headers are complete."""
        ...

    async def pause(self, seconds: float) -> None: ...


class Request(NamedTuple):
    """A request that is ready to be sent, and the rules for sending it.

    ``headers`` are all but Authorization, which comes from ``credentials``. ``expires`` is on the
    monotonic clock. ``job`` and ``grouping_key`` are for errors. ``sent`` is called with the number
    of bytes of each piece that is sent. ``as_text`` prepares the same request in text, for a
    gateway that cannot read protobuf.
    """

    info: RequestInfo
    headers: Mapping[str, str]
    body: bytes
    credentials: Credentials | None
    retry: Retry
    expires: float
    job: str
    grouping_key: Mapping[str, str]
    sent: Callable[[int], object] | None = None
    as_text: "Callable[[], Request] | None" = None


class Delivery(NamedTuple):
    """The outcome of a request; *request* is the last one that was sent for it."""

    request: Request
    answer: Answer
    attempts: int
    elapsed: float


async def deliver(request: Request, way: Way) -> Delivery:
    """Send *request*, again if that can help; return its Delivery or raise the last failure."""
    started, attempts, retries = time.monotonic(), 0, 0
    follow_ups = FollowUps()
    # The same key at every attempt: where the gateway adds up pushes, a retry does not count twice.
    key = {"Idempotency-Key": urandom(16).hex()} if request.info.method == "POST" else {}
    while True:
        info, expires = request.info, request.expires
        headers = {**key, **request.headers}
        # Asked for at each attempt, because a token may have been replaced meanwhile.
        if request.credentials is not None:
            header = request.credentials.header(renew=follow_ups.renewed)
            if not isinstance(header, str):
                header = bearer(await way.token(header, info, expires))
            headers["Authorization"] = header
        # Their names are the same in any case (RFC 9110, 5.1), and the later ones count.
        headers = dict({name.lower(): (name, value) for name, value in headers.items()}.values())
        attempts += 1
        outcome = await way.send(request._replace(headers=headers))
        # An error is an outcome, not an exception: whether it ends the push is decided here.
        if not isinstance(outcome, Answer):
            failure: PushgatewayError = outcome
        elif (refusal := failure_in(outcome, info)) is None:
            warn_about_page(outcome, info)
            return Delivery(request, outcome, attempts, time.monotonic() - started)
        else:
            failure = refusal
        # A follow-up is not a retry: it is sent at once and does not count as an attempt.
        follow_up = follow_ups.after(failure, request)
        if follow_up is not None:
            request = follow_up
            continue
        now = time.monotonic()
        _complete(failure, request, attempts, now - started)
        # The deadline cut the attempt short, so "read timed out" would be misleading.
        if now >= expires - _EARLY and isinstance(failure, PushTimeoutError):
            times = f"{attempts} attempt{'' if attempts == 1 else 's'}"
            late = too_late(info, f"after {failure.elapsed:.1f} s and {times}")
            # Any attempt but the last may have been received as well.
            late.sent = failure.sent or attempts > 1
            if failure.phase == "connect":  # the timeout for reading is not what was too short
                late.hint = failure.hint
            _complete(late, request, attempts, failure.elapsed)
            raise late from failure
        pause = request.retry.pause(retries, failure)
        retries += 1
        # Waiting beyond the deadline would only delay the error. Without one, Retry-After
        # may ask for longer than a thread can sleep.
        worthwhile = request.retry.covers(failure) and pause < min(expires - now, FOREVER)
        if retries >= request.retry.attempts or not worthwhile:
            raise failure
        log("info", "attempt %d failed, next one in %.2f s: %s", attempts, pause, failure)
        await way.pause(pause)


class FollowUps:
    """Requests to send at once after a failure, a limited number of each kind."""

    def __init__(self) -> None:
        self.renewed = False
        self._redirects = 0
        self._in_text = False

    def after(self, failure: PushgatewayError, request: Request) -> Request | None:
        """Return what to send instead of *request*, or None if only a retry can help."""
        if isinstance(failure, PushRedirectError):
            self._redirects += 1
            here, there = request.info.url, location_in(failure, request.info)
            # Whoever can make the gateway redirect to another server would get the credentials
            # and the metrics. So that is an error, and its message names the place.
            is_elsewhere = _origin(here) != _origin(there)
            if is_elsewhere or self._redirects > _MAX_REDIRECTS:
                return None
            return request._replace(info=request.info._replace(url=there))
        if isinstance(failure, PushAuthError):
            # Once: a gateway that refuses a fresh token will refuse the next one, too.
            first, self.renewed = not self.renewed, True
            renewable = request.credentials is not None and request.credentials.renewable
            return request if failure.status == 401 and renewable and first else None
        if isinstance(failure, PushHTTPError) and request.as_text and not self._in_text:
            # Only if the gateway tried to read the body as text: another 400 is about its content.
            self._in_text = is_about_text(failure)
            return request.as_text() if self._in_text else None
        return None


def _origin(url: str) -> tuple[str, str]:
    """Return scheme and host with port of *url*, the same for whatever means the same."""
    parts = urlsplit(url)
    host = ascii_host(parts.netloc.lower())
    return parts.scheme, host.removesuffix(f":{DEFAULT_PORTS.get(parts.scheme)}")


def _complete(failure: PushgatewayError, request: Request, attempts: int, elapsed: float) -> None:
    """Fill in the attributes of *failure* that only the delivery knows."""
    failure.method, failure.url = request.info.method, request.info.url
    failure.job, failure.grouping_key = request.job, request.grouping_key
    failure.attempts, failure.elapsed = attempts, elapsed
