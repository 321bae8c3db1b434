"""How a request reaches the gateway: httpcore2, and a deadline that nothing outlives.

httpcore2's timeouts are per operation, so a gateway that answers a byte at a time could
hold a push forever. The blocking connection therefore gives every single socket operation
no more than what is left until the deadline; asyncio cancels by itself.

Importing httpcore2 costs more than everything else in the client, so this module is
imported when the first request is sent. httpx2 is used for transports and clients of the
user's only.
"""

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import httpcore2

from pushgate.client.delivery import Send
from pushgate.client.failures import Answer, RequestInfo, port_hint
from pushgate.client.route import FOREVER, Route, seconds_left
from pushgate.errors import (
    ConfigurationError,
    PushAuthError,
    PushConnectionError,
    PushgatewayError,
    PushTimeoutError,
)

if TYPE_CHECKING:
    import httpx2

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)


class Connection:
    """The connection of one blocking gateway. Not thread-safe: its owner has a lock."""

    def __init__(self, route: Route) -> None:
        self._route = route
        # GatewayBase has refused those for asyncio.
        self._client = cast("httpx2.Client | None", route.options.http_client)
        self._transport = cast("httpx2.BaseTransport | None", route.options.transport)
        self._backend = _DeadlineBackend()
        self._pool: httpcore2.ConnectionPool | None = None
        self._context: ssl.SSLContext | None = None
        self._via: str | None = None  # the proxy of the pool

    def send(
        self, step: Send, sent: Callable[[int], object] | None = None
    ) -> Answer | PushgatewayError:
        """Return the gateway's answer, or why there is none.

        Args:
            step: The request, and its deadline.
            sent: Called with the number of bytes of each piece of the body that is sent.
        """
        extensions = self._route.extensions(step.expires)
        try:
            if self._client is not None:
                request = _built_by(self._client, step, extensions)
                # deliver() decides which redirects to follow.
                return _answer_of(self._client.send(request, follow_redirects=False))
            if self._transport is not None:
                response = self._transport.handle_request(_built(step, extensions))
                try:
                    # A connection whose answer was not read to its end cannot be used again.
                    response.read()
                finally:
                    response.close()
                return _answer_of(response)
            pool = self._current_pool()
            # Streams of earlier requests read them from the backend, too.
            self._backend.expires, self._backend.sent = step.expires, sent
            return _answer(pool.request(**_arguments(step, extensions)))
        except Exception as error:  # noqa: BLE001  each kind of transport has its own
            return failure_of(error, step.info, self._via)

    def _current_pool(self) -> httpcore2.ConnectionPool:
        context = self._route.tls_context()
        # A new context means that the files of the certificates have changed.
        if self._pool is None or context is not self._context:
            self.close()
            self._via = self._route.proxy_url()
            proxy = _proxy(self._via)
            self._pool = httpcore2.ConnectionPool(
                ssl_context=context, proxy=proxy, network_backend=self._backend
            )
            self._context = context
        return self._pool

    def close(self) -> None:
        """Close what was opened here; a client or transport of the user stays open."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


class AsyncConnection:
    """The connection of one asyncio gateway, in one event loop."""

    def __init__(self, route: Route) -> None:
        self._route = route
        # GatewayBase has refused those for blocking code.
        self._client = cast("httpx2.AsyncClient | None", route.options.http_client)
        self._transport = cast("httpx2.AsyncBaseTransport | None", route.options.transport)
        self._pool: httpcore2.AsyncConnectionPool | None = None
        self._context: ssl.SSLContext | None = None
        self._via: str | None = None  # the proxy of the pool

    async def send(self, step: Send) -> Answer | PushgatewayError:
        """Return the gateway's answer, or why there is none."""
        import asyncio  # not at the top: blocking programs need not wait for it

        try:
            async with asyncio.timeout(seconds_left(step.expires)):
                return await self._send(step, self._route.extensions(step.expires))
        except Exception as error:  # noqa: BLE001  each kind of transport has its own
            return failure_of(error, step.info, self._via)

    async def _send(self, step: Send, extensions: dict[str, Any]) -> Answer:
        if self._client is not None:
            request = _built_by(self._client, step, extensions)
            return _answer_of(await self._client.send(request, follow_redirects=False))
        if self._transport is not None:
            response = await self._transport.handle_async_request(_built(step, extensions))
            try:
                await response.aread()
            finally:
                await response.aclose()
            return _answer_of(response)
        import asyncio

        opened: list[httpcore2.AsyncNetworkStream] = []

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                opened.append(info["return_value"])

        pool = await self._current_pool()
        try:
            return _answer(await pool.request(**_arguments(step, extensions | {"trace": trace})))
        except asyncio.CancelledError:
            for stream in opened:  # httpcore2 forgets it if cancelled in a TLS handshake
                await stream.aclose()
            raise

    async def _current_pool(self) -> httpcore2.AsyncConnectionPool:
        context = self._route.tls_context()
        if self._pool is None or context is not self._context:
            await self.close()
            self._via = self._route.proxy_url()
            proxy = _proxy(self._via)
            self._pool = httpcore2.AsyncConnectionPool(ssl_context=context, proxy=proxy)
            self._context = context
        return self._pool

    async def close(self) -> None:
        """Close what was opened here; a client or transport of the user stays open."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()


@lru_cache(maxsize=256)  # a gateway pushes to the same URL again and again
def _url(url: str) -> httpcore2.URL:
    # httpcore2 takes ASCII only, so the name of a host in another script is written in IDNA.
    parts = urlsplit(url)
    host = parts.hostname or ""
    return httpcore2.URL(
        scheme=parts.scheme,
        host=host if host.isascii() else host.encode("idna"),
        port=parts.port,
        target=parts.path + (f"?{parts.query}" if parts.query else ""),
    )


def _arguments(step: Send, extensions: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a request of httpcore2."""
    return {
        "method": step.info.method,
        "url": _url(step.info.url),
        "headers": list(step.headers.items()),
        "content": step.body,
        "extensions": extensions,
    }


