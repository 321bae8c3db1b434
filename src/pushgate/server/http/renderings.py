"""Pages that many browsers ask for again and again: rendered once for all of them.

A browser that keeps a page up to date sends ``If-None-Match``, and ``Cache-Control: max-stale``
to say that a page somewhat behind will do. Every other request gets the page as it is now.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from secrets import token_hex
from time import perf_counter
from typing import TypeAlias

from starlette.types import ASGIApp, Scope

from pushgate.server.http.request import find_header
from pushgate.server.http.responses import Headers, Response
from pushgate.server.http.stream import Stream, joined

Render: TypeAlias = Callable[[], Awaitable[Iterable[bytes]]]
"""Makes a page: its pieces, each of which takes a millisecond or less."""

_MAX_KEPT = 32

# How far a refresh may be behind, as a multiple of the time that rendering takes. Pushes that come
# while a page is rendered take a few times as long as others. If it is rendered for a hundredth
# of the time, these are the slowest hundredth, and decide about the 99th percentile; a 250th does
# not. Where that would be too far behind, a tenth.
_TIMES_QUICK, _TIMES_SLOW = 250, 10
_TOO_FAR_SECONDS = 5.0
_AT_LEAST_SECONDS = 1.0
# What a page depends on besides its target: who may delete what, how it is compressed, and the
# host in its links and curl lines.
_READ_HEADERS = frozenset(
    {b"authorization", b"accept-encoding", b"host", b"x-forwarded-host", b"x-forwarded-proto"}
)


@dataclass(slots=True)
class _Rendering:
    version: Hashable
    etag: bytes
    response: Response | None = None
    until: float = 0.0


class Renderings:
    """The last renderings. One page is rendered at a time, so that pushes come in between.

    Pages that may take long, because they wait for a thread, only wait for each other.

    A *version* stands for what a page shows: while it stays the same, so does the page. None
    equals no version, so that page is rendered for every request that wants it up to date.
    """

    def __init__(self) -> None:
        self._kept: dict[bytes, _Rendering] = {}
        self._turn, self._slow_turn = asyncio.Lock(), asyncio.Lock()
        # Versions begin anew with every process, and so must the tags.
        self._etags = (b'"%s-%x"' % (token_hex(6).encode(), number) for number in count())

    async def share(
        self,
        render: Render,
        version: Callable[[], Hashable],
        headers: Headers,
        scope: Scope,
        *,
        is_slow: Callable[[], bool],
    ) -> ASGIApp:
        """Return a page of bounded size, which is kept for the next who asks."""
        key = _cache_key(scope)
        may_be_behind = b"max-stale" in find_header(scope["headers"], b"cache-control")

        def kept() -> Response | None:
            one = self._kept.get(key)
            if one is None or one.response is None:
                return None
            is_current = one.version is not None and one.version == version()
            is_recent = may_be_behind and perf_counter() < one.until
            return one.response if is_current or is_recent else None

        response = kept()
        if response is None:
            async with self._slow_turn if is_slow() else self._turn:
                # Again: it may have been rendered for another client while this one waited.
                response = kept() or await self._rendered(key, render, version(), headers)
        return _unless_known(response.headers, scope) or response

    async def _rendered(
        self, key: bytes, render: Render, version: Hashable, headers: Headers
    ) -> Response:
        began = perf_counter()
        body = await joined(await render())
        one = _Rendering(version, next(self._etags))
        tag = () if version is None else ((b"etag", one.etag),)
        one.response = Response(200, body, (*headers, *tag))
        one.until = perf_counter() + _max_staleness(perf_counter() - began)
        self._keep(key, one)
        return one.response

    async def stream(
        self, render: Render, version: Hashable, headers: Headers, scope: Scope
    ) -> ASGIApp:
        """Return a page of any size, unless the client has this *version* of it."""
        key = _cache_key(scope)
        one = self._kept.get(key)
        if one is None or one.version != version:
            one = _Rendering(version, next(self._etags))
            self._keep(key, one)
        tagged = (*headers, (b"etag", one.etag))
        return _unless_known(tagged, scope) or Stream(await render(), tagged)

    def _keep(self, key: bytes, one: _Rendering) -> None:
        self._kept.pop(key, None)
        self._kept[key] = one
        if len(self._kept) > _MAX_KEPT:
            del self._kept[next(iter(self._kept))]


def _max_staleness(seconds: float) -> float:
    """Return how many seconds old a refresh may be, if rendering takes *seconds*."""
    quick = min(_TOO_FAR_SECONDS, _TIMES_QUICK * seconds)
    return max(_AT_LEAST_SECONDS, quick, _TIMES_SLOW * seconds)


def _cache_key(scope: Scope) -> bytes:
    """Return a digest of what a page depends on, which may be long."""
    target = scope["scheme"], scope["path"], scope["query_string"]
    headers = [field for field in scope["headers"] if field[0] in _READ_HEADERS]
    certificate = scope["state"].get("peer_certificate")
    return sha256(repr((target, headers, certificate)).encode()).digest()


def _unless_known(headers: Headers, scope: Scope) -> Response | None:
    """Return a 304 if the client has the page with these *headers* already, else None."""
    # A proxy that compresses a page marks its tag as weak, which makes no difference here.
    known = find_header(scope["headers"], b"if-none-match").removeprefix(b"W/")
    is_known = known != b"" and known == find_header(headers, b"etag")
    return Response(304, headers=headers) if is_known else None
