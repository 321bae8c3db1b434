"""The parts of the server that endpoints use."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from starlette.types import Scope

from pushgate.server.access.config import Permission
from pushgate.server.access.live import LiveConfig
from pushgate.server.exposition.cache import Expositions
from pushgate.server.http.push import PushService
from pushgate.server.http.renderings import Renderings
from pushgate.server.http.request import address_of
from pushgate.server.http.responses import Response, plain_error
from pushgate.server.http.slow_readers import SlowReaders
from pushgate.server.rules import LiveRules
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
    expositions: Expositions
    renderings: Renderings
    live: LiveConfig
    telemetry: Telemetry
    started: int
    quit: Callable[[], None]

    async def refusal(
        self,
        scope: Scope,
        permission: Permission,
        jobs: Iterable[str | None],
        *,
        takes_token: bool = False,
    ) -> Response | None:
        """Return the response to a client that may not do this to all *jobs*; None if it may.

        See :meth:`Access.admit`; every request has taken its token before an endpoint runs.
        """
        refusal = await self.live.access.admit(
            scope["headers"],
            scope["state"].get("peer_certificate"),
            permission,
            jobs,
            address_of(scope["client"]),
            takes_token=takes_token,
        )
        if refusal is None:
            return None
        return plain_error(refusal.status, refusal.message, refusal.headers)
