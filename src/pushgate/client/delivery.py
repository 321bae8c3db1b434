"""A push from its first attempt to its last, without sockets and clocks.

:func:`deliver` is a generator: it yields what to do next, a step, and is sent what came of it.
Blocking and asyncio gateways differ only in how they take a step.
"""

from collections.abc import Callable, Generator, Mapping
from os import urandom
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pushgate.client.failures import (
    Answer,
    RequestInfo,
    failure_in,
    is_about_text,
    location_in,
    too_late,
    warn_about_page,
)
from pushgate.client.log import log
from pushgate.client.results import Payload
from pushgate.client.retry import Retry
from pushgate.errors import (
    PushAuthError,
    PushgatewayError,
    PushHTTPError,
    PushRedirectError,
    PushTimeoutError,
)

PushMethod: TypeAlias = Literal["PUT", "POST", "PATCH"]
_Result = TypeVar("_Result")
_MAX_REDIRECTS = 3

# Named tuples here and in much of the client: a dataclass takes ten times as long to define,
# and a job that pushes once pays for that at each start.


class Turn(NamedTuple):
    """Wait until earlier operations have ended. A new turn ends the last one."""

    info: RequestInfo
    expires: float


class Encode(NamedTuple):
    """Call *encode*, which may take long. The outcome is what it returns."""

    encode: Callable[[], Payload]


class Authorize(NamedTuple):
    """Get the Authorization header, or None; *renew* if the last one was refused."""

    renew: bool
    info: RequestInfo
    expires: float


class Send(NamedTuple):
    """Send a request. The outcome is an Answer, or the PushgatewayError in its place."""

    info: RequestInfo
    headers: Mapping[str, str]
    body: bytes
    expires: float


class Pause(NamedTuple):
    """Wait for this many seconds."""

    seconds: float


Step: TypeAlias = Turn | Encode | Authorize | Send | Pause
Steps: TypeAlias = Generator[Step, Any, _Result]
"""What to do, one thing after the other. An error of a step is raised where it was yielded."""


class PreparedRequest(NamedTuple):
    """A request that is ready to be sent, and the rules for sending it.

    Attributes:
        info: Gateway, URL and method.
        headers: All headers but Authorization.
        body: The same bytes at every attempt.
        renewable: Whether new credentials may help after a 401.
        retry: How often to try.
        expires: When the deadline passes, on the clock given to :func:`deliver`.
        job: Of the group, for the error.
        grouping_key: Of the group, for the error.
        as_text: Prepares the same request in text, for a gateway that cannot read protobuf.
    """

    info: RequestInfo
    headers: Mapping[str, str]
    body: bytes
    renewable: bool
    retry: Retry
    expires: float
    job: str
    grouping_key: Mapping[str, str]
    as_text: "Callable[[], PreparedRequest] | None" = None


class Delivery(NamedTuple):
    """The outcome of a request; *request* is the last one that was sent for it."""

    request: PreparedRequest
    answer: Answer
    attempts: int
    elapsed: float


def deliver(request: PreparedRequest, clock: Callable[[], float]) -> Steps[Delivery]:
    """Yield the steps of *request*; return its Delivery or raise the last failure.

    Args:
        request: What to send.
        clock: Seconds, on the same scale as ``request.expires``.
    """
    started, attempts, retries = clock(), 0, 0
    follow_ups = FollowUps()
    # The same at every attempt: a gateway that adds pushes up applies them once.
    key = {"Idempotency-Key": urandom(16).hex()} if request.info.method == "POST" else {}
    while True:
        info, expires = request.info, request.expires
        # Asked for at each attempt, because a token may have been replaced meanwhile.
        authorization = yield Authorize(follow_ups.renewed, info, expires)
        headers = {**key, **request.headers}
        if authorization is not None:
            headers["Authorization"] = authorization
        attempts += 1
        outcome = yield Send(info, headers, request.body, expires)
        # An error is an outcome, not an exception: whether it ends the push is decided here.
        failure = failure_in(outcome, info) if isinstance(outcome, Answer) else outcome
        if failure is None:
            warn_about_page(outcome, info)
            return Delivery(request, outcome, attempts, clock() - started)
        # A follow-up is not a retry: it is sent at once and does not count as an attempt.
        follow_up = follow_ups.after(failure, request)
        if follow_up is not None:
            request = follow_up
            continue
        now = clock()
        _complete(failure, request, attempts, now - started)
        # The deadline cut the attempt off, so "read timed out" would mislead.
        if now >= expires and isinstance(failure, PushTimeoutError):
            times = f"{attempts} attempt{'' if attempts == 1 else 's'}"
            late = too_late(info, f"after {failure.elapsed:.1f} s and {times}")
            late.sent = True
            _complete(late, request, attempts, failure.elapsed)
            raise late from failure
        pause = request.retry.pause(retries, failure)
        retries += 1
        # A pause that ends after the deadline would only delay the error.
        worthwhile = request.retry.covers(failure) and now + pause < expires
        if retries >= request.retry.attempts or not worthwhile:
            raise failure
        log.info("attempt %d failed, next one in %.2f s: %s", attempts, pause, failure)
        yield Pause(pause)


class FollowUps:
    """Requests to send at once after a failure, a limited number of each kind."""

    def __init__(self) -> None:
        self.renewed = False
        self._redirects = 0
        self._in_text = False

    def after(self, failure: PushgatewayError, request: PreparedRequest) -> PreparedRequest | None:
        """Return what to send instead of *request*, or None if only a retry can help."""
        if isinstance(failure, PushRedirectError):
            self._redirects += 1
            here, there = request.info.url, location_in(failure, request.info)
            # Whoever can make the gateway redirect to another server would get the credentials
            # and the metrics. So that is an error, and its message names the place.
            is_elsewhere = urlsplit(here)[:2] != urlsplit(there)[:2]
            if is_elsewhere or self._redirects > _MAX_REDIRECTS:
                return None
            return request._replace(info=request.info._replace(url=there))
        if isinstance(failure, PushAuthError):
            # Once: a gateway that refuses a fresh token will refuse the next one, too.
            first, self.renewed = not self.renewed, True
            return request if failure.status == 401 and request.renewable and first else None
        if isinstance(failure, PushHTTPError) and request.as_text and not self._in_text:
            # Only if the gateway tried to read the body as text: another 400 is about its content.
            self._in_text = is_about_text(failure)
            return request.as_text() if self._in_text else None
        return None


def _complete(
    failure: PushgatewayError, request: PreparedRequest, attempts: int, elapsed: float
) -> None:
    """Fill in the attributes of *failure* that only the delivery knows."""
    failure.method, failure.url = request.info.method, request.info.url
    failure.job, failure.grouping_key = request.job, request.grouping_key
    failure.attempts, failure.elapsed = attempts, elapsed
