"""What the endpoints work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pushgate.server.access.live import LiveConfig
    from pushgate.server.exposition.cache import Views
    from pushgate.server.gateway import Gateway
    from pushgate.server.http.push import PushService
    from pushgate.server.settings import Settings
    from pushgate.server.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """Everything an endpoint needs.

    ``started`` is the start of the process in Unix nanoseconds; ``quit`` asks it to stop.
    """

    settings: Settings
    gateway: Gateway
    pushes: PushService
    views: Views
    live: LiveConfig
    telemetry: Telemetry
    started: int
    quit: Callable[[], None]
