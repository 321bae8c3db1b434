"""PUT, POST and DELETE of a group, as an ASGI application."""

import time
from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from pushgate.errors import InvalidGroupingKey, PushgateError
from pushgate.formats.compression import check_gzip_header
from pushgate.server.change import Change
from pushgate.server.http.desk import PushDesk, PushHead, push_head
from pushgate.server.http.site import Site


class HungUp(Exception):
    """The client went away before its request was complete."""


async def push(site: Site, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a PUT, POST or DELETE of a group. The caller has let the client in."""
    started = time.perf_counter()
    desk = site.desk
    query = scope["query_string"]
    target = scope["raw_path"] + b"?" + query if query else scope["raw_path"]
    head = push_head(scope["method"], target, scope["headers"], keep_alive=True)
    error: PushgateError | None = None
    try:
        await site.gateway.apply(await _change(desk, head, receive))
    except HungUp:
        return
    except PushgateError as failure:
        # Its frames hold the body, and this frame would hold them: a cycle.
        error = failure.with_traceback(None)
    answer = desk.answer(head.method, error, scope["client"])
    await answer(scope, receive, send)
    desk.count(head, answer, head.length, started)


async def _change(desk: PushDesk, head: PushHead, receive: Receive) -> Change:
    if head.method == "DELETE":
        await _check_encoding(desk, head, receive)
        return desk.delete(head)
    try:
        key = desk.admit(head)
    except InvalidGroupingKey:
        await _check_encoding(desk, head, receive)
        raise
    with desk.holding() as hold:
        body = await _body(desk, receive, hold)
        pushed = await desk.read_aside(head, body)
    return desk.change(head, key, pushed)


async def _check_encoding(desk: PushDesk, head: PushHead, receive: Receive) -> None:
    """Refuse a body that is gzip only by its header, though nobody needs it."""
    if head.encoding.strip().lower() == b"gzip":
        with desk.holding() as hold:
            check_gzip_header(await _body(desk, receive, hold))


async def _body(desk: PushDesk, receive: Receive, hold: Callable[[int], None]) -> bytes:
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
        hold(len(chunk))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