def _proxy(url: str | None) -> httpcore2.Proxy | None:
    """Return the proxy at *url*; credentials in it become a header."""
    if url is None:
        return None
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return httpcore2.Proxy(
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
        auth=(user.encode(), password.encode()) if parts.username else None,
    )


def _answer(response: httpcore2.Response) -> Answer:
    # Header values are bytes on the wire; Latin-1 keeps each of them.
    reason: bytes = response.extensions.get("reason_phrase", b"")
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in response.headers}
    return Answer(response.status, reason.decode("latin-1"), headers, response.content)


def _built_by(
    client: "httpx2.Client | httpx2.AsyncClient", step: Send, extensions: dict[str, Any]
) -> "httpx2.Request":
    """Return the request with what *client* adds to it: cookies, headers of its own."""
    import httpx2

    return client.build_request(
        step.info.method,
        step.info.url,
        headers=dict(step.headers),
        content=step.body,
        timeout=httpx2.Timeout(**extensions["timeout"]),
    )


def _built(step: Send, extensions: dict[str, Any]) -> "httpx2.Request":
    import httpx2

    return httpx2.Request(
        step.info.method,
        step.info.url,
        headers=dict(step.headers),
        content=step.body,
        extensions=extensions,
    )


def _answer_of(response: "httpx2.Response") -> Answer:
    return Answer(
        response.status_code, response.reason_phrase, dict(response.headers), response.content
    )


