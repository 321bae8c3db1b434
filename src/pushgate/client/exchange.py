"""One push from the first attempt to the last, without sockets and clocks of its own.

:func:`deliver` is a generator: it yields what is to be done next and is sent what came
of it. The blocking and the asyncio gateway differ in who does it.
"""

import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from urllib.parse import urljoin, urlsplit

from pushgate.client.failures import Sent, failure_in, is_about_text, too_late, warn_about_page
from pushgate.client.retry import Retry
from pushgate.client.transport import Answer, Request
from pushgate.errors import (
    PushAuthError,
    PushgatewayError,
    PushHTTPError,
    PushRedirectError,
    PushTimeoutError,
)

_log = logging.getLogger("pushgate.client")
_MAX_REDIRECTS = 3


@dataclass(frozen=True, slots=True)
class Authorize:
    """Get the Authorization header (or None); *renew* if the last one was refused."""

    renew: bool
    about: Sent
    expires: float


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request; the outcome is an Answer or the PushgatewayError it came to."""

    request: Request
    about: Sent
    expires: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


Step: TypeAlias = Authorize | Send | Pause
Steps: TypeAlias = Generator[Step, Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request to be made, and the rules for making it.

    Attributes:
        about: Gateway, URL and method.
        headers: Everything but Authorization.
        body: What to send, the same bytes at every attempt.
        in_text: Makes the same order in text, for a gateway that cannot read protobuf.
        renewable: Whether new credentials may help after a 401.
        retry: How often.
        idempotent: Whether the gateway may get it twice.
        expires: When the deadline passes.
        context: job and grouping key, for the error.
    """

    about: Sent
    headers: Mapping[str, str]
    body: bytes
    in_text: Callable[[], "Order"] | None = None
    renewable: bool
    retry: Retry
    idempotent: bool
    expires: float
    context: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an order went."""

    order: Order
    answer: Answer
    attempts: int
    elapsed: float


def deliver(order: Order, clock: Callable[[], float]) -> Steps:
    """Yield the steps of *order*; return its Delivery or raise the last failure.

    Args:
        order: What to send.
        clock: Seconds, on the same scale as ``order.expires``.
    """
    started, attempts, retries = clock(), 0, 0
    detours = _Detours()
    while True:
        authorization = yield Authorize(detours.renewed, order.about, order.expires)
        attempts += 1
        outcome = yield Send(_request(order, authorization), order.about, order.expires)
        failure = outcome
        if isinstance(outcome, Answer):
            failure = failure_in(outcome, order.about)
            if failure is None:
                warn_about_page(outcome, order.about)
                return Delivery(order, outcome, attempts, clock() - started)
        detour = detours.after(failure, order)
        if detour is not None:
            order = detour
            continue
        now = clock()
        _explain(failure, order, attempts, now - started)
        if now >= order.expires and isinstance(failure, PushTimeoutError):
            raise _expired(failure, order, attempts, now - started)
        pause = order.retry.pause(retries, failure)
        retries += 1
        worthwhile = order.retry.covers(failure, idempotent=order.idempotent)
        if retries >= order.retry.attempts or not worthwhile or now + pause >= order.expires:
            raise failure
        _log.info("attempt %d failed, next one in %.2f s: %s", attempts, pause, failure)
        yield Pause(pause)


class _Detours:
    """Other ways to try at once, each of them a limited number of times."""

    def __init__(self) -> None:
        self.renewed = False
        self._redirects = 0
        self._in_text = False

    def after(self, failure: PushgatewayError, order: Order) -> Order | None:
        """Return what to send instead of *order*, or None if it was no such failure."""
        if isinstance(failure, PushRedirectError):
            self._redirects += 1
            return _redirected(failure, order) if self._redirects <= _MAX_REDIRECTS else None
        if isinstance(failure, PushAuthError):
            first, self.renewed = not self.renewed, True
            return order if failure.status == 401 and order.renewable and first else None
        if isinstance(failure, PushHTTPError) and order.in_text and not self._in_text:
            self._in_text = is_about_text(failure)
            return order.in_text() if self._in_text else None
        return None


def _request(order: Order, authorization: str | None) -> Request:
    headers = dict(order.headers)
    if authorization is not None:
        headers["Authorization"] = authorization
    return Request(order.about.method, order.about.url, headers, order.body)


def _redirected(failure: PushRedirectError, order: Order) -> Order | None:
    """Return *order* for the place the gateway names, if that is the same server."""
    location = failure.headers.get("location")
    if not location:
        return None
    here, there = order.about.url, urljoin(order.about.url, location)
    if urlsplit(here)[:2] != urlsplit(there)[:2]:
        return None
    return replace(order, about=replace(order.about, url=there))


def _explain(failure: PushgatewayError, order: Order, attempts: int, elapsed: float) -> None:
    failure.method, failure.url = order.about.method, order.about.url
    failure.job, failure.grouping_key = order.context["job"], order.context["grouping_key"]
    failure.attempts, failure.elapsed = attempts, elapsed


def _expired(
    failure: PushgatewayError, order: Order, attempts: int, elapsed: float
) -> PushTimeoutError:
    """Return the error that the deadline passed; the *failure* it cut off is its cause."""
    times = f"{attempts} attempt{'' if attempts == 1 else 's'}"
    error = too_late(order.about, f"after {elapsed:.1f} s and {times}")
    error.sent = True
    _explain(error, order, attempts, elapsed)
    error.__cause__ = failure
    return error
