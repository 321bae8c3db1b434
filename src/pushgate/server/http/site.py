"""What the routes serve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pushgate.server.gateway import Gateway
from pushgate.server.settings import Settings


class Requests(Protocol):
    """Counts requests for the server's own metrics."""

    def count_request(self, code: int, handler: str, method: str) -> None:
        """Count a request that *handler* answered with *code*; *method* in lower case."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Everything a route needs.

    ``started`` is the start of the process in Unix seconds; ``quit`` asks it to stop.
    """

    settings: Settings
    gateway: Gateway
    telemetry: Requests
    started: float
    quit: Callable[[], None]

    @property
    def is_full(self) -> bool:
        """Whether as many pushes wait for the journal as are allowed to."""
        most = self.settings.limit_pushes_in_flight
        return 0 < most <= self.gateway.waiting
