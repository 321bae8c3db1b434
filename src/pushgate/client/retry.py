"""Which failures are worth another attempt, and how long to wait before it."""

import math
import random
from collections.abc import Collection, Mapping, Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime

from pushgate.errors import ConfigurationError, PushConnectionError, PushgatewayError, PushHTTPError

DEFAULT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Retry:
    """How often to try a push, and how long to wait in between.

    Pauses are random, up to ``base * 2 ** n`` seconds and never longer than ``cap``, unless the
    gateway asks for another time by ``Retry-After``. The deadline of the push limits them all.

    Attributes:
        attempts: Number of requests; 1 means no retry.
        base: Seconds that the first pause may take.
        cap: Seconds that any pause may take.
        statuses: HTTP statuses that may be retried.

    Raises:
        ConfigurationError: A number is out of range.

    Example:
        >>> from pushgate import PushGateway
        >>> patient = PushGateway("gateway:9091", retry=Retry(attempts=10, cap=60), deadline=300)
    """

    attempts: int = 4
    base: float = 0.5
    cap: float = 10.0
    statuses: AbstractSet[int] = DEFAULT_STATUSES

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            found = type(self.attempts).__name__
            raise ConfigurationError(f"attempts: expecting a number, found {found}", key="retry")
        if self.attempts < 1:
            raise ConfigurationError(
                f"attempts: expecting at least 1, found {self.attempts}", key="retry"
            )
        seconds: dict[str, object] = {"base": self.base, "cap": self.cap}
        for name, value in seconds.items():
            if not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigurationError(
                    f"{name}: expecting seconds, 0 or more, found {value!r}", key="retry"
                )
        statuses: object = self.statuses
        if not isinstance(statuses, Collection) or not all(isinstance(n, int) for n in statuses):
            raise ConfigurationError(
                "statuses: expecting HTTP statuses, such as {503}", key="retry"
            )

    def pause(self, retry: int, failure: PushgatewayError) -> float:
        """Return the seconds to wait before retry number *retry*, counted from 0."""
        if isinstance(failure, PushHTTPError):
            # Not capped: an earlier attempt would be refused again. The deadline bounds it.
            asked = retry_after(failure.headers)
            if asked is not None:
                return asked
        # Random, so that jobs that failed together do not come back together.
        # No float is as large as 2**1024: a push without a deadline may get that far.
        most = min(self.cap, self.base * 2.0 ** min(retry, 1000))
        return random.uniform(0, most)  # noqa: S311  no secret

    def covers(self, failure: PushgatewayError) -> bool:
        """Return whether another attempt can help.

        It does no harm: a Pushgateway's PUT, POST and DELETE are idempotent.
        """
        if isinstance(failure, PushHTTPError):
            return failure.status in self.statuses
        return isinstance(failure, PushConnectionError) and not failure.final


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for: a number or a date."""
    # RFC 9110, 10.2.3. A date without a zone is not of that form, and could be any time.
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a zone of many digits
        return None
    return max(0.0, (when - datetime.now(UTC)).total_seconds()) if when.tzinfo else None
