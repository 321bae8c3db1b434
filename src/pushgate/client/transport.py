"""How a request reaches the gateway: sockets, blocking or asyncio's, and the user's own transports.

No operation on a socket gets more time than what is left until the deadline: with a timeout
for each operation only, a gateway that answers a byte at a time could hold a push forever.

This module is imported when the first request is sent, because programs that never push need
none of it. httpx2 is used for transports and clients of the user's only.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from pushgate.client.delivery import Send
from pushgate.client.exchange import Channel
from pushgate.client.failures import Answer, RequestInfo, port_hint
from pushgate.client.operation import await_all, take_all
from pushgate.client.route import Route, seconds_left
from pushgate.client.wire import PIECE, Action, Actions, Connect, Read, Resolve, Write
from pushgate.errors import (
    ConfigurationError,
    PushAuthError,
    PushConnectionError,
    PushgatewayError,
    PushTimeoutError,
)

if TYPE_CHECKING:
    import ssl

    import httpx2


class _Socket:
    """The one connection of a gateway to its server, kept until it is closed."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._socket: socket.socket | None = None
        self._channel: Channel | None = None
        self._context: ssl.SSLContext | None = None
        self._via: str | None = None  # the proxy of the channel
        self._connect_by = 0.0

    def _exchange(self, step: Send, sent: Callable[[int], object] | None = None) -> Actions[Answer]:
        """Yield the actions that get an answer to *step*, over the last connection if it lives."""
        context = self._route.tls_context()
        # A new context means that the files of the certificates have changed.
        if self._channel is None or context is not self._context or self._is_stale():
            self.close()
            self._via, self._context = self._route.proxy_url(), context
            hostname = self._route.options.server_hostname
            self._channel = Channel(step.info.url, self._via, context, hostname)
        channel = self._channel
        try:
            if not channel.is_ready:
                yield from channel.open()
            return (yield from channel.request(step, sent))
        finally:
            if not channel.is_reusable:
                self._hang_up()

    def _is_stale(self) -> bool:
        """Return whether the gateway has closed the connection, or says something unasked."""
        if self._socket is None:
            return True
        try:
            self._socket.setblocking(False)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _failure(self, error: Exception, step: Send) -> PushgatewayError:
        may_be_sent = self._channel is None or self._channel.is_ready
        return failure_of(error, step.info, self._via, may_be_sent=may_be_sent)

    def _timeout(self, action: Action, expires: float) -> float:
        """Return the seconds for *action*.

        Raises:
            TimeoutError: There are none left.
        """
        now, timeouts = time.monotonic(), self._route.timeouts(expires)
        if isinstance(action, Resolve):
            self._connect_by = now + timeouts["connect"]
        if isinstance(action, Connect):
            seconds = (self._connect_by - now) * action.share
        else:
            is_ready = self._channel is not None and self._channel.is_ready
            seconds = timeouts["read" if is_ready else "connect"]
        # To a socket, a timeout of 0 means "do not block", and a negative one is an error.
        if seconds <= 0 or now >= expires:
            raise TimeoutError("timed out")
        return seconds

    def _new_socket(self, address: tuple[Any, ...]) -> socket.socket:
        self._hang_up()
        self._socket = socket.socket(*address[:3])
        # Without a delay for the acknowledgement of the piece before.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _hang_up(self) -> None:
        connected, self._socket = self._socket, None
        if connected is not None:
            connected.close()

    def close(self) -> None:
        """Close what was opened here; a client or transport of the user stays open."""
        self._hang_up()
        self._channel = None


class Connection(_Socket):
    """The connection of one blocking gateway. Not thread-safe: its owner has a lock."""

    def send(
        self, step: Send, sent: Callable[[int], object] | None = None
    ) -> Answer | PushgatewayError:
        """Return the gateway's answer, or why there is none.

        Args:
            step: The request, and its deadline.
            sent: Called with the number of bytes of each piece of the request that is sent.
        """
        # GatewayBase has refused those for asyncio.
        client = cast("httpx2.Client | None", self._route.options.http_client)
        transport = cast("httpx2.BaseTransport | None", self._route.options.transport)
        try:
            if client is not None:
                request = _built_by(client, step, self._route)
                # deliver() decides which redirects to follow.
                return _answer_of(client.send(request, follow_redirects=False))
            if transport is not None:
                response = transport.handle_request(_built(step, self._route))
                try:
                    # A connection whose answer was not read to its end cannot be used again.
                    response.read()
                finally:
                    response.close()
                return _answer_of(response)
            return take_all(
                self._exchange(step, sent), lambda action: self._take(action, step.expires)
            )
        except Exception as error:  # noqa: BLE001  each kind of transport has its own
            return self._failure(error, step)

    def _take(self, action: Action, expires: float) -> Any:
        timeout = self._timeout(action, expires)
        if isinstance(action, Resolve):
            return _resolved(*action, timeout)
        connected = (
            self._new_socket(action.address) if isinstance(action, Connect) else self._socket
        )
        assert connected is not None
        connected.settimeout(timeout)
        match action:
            case Connect(address):
                connected.connect(address[4])
            case Read():
                return connected.recv(PIECE)
            case Write(data):
                left = memoryview(data)
                while left := left[connected.send(left) :]:
                    connected.settimeout(self._timeout(action, expires))
        return None


