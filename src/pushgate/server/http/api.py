"""The JSON API below ``/api/v1/``."""

from itertools import chain
from typing import Final

from starlette.types import Receive, Scope, Send

from pushgate.server.change import Wipe
from pushgate.server.http.context import AppContext
from pushgate.server.http.listing import encoded, listing, local_time
from pushgate.server.http.responses import Answer
from pushgate.server.http.stream import stream
from pushgate.server.version import BUILD

_CORS: Final = (
    (b"access-control-allow-headers", b"Accept, Authorization, Content-Type, Origin"),
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Date"),
    (b"cache-control", b"no-cache, no-store, must-revalidate"),
)
_JSON: Final = (*_CORS, (b"content-type", b"application/json"))


async def status(context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what this server is and how it was started."""
    data = {
        "build_information": {
            "branch": BUILD.branch,
            "buildDate": "",
            "buildUser": "",
            "goVersion": "",
            "pythonVersion": BUILD.python,
            "revision": BUILD.revision,
            "version": BUILD.version,
        },
        "flags": context.settings.rows(),
        "start_time": local_time(context.started),
    }
    body = encoded({"status": "success", "data": data})
    await Answer(200, body, _JSON)(scope, receive, send)


async def metrics(context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with all groups. Other requests are served meanwhile, and may change some."""
    groups = listing(chain.from_iterable(context.gateway.store.walk()))
    pieces = chain([b'{"status":"success","data":'], groups, [b"}"])
    await stream(pieces, _JSON, scope, receive, send)


async def options(_context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Tell browsers what pages of other origins may do."""
    await Answer(200, headers=_CORS)(scope, receive, send)


async def wipe(context: AppContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Delete all groups; answer when they are gone."""
    await context.gateway.apply(Wipe())
    await Answer(202)(scope, receive, send)
