"""The JSON API below ``/api/v1/``."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from itertools import chain
from time import perf_counter
from typing import Final

from starlette.types import Receive, Scope, Send

from pushgate.server.build import BUILD
from pushgate.server.change import Wipe
from pushgate.server.http.answers import Answer
from pushgate.server.http.listing import encoded, listing, local_time
from pushgate.server.http.site import Site

_CORS: Final = (
    (b"access-control-allow-headers", b"Accept, Authorization, Content-Type, Origin"),
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Date"),
    (b"cache-control", b"no-cache, no-store, must-revalidate"),
)
_JSON: Final = (*_CORS, (b"content-type", b"application/json"))
# How long the event loop is ours, and what is sent at a time.
_SLICE_SECONDS = 0.002
_CHUNK_BYTES = 64 << 10


async def status(site: Site, scope: Scope, receive: Receive, send: Send) -> None:
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
        "flags": site.settings.rows(),
        "start_time": local_time(site.started),
    }
    body = encoded({"status": "success", "data": data})
    await Answer(200, body, _JSON)(scope, receive, send)


async def metrics(site: Site, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with all groups. Other requests are served meanwhile; these are not in it."""
    groups = listing(site.gateway.store.groups())
    chunks = _chunks(chain([b'{"status":"success","data":'], groups, [b"}"]))
    first = await anext(chunks)
    second = await anext(chunks, None)
    if second is None:
        await Answer(200, first, _JSON)(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": _JSON})
    for chunk in (first, second):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _chunks(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield *pieces* joined; let others run while they are made."""
    chunk = bytearray()
    pause = perf_counter() + _SLICE_SECONDS
    for piece in pieces:
        chunk += piece
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
        if perf_counter() >= pause:
            await asyncio.sleep(0)
            pause = perf_counter() + _SLICE_SECONDS
    yield bytes(chunk)


async def options(_site: Site, scope: Scope, receive: Receive, send: Send) -> None:
    """Tell browsers what pages of other origins may do."""
    await Answer(200, headers=_CORS)(scope, receive, send)


async def wipe(site: Site, scope: Scope, receive: Receive, send: Send) -> None:
    """Delete all groups; answer when they are gone."""
    await site.gateway.apply(Wipe())
    await Answer(202)(scope, receive, send)
