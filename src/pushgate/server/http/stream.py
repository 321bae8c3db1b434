"""Long responses that are made while they are sent, without blocking the event loop."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from pushgate.server.http.responses import Headers, Response
from pushgate.server.http.slices import SLICE_SECONDS, next_slice
from pushgate.server.store.group import Group
from pushgate.server.store.selection import Selection
from pushgate.server.store.store import Store

T = TypeVar("T")

# How much is sent at a time.
_CHUNK_BYTES = 64 << 10


async def in_steps(work: Generator[Any, None, T]) -> T:
    """Return the result of *work*, and let other requests run at some of its yields."""
    while not (results := _advanced(work, SLICE_SECONDS)):
        await next_slice()
    return results[0]


async def select_groups(selection: Selection, store: Store) -> list[Group]:
    """Return the groups of *store* that *selection* selects, as they are now."""
    work = selection.of(store)
    return await (in_thread(work) if selection.is_slow else in_steps(work))


async def in_thread(work: Generator[Any, None, T]) -> T:
    """Return the result of *work*, whose steps may take seconds without the interpreter's lock.

    All such work shares one thread and takes turns in it, of a tenth of a second or one step.
    """
    loop = asyncio.get_running_loop()
    while not (results := await loop.run_in_executor(_SLOW, _advanced, work, _TURN_SECONDS)):
        pass
    return results[0]


_SLOW = ThreadPoolExecutor(1, "slow-work")
_TURN_SECONDS = 0.1


def _advanced(work: Generator[Any, None, T], seconds: float) -> list[T]:
    """Take steps of *work* for *seconds*; return its result if it has ended, else nothing."""
    pause = perf_counter() + seconds
    try:
        while perf_counter() < pause:
            next(work)
    except StopIteration as end:
        return [end.value]
    return []


async def joined(pieces: Iterable[bytes]) -> bytes:
    """Return *pieces* as one; each takes a millisecond or less to make."""
    return b"".join([chunk async for chunk in _chunks(pieces)])


class Stream:
    """A response of *pieces*, each of which takes a millisecond or less to make.

    An error within the first 64 KiB can still be answered as one: nothing is sent before.
    """

    def __init__(self, pieces: Iterable[bytes], headers: Headers) -> None:
        self._pieces = pieces
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the response and send it. It can be sent once."""
        chunks = _chunks(self._pieces)
        # A response that fits into one chunk has a length, and can be sent with its head.
        first = await anext(chunks)
        second = await anext(chunks, None)
        if second is None:
            await Response(200, first, self._headers)(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        for chunk in (first, second):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _chunks(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield *pieces* joined to chunks, at least one; let other requests run in between."""
    chunk = bytearray()
    pause = perf_counter() + SLICE_SECONDS
    for piece in pieces:
        chunk += piece
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
        if perf_counter() >= pause:
            await next_slice()
            pause = perf_counter() + SLICE_SECONDS
    yield bytes(chunk)
