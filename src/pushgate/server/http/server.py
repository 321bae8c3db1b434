"""Accepts connections on the listeners, and closes them gracefully at a stop."""

import asyncio
import resource
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from pushgate.server.http.context import AppContext
from pushgate.server.http.protocol import NEW_SECONDS, HttpProtocol, ServerState
from pushgate.server.sockets import BACKLOG

# How long a TLS client may take to answer that the connection closes.
_TLS_SHUTDOWN_SECONDS = 5
# Open files that are left for the journal, the web configuration and its certificates.
_SPARE_FILES = 16
_POLL_SECONDS = 0.02


class HttpServer:
    """Serves *app* on the connections of its listeners. Use it in one event loop."""

    def __init__(self, app: ASGIApp, context: AppContext) -> None:
        self._state = ServerState(app, context)
        self._tls = context.live.context
        self._handshake_seconds = context.settings.limit_header_seconds or None
        self._servers: list[asyncio.Server] = []
        self._ticker: asyncio.TimerHandle | None = None

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections on *listeners*, with TLS if it is configured."""
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {}
        if self._tls is not None:
            self._tls.has_room = self._state.has_room
            tls["ssl"] = self._tls
            tls["ssl_handshake_timeout"] = self._handshake_seconds
            tls["ssl_shutdown_timeout"] = _TLS_SHUTDOWN_SECONDS
        # The event loop listens once more, with a backlog of its own if it is not told one.
        self._servers = [
            await loop.create_server(
                partial(HttpProtocol, self._state), sock=listener, backlog=BACKLOG, **tls
            )
            for listener in listeners
        ]
        self._state.max_connections["open-files"] = _free_files()
        self._tick()

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._state.tick(loop.time())
        self._ticker = loop.call_later(1, self._tick)

    async def stop(self, seconds: float, at_once: asyncio.Event | None = None) -> None:
        """Accept no more connections, answer the requests under way, and close.

        Requests that are not answered after *seconds*, or when *at_once* is set, are aborted.
        """
        state = self._state
        # First the listeners: with SO_REUSEPORT, the kernel then sends clients to other processes.
        for server in self._servers:
            server.close()
        state.is_stopping = True
        for connection in tuple(state.connections):
            connection.shut_down()
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline, handshakes_end = began + seconds, began + min(seconds, NEW_SECONDS)
        while (state.connections and loop.time() < deadline) or (
            state.handshakes and loop.time() < handshakes_end
        ):
            if at_once is not None and at_once.is_set():
                break
            await asyncio.sleep(_POLL_SECONDS)
            state.tick(loop.time())
        for connection in tuple(state.connections):
            connection.abort()
        exchanges = tuple(state.exchanges)
        for exchange in exchanges:
            exchange.cancel()
        await asyncio.gather(*exchanges, return_exceptions=True)
        if self._ticker is not None:
            self._ticker.cancel()


def _free_files() -> int:
    """Return how many more connections the limit of open files allows."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, limit - sum(1 for _ in Path("/dev/fd").iterdir()) - _SPARE_FILES)
