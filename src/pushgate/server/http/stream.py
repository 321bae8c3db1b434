"""Answers that are made while they are sent, a moment of work at a time."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable
from time import perf_counter
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from pushgate.server.http.responses import Answer, Headers

T = TypeVar("T")

# How long the event loop is ours, and what is sent at a time.
_SLICE_SECONDS = 0.002
_CHUNK_BYTES = 64 << 10


async def in_steps(work: Generator[Any, None, T]) -> T:
    """Return the result of *work*; at each of its yields, everything else has a turn."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)


async def stream(
    pieces: Iterable[bytes], headers: Headers, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer 200 with *pieces*, which are quickly made one by one; others run meanwhile.

    What fails before the first 64 KiB are made can still be answered with an error.
    """
    chunks = _chunks(pieces)
    first = await anext(chunks)
    second = await anext(chunks, None)
    if second is None:
        await Answer(200, first, headers)(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for chunk in (first, second):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _chunks(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield *pieces* joined, at least once; let others run while they are made."""
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
