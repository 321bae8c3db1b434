"""PUT, POST and DELETE of a group, as an ASGI application."""

import asyncio
import time
from typing import Final

from starlette.types import Receive, Scope, Send

from pushgate.errors import PushgateError
from pushgate.formats.compression import check_gzip_header
from pushgate.server.change import Change, Delete
from pushgate.server.http.desk import Headers, PushDesk, find_header
from pushgate.server.http.site import Site

# A body from here on is read in a thread, so that the event loop stays free.
LARGE_BODY: Final = 64 << 10


class HungUp(Exception):
    """The client went away before its request was complete."""


async def push(site: Site, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a PUT, POST or DELETE of a group. The caller has let the client in."""
    started = time.perf_counter()
    desk = site.desk
    method, headers = scope["method"], scope["headers"]
    error: PushgateError | None = None
    length = _declared_length(headers)
    try:
        change = await _change(desk, scope, length, receive)
        await site.gateway.apply(change)
    except HungUp:
        return
    except PushgateError as failure:
        error = failure
    answer = desk.answer(method, error, scope["client"])
    await answer(scope, receive, send)
    query = scope["query_string"]
    target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    desk.count(method, answer, target, headers, length, started)


async def _change(desk: PushDesk, scope: Scope, length: int, receive: Receive) -> Change:
    method, headers = scope["method"], scope["headers"]
    encoding = find_header(headers, b"content-encoding")
    if method == "DELETE":
        if encoding.strip().lower() == b"gzip":
            check_gzip_header(await _body(desk, receive))
        return Delete(desk.key(scope["raw_path"]))
    key = desk.key(scope["raw_path"])
    desk.check_length(length)
    desk.check_room()
    body = await _body(desk, receive)
    content_type = find_header(headers, b"content-type")
    if len(body) < LARGE_BODY:
        pushed = desk.read(body, content_type, encoding)
    else:
        pushed = await asyncio.to_thread(desk.read, body, content_type, encoding)
    return desk.change(method, key, pushed)


async def _body(desk: PushDesk, receive: Receive) -> bytes:
    """Return the whole body; refuse it as soon as it is too long."""
    chunks: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HungUp
        chunk = message.get("body", b"")
        length += len(chunk)
        desk.check_length(length)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _declared_length(headers: Headers) -> int:
    length = find_header(headers, b"content-length")
    return int(length) if length.isdigit() else 0
