"""What the endpoints work with."""

from collections.abc import Callable
from dataclasses import dataclass

from pushgate.server.access.live import LiveConfig
from pushgate.server.exposition.cache import Views
from pushgate.server.http.push import PushService
from pushgate.server.http.readers import SlowReaders
from pushgate.server.http.renderings import Renderings
from pushgate.server.rules.live import LiveRules
from pushgate.server.settings import Settings
from pushgate.server.store.expiry import Expiry
from pushgate.server.store.gateway import Gateway
from pushgate.server.telemetry import Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """Everything an endpoint needs.

    ``started`` is the start of the process in Unix nanoseconds; ``quit`` asks it to stop.
    """

    settings: Settings
    gateway: Gateway
    expiry: Expiry
    live_rules: LiveRules
    pushes: PushService
    slow_readers: SlowReaders
    views: Views
    renderings: Renderings
    live: LiveConfig
    telemetry: Telemetry
    started: int
    quit: Callable[[], None]
