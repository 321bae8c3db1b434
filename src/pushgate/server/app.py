"""The ASGI application: groups by their raw paths, everything else by Starlette's router."""

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from starlette.routing import Route, Router, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pushgate.errors import StartupError
from pushgate.server.access.config import Permission
from pushgate.server.api import groups, metrics, openapi, status
from pushgate.server.api.responses import PREFLIGHT
from pushgate.server.http import health
from pushgate.server.http.context import AppContext
from pushgate.server.http.push import push_over_asgi
from pushgate.server.http.push_path import escaped, push_path
from pushgate.server.http.responses import Response, error_response
from pushgate.server.http.routes import Action, Endpoint, Resource
from pushgate.server.http.scrape import scrape
from pushgate.server.http.usage import push_usage
from pushgate.server.settings import Settings
from pushgate.server.ui import pages

_log = logging.getLogger(__name__)


async def _push(context: AppContext, _scope: Scope) -> ASGIApp:
    return partial(push_over_asgi, context.pushes)


def _always(response: Response) -> Endpoint:
    async def answer(_context: AppContext, _scope: Scope) -> ASGIApp:
        return response

    return answer


def _job_of_push(context: AppContext, scope: Scope) -> str:
    return context.pushes.group(scope["raw_path"]).job


# The push service counts them, because most pushes never get here.
GROUP: Final = {
    "PUT": Action(endpoint=_push, permission=Permission.PUSH, job=_job_of_push),
    "POST": Action(endpoint=_push, permission=Permission.PUSH, job=_job_of_push),
    "PATCH": Action(endpoint=_push, permission=Permission.PUSH, job=_job_of_push),
    "DELETE": Action(endpoint=_push, permission=Permission.DELETE, job=_job_of_push),
}
"""What can be done at the path of a group."""

_READ = partial(Action, permission=Permission.READ)
_GROUPS = partial(_READ, shows_groups=True)
_HEALTH = partial(Action, permission=Permission.HEALTH)
_ADMIN = partial(Action, permission=Permission.ADMIN)
_ANY = partial(Action, permission=Permission.ANY)


def routes(settings: Settings) -> dict[str, dict[str, Action]]:
    """Return all paths but those of groups, in Starlette's syntax, with their methods.

    Raises:
        StartupError: the exposition is at the path of something else.
    """
    prefix = settings.route_prefix
    options = {"OPTIONS": _ANY(endpoint=_always(PREFLIGHT), counted_as="api/v1/options")}
    stop = _ADMIN(endpoint=health.stop)
    table = {
        "/": {"GET": _GROUPS(endpoint=pages.groups, counted_as="status")},
        "/status": {"GET": _READ(endpoint=pages.status, counted_as="status")},
        "/rules": {"GET": _GROUPS(endpoint=pages.rules, counted_as="status")},
        "/help": {"GET": _READ(endpoint=pages.help, counted_as="status")},
        "/ui/groups": {"GET": _GROUPS(endpoint=pages.deletable_groups, counted_as="status")},
        "/ui/group/{id}": {
            "GET": _GROUPS(endpoint=pages.group, job=pages.job_in_path, counted_as="status")
        },
        "/static/{name:path}": {"GET": _ANY(endpoint=pages.static, counted_as="static")},
        "/-/healthy": {"GET": _HEALTH(endpoint=health.healthy, counted_as="healthy")},
        "/-/ready": {"GET": _HEALTH(endpoint=health.ready, counted_as="ready")},
        "/-/quit": {"PUT": stop, "POST": stop},
        "/api/v1/status": options
        | {"GET": _READ(endpoint=status.status, counted_as="api/v1/status")},
        "/api/v1/groups": options
        | {
            "GET": _GROUPS(endpoint=groups.list_groups, counted_as="api/v1/groups"),
            "DELETE": Action(
                endpoint=groups.delete_groups,
                permission=Permission.DELETE,
                checks_jobs=True,
                counted_as="api/v1/groups",
            ),
        },
        "/api/v1/metrics": options
        | {"GET": _GROUPS(endpoint=metrics.metrics, counted_as="api/v1/metrics")},
        "/api/v1/openapi.json": options
        | {"GET": _READ(endpoint=openapi.describe, counted_as="api/v1/openapi.json")},
    }
    if settings.web_enable_admin_api:
        wipe = _ADMIN(endpoint=groups.wipe, counted_as="wipe")
        table["/api/v1/admin/wipe"] = options | {"PUT": wipe}
    # Below the API, preflight requests succeed for every path, as in the Go server.
    table["/api/v1/{rest:path}"] = options
    prefixed = {prefix + path: actions for path, actions in table.items()}
    path = settings.telemetry_path
    is_group = push_path(prefix)(path.encode())
    if is_group or any(compile_path(taken)[0].match(path) for taken in prefixed):
        raise StartupError(f"--web.telemetry-path={path} is already the path of something else")
    prefixed[path] = {
        "GET": Action(endpoint=scrape, permission=Permission.SCRAPE, shows_groups=True)
    }
    if prefix:  # as somebody types the external URL; the links of the page need the slash
        to_page = Response(301, headers=((b"location", escaped(prefix.encode()).encode() + b"/"),))
        prefixed.setdefault(prefix, {"GET": _ANY(endpoint=_always(to_page))})
    # The Go server forgets the prefix here.
    prefixed.setdefault("/-/quit", {})["GET"] = _ANY(endpoint=_always(health.STOP_BY_GET))
    return prefixed


class App:
    """The application that serves *context*."""

    def __init__(self, context: AppContext) -> None:
        self.context = context
        self._is_group = push_path(context.settings.route_prefix)
        self._group = Resource(context, GROUP, partial(push_usage, settings=context.settings))
        # OPTIONS * concerns the server as a whole (RFC 9110, 9.3.7).
        self._server = Resource(context, {"OPTIONS": _ANY(endpoint=_always(Response(200)))})
        self._router = Router(
            [
                Route(path, Resource(context, actions))
                for path, actions in routes(context.settings).items()
            ],
            redirect_slashes=False,
            default=Resource(context, {}, missing=pages.missing),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        headers = self.context.live.access.headers  # read anew: the configuration may change
        if headers:
            send = _with_headers(send, headers)
        try:
            if self._is_group(scope["raw_path"]):
                await self._group(scope, receive, send)
            elif scope["raw_path"] == b"*":
                await self._server(scope, receive, send)
            else:
                await self._router(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - one request must not end the process
            _log.exception("request failed", extra={"path": scope["raw_path"]})
            with suppress(RuntimeError):  # the response had begun: the connection will be closed
                await error_response(error)(scope, receive, send)


def _with_headers(send: Send, configured: Sequence[tuple[bytes, bytes]]) -> Send:
    """Return *send* with *configured* headers for everything but 429; a response's own win."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] != 429:
            present = {name.lower() for name, _ in message["headers"]}
            added = [header for header in configured if header[0].lower() not in present]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return send_with_headers