def failure_of(error: Exception, info: RequestInfo, via: str | None = None) -> PushgatewayError:
    """Return why there was no answer, *error* being what the connection raised.

    Args:
        error: What the connection raised.
        info: The request.
        via: The URL of the proxy that it should have gone through.

    Raises:
        Exception: *error* itself if it is no failure of a connection.
    """
    if isinstance(error, PushgatewayError):
        return error
    # httpx2 has the errors of httpcore2 under the same names, and InvalidURL besides.
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"InvalidURL", "UnsupportedProtocol", "LocalProtocolError", "UnicodeError"}:
        return ConfigurationError(f"{info.prefix}{error}", key="address")
    # The proxy refused CONNECT; its status is in the error's text only.
    if "ProxyError" in names and str(error).startswith("407"):
        refused = PushAuthError(f"{info.prefix}the proxy says {error}")
        refused.status = 407
        return refused
    # Before a connection is there (PoolTimeout: before one is free), nothing can have been sent.
    if names & {"TimeoutException", "TimeoutError"}:
        connecting = bool(names & {"ConnectTimeout", "PoolTimeout"})
        late = PushTimeoutError(f"{info.prefix}{'Connect' if connecting else 'Read'} timed out")
        late.phase, late.sent = ("connect", False) if connecting else ("read", True)
        late.hint = port_hint(info) if connecting else ""
        return late
    if not names & {"NetworkError", "ProtocolError", "ProxyError", "RequestError", "OSError"}:
        raise error
    root = _root(error)
    failure = PushConnectionError(f"{info.prefix}{_reason(root, via or info.base)}")
    failure.__cause__ = root
    failure.sent = not names & {"ConnectError", "ProxyError"}
    failure.tls = isinstance(root, ssl.SSLError)
    # A certificate or a protocol does not get better; a handshake that broke off may.
    failure.final = failure.tls and not isinstance(root, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    # What OpenSSL makes of an answer in plain text; the name depends on its version.
    if "WRONG_VERSION_NUMBER" in str(root) or "RECORD_LAYER_FAILURE" in str(root):
        failure.hint = "that port speaks plain HTTP; use http://"
    elif not failure.sent and via is not None:
        proxy = urlsplit(via).netloc.rpartition("@")[2]
        failure.hint = f"the connection goes through the proxy {proxy}"
    elif not failure.sent and not failure.tls and not isinstance(root, socket.gaierror):
        failure.hint = port_hint(info)
    return failure


def _root(error: BaseException) -> BaseException:
    """Return the error of the operating system or of TLS behind *error*, else the last one."""
    # httpcore2 and anyio wrap the errors of sockets, and only those have an errno.
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        if isinstance(cause, BaseExceptionGroup):  # one for each address of the host
            causes += cause.exceptions
        cause = cause.__cause__ or cause.__context__
    of_system = [cause for cause in causes if isinstance(cause, OSError)]
    return next((cause for cause in of_system if cause.errno), [*of_system, causes[-1]][0])


def _reason(root: BaseException, url: str) -> str:
    """Return what *root* says, raised by a connection to the host of *url*."""
    if isinstance(root, socket.gaierror):
        return f"unknown host {urlsplit(url).hostname}: {root.strerror}"
    if isinstance(root, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {root.verify_message or root}"
    if isinstance(root, OSError) and root.strerror and root.errno:
        # asyncio puts the address there instead of the reason
        return root.strerror if isinstance(root, ssl.SSLError) else os.strerror(root.errno)
    return str(root) or type(root).__name__


class _DeadlineBackend(httpcore2.SyncBackend):
    """httpcore2's sockets, except that no operation outlasts the deadline."""

    expires = 0.0
    sent: Callable[[int], object] | None = None

    def left(self, timeout: float | None) -> float:
        left = self.expires - time.monotonic()
        # To a socket, a timeout of 0 means "do not block", and a negative one is an error.
        if left <= 0:
            raise httpcore2.ReadTimeout("deadline")
        return min(left, FOREVER if timeout is None else timeout)

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

    # getaddrinfo() has no timeout and cannot be interrupted.
    def resolve() -> None:
        try:
            answer.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answer.append(error)

    # An address needs no resolver, and so no thread.
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
