"""Health and readiness, and the request to stop the server."""

import logging
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from pushgate.server.http.context import AppContext
from pushgate.server.http.responses import TEXT, Response, plain_error

_log = logging.getLogger(__name__)

# The texts of the Go server, most of them without a line feed.
_FINE: Final = Response(200, b"OK", (TEXT,))
_FULL: Final = plain_error(500, "write queue is full")
_NOT_READY: Final = plain_error(
    503, "the journal cannot be written, so pushes are refused; the log says why"
)
_STOPPING: Final = Response(200, b"Requesting termination... Goodbye!", (TEXT,))
_NOT_ENABLED: Final = Response(403, b"Lifecycle API is not enabled.", (TEXT,))
STOP_BY_GET: Final = Response(405, b"Only POST or PUT requests allowed.", (TEXT,))


async def ready(context: AppContext, scope: Scope) -> ASGIApp:
    """Answer like :func:`healthy`, or 503 while the journal cannot be written."""
    return await healthy(context, scope) if context.gateway.is_ready else _NOT_READY


async def healthy(context: AppContext, _scope: Scope) -> ASGIApp:
    """Answer 200, or 500 while ``--limit.pushes-in-flight`` pushes wait for the journal."""
    most = context.settings.limit_pushes_in_flight
    if not 0 < most <= context.gateway.waiting:
        return _FINE
    _log.warning("write queue is full")
    return _FULL


async def stop(context: AppContext, _scope: Scope) -> ASGIApp:
    """Stop the process, or answer 403 without ``--web.enable-lifecycle``."""
    if not context.settings.web_enable_lifecycle:
        return _NOT_ENABLED

    # The client gets its answer before the stop, which closes connections, begins.
    async def stopping(scope: Scope, receive: Receive, send: Send) -> None:
        await _STOPPING(scope, receive, send)
        context.quit()

    return stopping