class AsyncConnection(_Socket):
    """The connection of one asyncio gateway, in one event loop."""

    async def send(self, step: Send) -> Answer | PushgatewayError:
        """Return the gateway's answer, or why there is none."""
        # GatewayBase has refused those for blocking code.
        client = cast("httpx2.AsyncClient | None", self._route.options.http_client)
        transport = cast("httpx2.AsyncBaseTransport | None", self._route.options.transport)
        try:
            if client is None and transport is None:
                return await await_all(
                    self._exchange(step), lambda action: self._take(action, step.expires)
                )
            import asyncio  # not at the top: blocking programs need not wait for it

            async with asyncio.timeout(seconds_left(step.expires)):
                if client is not None:
                    request = _built_by(client, step, self._route)
                    return _answer_of(await client.send(request, follow_redirects=False))
                assert transport is not None
                response = await transport.handle_async_request(_built(step, self._route))
                try:
                    await response.aread()
                finally:
                    await response.aclose()
                return _answer_of(response)
        except Exception as error:  # noqa: BLE001  each kind of transport has its own
            return self._failure(error, step)

    async def _take(self, action: Action, expires: float) -> Any:
        import asyncio

        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout(action, expires)):
            if isinstance(action, Resolve):
                return await loop.getaddrinfo(*action, type=socket.SOCK_STREAM)
            connected = (
                self._new_socket(action.address) if isinstance(action, Connect) else self._socket
            )
            assert connected is not None
            connected.setblocking(False)
            match action:
                case Connect(address):
                    await loop.sock_connect(connected, address[4])
                case Read():
                    return await loop.sock_recv(connected, PIECE)
                case Write(data):
                    await loop.sock_sendall(connected, data)
            return None


def _resolved(host: str, port: int, timeout: float) -> list[Any]:
    """Return the addresses of *host*. A resolver that hangs is left behind in its thread."""
    answer: list[Any] = []

    # getaddrinfo() has no timeout and cannot be interrupted. With text, it would import IDNA.
    def resolve() -> None:
        try:
            answer.append(socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM))
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
            thread.join(timeout)
    if not answer:
        raise TimeoutError(f"no address for {host} in time")
    if isinstance(answer[0], OSError):
        raise answer[0]
    addresses: list[Any] = answer[0]
    return addresses


def _built_by(
    client: "httpx2.Client | httpx2.AsyncClient", step: Send, route: Route
) -> "httpx2.Request":
    """Return the request with what *client* adds to it: cookies, headers of its own."""
    import httpx2

    return client.build_request(
        step.info.method,
        step.info.url,
        headers=dict(step.headers),
        content=step.body,
        timeout=httpx2.Timeout(**route.timeouts(step.expires)),
    )


def _built(step: Send, route: Route) -> "httpx2.Request":
    import httpx2

    return httpx2.Request(
        step.info.method,
        step.info.url,
        headers=dict(step.headers),
        content=step.body,
        extensions={"timeout": route.timeouts(step.expires)},
    )


def _answer_of(response: "httpx2.Response") -> Answer:
    return Answer(
        response.status_code, response.reason_phrase, dict(response.headers), response.content
    )


def failure_of(
    error: Exception, info: RequestInfo, via: str | None = None, *, may_be_sent: bool = True
) -> PushgatewayError:
    """Return why there was no answer, *error* being what the connection raised.

    Args:
        error: What the connection raised.
        info: The request.
        via: The URL of the proxy that it should have gone through.
        may_be_sent: False if the connection was not ready yet, so that nothing can have been sent.

    Raises:
        Exception: *error* itself if it is no failure of a connection.
    """
    if isinstance(error, PushgatewayError):
        return error
    # By name, because neither httpx2 nor ssl need be there; h11 and httpx2 have the same names.
    names = _names(error)
    if names & {"InvalidURL", "UnsupportedProtocol", "LocalProtocolError", "UnicodeError"}:
        return ConfigurationError(f"{info.prefix}{error}", key="address")
    # The proxy refused CONNECT; its status is in the error's text only.
    if "ProxyError" in names and str(error).startswith("407"):
        refused = PushAuthError(f"{info.prefix}the proxy says {error}")
        refused.status = 407
        return refused
    # PoolTimeout: before a connection is free.
    if names & {"ConnectTimeout", "PoolTimeout", "ConnectError", "ProxyError"}:
        may_be_sent = False
    if names & {"TimeoutException", "TimeoutError"}:
        late = PushTimeoutError(f"{info.prefix}{'Read' if may_be_sent else 'Connect'} timed out")
        late.phase, late.sent = ("read" if may_be_sent else "connect"), may_be_sent
        late.hint = "" if may_be_sent else port_hint(info)
        return late
    if not names & {"NetworkError", "ProtocolError", "ProxyError", "RequestError", "OSError"}:
        raise error
    root = _root(error)
    failure = PushConnectionError(f"{info.prefix}{_reason(root, via or info.base)}")
    failure.__cause__ = root
    failure.sent = may_be_sent
    failure.tls = "SSLError" in _names(root)
    # A certificate or a protocol does not get better; a handshake that broke off may.
    failure.final = failure.tls and not _names(root) & {"SSLEOFError", "SSLZeroReturnError"}
    # What OpenSSL makes of an answer in plain text; the name depends on its version.
    if "WRONG_VERSION_NUMBER" in str(root) or "RECORD_LAYER_FAILURE" in str(root):
        failure.hint = "that port speaks plain HTTP; use http://"
    elif not failure.sent and via is not None:
        proxy = urlsplit(via).netloc.rpartition("@")[2]
        failure.hint = f"the connection goes through the proxy {proxy}"
    elif not failure.sent and not failure.tls and not isinstance(root, socket.gaierror):
        failure.hint = port_hint(info)
    return failure


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


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
    if "SSLCertVerificationError" in _names(root):
        return f"the certificate is not trusted: {getattr(root, 'verify_message', '') or root}"
    if isinstance(root, OSError) and root.strerror and root.errno:
        # asyncio puts the address there instead of the reason
        return root.strerror if "SSLError" in _names(root) else os.strerror(root.errno)
    return str(root) or type(root).__name__
