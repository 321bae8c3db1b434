"""How a request reaches the gateway: httpx2, and a deadline that nothing outlives.

httpx2's timeouts are per operation, so a gateway that answers one byte at a time could
hold a push forever. The blocking transport therefore gives every single socket
operation no more than what is left until the deadline; asyncio cancels by itself.
"""

import asyncio
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpcore2
import httpx2

from pushgate.client.proxy import proxy_of_environment
from pushgate.client.tls import TLS, context_for

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


# Eleven days: sockets take no infinite timeout.
_FOREVER = 1e6


def seconds_left(expires: float) -> float | None:
    """Return the seconds until *expires*, as asyncio takes them: None is no limit."""
    return None if math.isinf(expires) else max(expires - time.monotonic(), 0)


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; header names are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """What a connection is made with."""

    scheme: str
    host: str
    port: int
    tls: TLS
    proxy: str | None
    """Its URL, ``env`` for whatever the environment says, None for none."""
    connect_timeout: float
    read_timeout: float

    def proxy_url(self) -> str | None:
        """Return the proxy to use, after a look at the environment if so configured."""
        if self.proxy == "env":
            return proxy_of_environment(self.scheme, self.host, self.port)
        return self.proxy

    def extensions(self, expires: float) -> dict[str, Any]:
        """Return the timeouts and the TLS name as httpx2 takes them."""
        left = min(max(expires - time.monotonic(), 0.001), _FOREVER)
        connect, read = min(self.connect_timeout, left), min(self.read_timeout, left)
        timeout = {"connect": connect, "read": read, "write": read, "pool": connect}
        name = self.tls.server_hostname
        return {"timeout": timeout} | ({"sni_hostname": name} if name else {})

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context; plain HTTP does without the cost of one."""
        return context_for(self.tls) if self.scheme == "https" else None


class Connection:
    """The way to one gateway for blocking code. Not thread-safe: its owner has a lock."""

    def __init__(
        self,
        route: Route,
        transport: httpx2.BaseTransport | None = None,
        client: httpx2.Client | None = None,
    ) -> None:
        self._route = route
        self._client = client
        self._foreign = transport
        self._own: _DeadlinePool | None = None
        self.sent: Callable[[int], object] | None = None
        self._context: ssl.SSLContext | None = None

    def send(self, request: Request, expires: float) -> Answer:
        """Return the gateway's answer.

        Raises:
            httpx2.TransportError: There was none, or not before *expires*.
        """
        extensions = self._route.extensions(expires)
        if self._client is not None:
            built = _built_by(self._client, request, extensions)
            return _answer(self._client.send(built, follow_redirects=False))
        if self._foreign is None:
            pool = self._pool()
            pool.backend.sent = self.sent
            return pool.send(request, extensions, expires)
        response = self._foreign.handle_request(_built(request, extensions))
        try:
            response.read()
        finally:
            response.close()
        return _answer(response)

    def _pool(self) -> "_DeadlinePool":
        context = self._route.context()
        if self._own is None or context is not self._context:
            self.close()
            self._own = _DeadlinePool(context, self._route.proxy_url())
            self._context = context
        return self._own

    def close(self) -> None:
        """Close what was opened here; a client or transport of the user stays open."""
        if self._own is not None:
            self._own.close()
            self._own = None


class AsyncConnection:
    """The way to one gateway for asyncio."""

    def __init__(
        self,
        route: Route,
        transport: httpx2.AsyncBaseTransport | None = None,
        client: httpx2.AsyncClient | None = None,
    ) -> None:
        self._route = route
        self._client = client
        self._foreign = transport
        self._own: httpx2.AsyncHTTPTransport | None = None
        self._context: ssl.SSLContext | None = None

    async def send(self, request: Request, expires: float) -> Answer:
        """Return the gateway's answer; see :meth:`Connection.send`."""
        try:
            async with asyncio.timeout(seconds_left(expires)):
                return await self._send(request, self._route.extensions(expires))
        except TimeoutError as error:
            raise httpx2.ReadTimeout("deadline") from error

    async def _send(self, request: Request, extensions: dict[str, Any]) -> Answer:
        if self._client is not None:
            built = _built_by(self._client, request, extensions)
            return _answer(await self._client.send(built, follow_redirects=False))
        if self._foreign is not None:
            return await _exchanged(self._foreign, _built(request, extensions))
        opened: list[httpcore2.AsyncNetworkStream] = []

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                opened.append(info["return_value"])

        built = _built(request, extensions | {"trace": trace})
        try:
            return await _exchanged(await self._transport(), built)
        except asyncio.CancelledError:
            for stream in opened:  # httpcore forgets it if cancelled in a TLS handshake
                await stream.aclose()
            raise

    async def _transport(self) -> httpx2.AsyncHTTPTransport:
        context = self._route.context()
        if self._own is None or context is not self._context:
            await self.close()
            self._own = httpx2.AsyncHTTPTransport(
                verify=context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                proxy=self._route.proxy_url(),
            )
            self._context = context
        return self._own

    async def close(self) -> None:
        """Close what was opened here; a client or transport of the user stays open."""
        own, self._own = self._own, None
        if own is not None:
            await own.aclose()


