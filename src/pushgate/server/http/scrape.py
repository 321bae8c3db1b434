"""GET of the telemetry path: the exposition, in the format and encoding the client accepts."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from pushgate.formats.encoding import Encoding, Gzip, Zstd
from pushgate.formats.negotiation import accepted_encoding, accepted_format
from pushgate.server.exposition.cache import Exposition
from pushgate.server.http.context import AppContext
from pushgate.server.http.parameters import Parameters
from pushgate.server.http.request import address_of, find_header
from pushgate.server.http.stream import in_steps, select_groups
from pushgate.server.recent import Scrape
from pushgate.server.store.selection import SelectedGroups, Selection
from pushgate.server.store.store import Store

_ENCODINGS: Final[dict[str, Encoding]] = {
    encoding.token: encoding for encoding in (Encoding(), Gzip(), Zstd())
}
# Smaller pieces are joined before they are written. Larger ones are shared by all who read them:
# the transport keeps a reference, not a copy, for a client that does not read.
_CHUNK_BYTES = 64 << 10


async def scrape(context: AppContext, scope: Scope) -> ASGIApp:
    """Answer with an exposition, rendered in steps between which other requests are served.

    With ``match[]`` in the query, it contains only the groups that a selector matches.
    """
    began = time.perf_counter()
    headers = scope["headers"]
    kind = accepted_format(find_header(headers, b"accept"))
    coding = accepted_encoding(headers)
    store = context.gateway.store
    if selectors := await Parameters(scope).selectors():
        chosen = SelectedGroups(await select_groups(Selection(selectors), store), store.rules)
        exposition = context.expositions.of(chosen, kind, _ENCODINGS[coding])
    else:
        exposition = context.expositions.get(kind, _ENCODINGS[coding], time.monotonic())
    revision, chunks = await _scraped(exposition, store)
    size = sum(map(len, chunks))
    start = [(b"content-type", kind.content_type), (b"content-length", b"%d" % size)]
    if coding:
        start.append((b"content-encoding", coding.encode()))

    async def respond(_scope: Scope, _receive: Receive, send: Send) -> None:
        # A client that is cut off cancels this task: what it read does not count as a scrape.
        with context.slow_readers.reading((exposition, revision), size):
            await send({"type": "http.response.start", "status": 200, "headers": start})
            for chunk in _joined(chunks):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        context.telemetry.recent.scrape(
            Scrape(
                time.time_ns(),
                address_of(scope["client"]),
                find_header(headers, b"user-agent").decode("latin-1"),
                time.perf_counter() - began,
                size,
            )
        )

    return respond


async def _scraped(exposition: Exposition, store: Store) -> tuple[int, list[bytes]]:
    """Return an exposition that begins now or later, and its revision. All who wait share it."""
    if exposition.next is None:
        exposition.next = asyncio.get_running_loop().create_task(_scrape_next(exposition, store))
    # A client that hangs up must not cancel the scrape that others wait for.
    return await asyncio.shield(exposition.next)


async def _scrape_next(exposition: Exposition, store: Store) -> tuple[int, list[bytes]]:
    async with exposition.lock:
        exposition.next = None  # it begins, and could miss what later scrapers have pushed
        return store.revision, await in_steps(exposition.scrape())


def _joined(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield *chunks* in order, small ones joined."""
    small: list[bytes] = []
    size = 0
    for chunk in chunks:
        if len(chunk) < _CHUNK_BYTES:
            small.append(chunk)
            size += len(chunk)
            if size < _CHUNK_BYTES:
                continue
        if small:
            yield b"".join(small)
            small, size = [], 0
        if len(chunk) >= _CHUNK_BYTES:
            yield chunk
    if small:
        yield b"".join(small)
