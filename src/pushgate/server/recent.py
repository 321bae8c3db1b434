"""Recent events for the status page, kept in memory and bounded in number."""

from collections import deque
from collections.abc import Sequence, Sized
from typing import NamedTuple

from pushgate.model.grouping import GroupingKey
from pushgate.server.quantiles import Window

_MAX_REFUSED = 20
_MAX_SCRAPERS = 20
_MAX_AGENT = 100
_MAX_MESSAGE = 500
MINUTES = 60
"""For how many minutes pushes are counted."""


class RefusedPush(NamedTuple):
    """A push that was refused, at Unix nanoseconds; ``group`` is None if the path named none."""

    time: int
    address: str
    group: GroupingKey | None
    reason: str
    message: str


class Scrape(NamedTuple):
    """A scrape that was answered, at Unix nanoseconds: to whom, how fast, and how large."""

    time: int
    address: str
    agent: str
    seconds: float
    size: int


class Minute(NamedTuple):
    """Pushes of a minute: how many, and quantiles of their seconds, NaN if there were none."""

    pushes: int
    p50: float
    p99: float


class Recent:
    """Recent events. Not safe for threads; the caller passes the monotonic time."""

    def __init__(self) -> None:
        self.refused: deque[RefusedPush] = deque(maxlen=_MAX_REFUSED)
        self.connections: Sized = ()
        """Those that are open; the server puts its own set here."""
        self._scrapes: dict[tuple[str, str], Scrape] = {}
        self._minutes: deque[Minute] = deque(maxlen=MINUTES - 1)
        self._window = Window(60, 1)
        self._until: float | None = None

    def count(self, seconds: Sequence[float], now: float) -> None:
        """Count pushes that ended at *now*, by how many *seconds* each took."""
        if self._until is None or now >= self._until:
            self._turn(now)
        self._window.observe(seconds, now)

    def refuse(self, refusal: RefusedPush) -> None:
        """Keep *refusal*; the oldest is forgotten."""
        self.refused.appendleft(refusal._replace(message=refusal.message[:_MAX_MESSAGE]))

    def scrape(self, scrape: Scrape) -> None:
        """Keep *scrape* as the last one of its client, and forget the least recent client."""
        scrape = scrape._replace(agent=scrape.agent[:_MAX_AGENT])
        client = scrape.address, scrape.agent
        self._scrapes.pop(client, None)  # so that it moves to the end: dicts keep their order
        self._scrapes[client] = scrape
        if len(self._scrapes) > _MAX_SCRAPERS:
            del self._scrapes[next(iter(self._scrapes))]

    def scrapes(self) -> list[Scrape]:
        """Return the last scrape of each client, the latest first."""
        return [*reversed(self._scrapes.values())]

    def minutes(self, now: float) -> list[Minute]:
        """Return the last minutes, the current one at the end."""
        if self._until is None or now >= self._until:
            self._turn(now)
        return [*self._minutes, self._current(now)]

    def _current(self, now: float) -> Minute:
        return Minute(self._window.count, *self._window.quantiles((0.5, 0.99), now))

    def _turn(self, now: float) -> None:
        """Close the current minute, and those that passed without a push."""
        if self._until is None:
            self._until = now + 60
            return
        passed = int((now - self._until) // 60)
        # The window forgets what is older than a minute, so it is read as of its end.
        self._minutes.append(self._current(self._until - 1e-6))
        self._minutes.extend([Minute(0, float("nan"), float("nan"))] * min(passed, MINUTES))
        self._window = Window(60, 1)
        self._until += 60 * (passed + 1)