async def _exchanged(transport: httpx2.AsyncBaseTransport, request: httpx2.Request) -> Answer:
    response = await transport.handle_async_request(request)
    try:
        await response.aread()
    finally:
        await response.aclose()
    return _answer(response)


def _built_by(
    client: httpx2.Client | httpx2.AsyncClient, request: Request, extensions: dict[str, Any]
) -> httpx2.Request:
    """Return the request with what *client* adds to it: cookies, headers of its own."""
    return client.build_request(
        request.method,
        request.url,
        headers=dict(request.headers),
        content=request.body,
        timeout=httpx2.Timeout(**extensions["timeout"]),
    )


def _built(request: Request, extensions: dict[str, Any]) -> httpx2.Request:
    return httpx2.Request(
        request.method,
        request.url,
        headers=dict(request.headers),
        content=request.body,
        extensions=extensions,
    )


def _answer(response: httpx2.Response) -> Answer:
    return Answer(
        response.status_code, response.reason_phrase, dict(response.headers), response.content
    )


class _DeadlinePool:
    """httpx2's own engine, except that no operation outlasts the deadline."""

    def __init__(self, context: ssl.SSLContext | None, proxy: str | None) -> None:
        self.backend = _DeadlineBackend()
        self._pool = _pool(context, proxy, self.backend)

    def send(self, request: Request, extensions: dict[str, Any], expires: float) -> Answer:
        """Return the answer; errors are httpx2's."""
        self.backend.expires = expires
        try:
            answer = self._pool.request(
                request.method,
                _target(request.url),
                headers=list(request.headers.items()),
                content=request.body,
                extensions=extensions,
            )
        except _ENGINE_ERRORS as error:
            same = getattr(httpx2, type(error).__name__, httpx2.TransportError)
            raise same(str(error)) from error
        reason: bytes = answer.extensions.get("reason_phrase", b"")
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in answer.headers}
        return Answer(answer.status, reason.decode("latin-1"), headers, answer.content)

    def close(self) -> None:
        self._pool.close()


_ENGINE_ERRORS = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.UnsupportedProtocol,
)


@lru_cache(maxsize=256)
def _target(url: str) -> httpcore2.URL:
    parts = httpx2.URL(url)
    return httpcore2.URL(
        scheme=parts.raw_scheme, host=parts.raw_host, port=parts.port, target=parts.raw_path
    )


def _pool(
    context: ssl.SSLContext | None, proxy: str | None, backend: "_DeadlineBackend"
) -> httpcore2.ConnectionPool:
    if proxy is None:
        return httpcore2.ConnectionPool(ssl_context=context, network_backend=backend)
    parts = httpx2.Proxy(proxy)
    return httpcore2.HTTPProxy(
        proxy_url=str(parts.url),
        proxy_auth=parts.raw_auth,
        ssl_context=context,
        network_backend=backend,
    )


class _DeadlineBackend(httpcore2.SyncBackend):
    expires = 0.0
    sent: Callable[[int], object] | None = None

    def left(self, timeout: float | None) -> float:
        left = self.expires - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("deadline")
        return min(left, _FOREVER if timeout is None else timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of *host* that answers, within one *timeout* for all.

        Each address gets its share, so that one that is dead does not use up everything.
        """
        ends = time.monotonic() + self.left(timeout)
        failure: httpcore2.ConnectError | httpcore2.ConnectTimeout | None = None
        addresses = _resolved(host, port, ends)
        for number, address in enumerate(addresses):
            share = (ends - time.monotonic()) / (len(addresses) - number)
            if share <= 0:
                break
            try:
                stream = super().connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
            else:
                return _DeadlineStream(stream, self)
        raise failure or httpcore2.ConnectTimeout("timed out")


def _resolved(host: str, port: int, ends: float) -> list[str]:
    """Return the addresses of *host*. A resolver that hangs is left behind in its thread."""
    answer: list[Any] = []

    def resolve() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.append(error)

    if host.replace(".", "").isdecimal() or ":" in host:
        resolve()
    else:
        thread = threading.Thread(target=resolve, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the interpreter is shutting down
            resolve()
        else:
            thread.join(max(ends - time.monotonic(), 0))
    if not answer:
        raise httpcore2.ConnectTimeout(f"no address for {host} in time")
    if isinstance(answer[0], OSError):
        try:
            raise answer[0]
        except OSError as error:  # as its context, which the pool does not cut off
            raise httpcore2.ConnectError(str(error)) from error
    return [entry[4][0] for entry in answer[0]]


class _DeadlineStream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, backend: _DeadlineBackend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._backend.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # In pieces, because a timeout is for one send, and a slow reader takes many.
        view = memoryview(buffer)
        for start in range(0, len(view), 1 << 16):
            piece = bytes(view[start : start + (1 << 16)])
            self._stream.write(piece, self._backend.left(timeout))
            if self._backend.sent is not None:
                self._backend.sent(len(piece))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._backend.left(timeout)
        stream = self._stream.start_tls(ssl_context, server_hostname, left)
        return _DeadlineStream(stream, self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
