"""How a request reaches the gateway: over a socket, or by a transport of the user.

This module is imported when the first request is sent, because programs that never push need
none of it. httpx2 is used for transports and clients of the user's only.
"""

import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from pushgate.client.delivery import Request
from pushgate.client.exchange import Channel
from pushgate.client.failures import Answer, RequestInfo, port_hint
from pushgate.client.route import Route, seconds_left
from pushgate.client.sockets import DeadlineSocket
from pushgate.errors import (
    ConfigurationError,
    PushAuthError,
    PushConnectionError,
    PushgatewayError,
    PushTimeoutError,
)

if TYPE_CHECKING:
    import ssl


class Connection:
    """The connection of one gateway, for one request at a time: its owner has a lock."""

    def __init__(self, route: Route, socket: DeadlineSocket) -> None:
        self._route, self._socket = route, socket
        self._channel: Channel | None = None

    async def send(self, request: Request) -> Answer | PushgatewayError:
        """Return the gateway's answer, or why there is none."""
        options = self._route.options
        is_own = options.transport is None and options.http_client is None
        try:
            return await (self._exchange(request) if is_own else self._by_httpx2(request))
        except Exception as error:  # noqa: BLE001  each kind of transport has its own
            may_be_sent = self._socket.is_ready or not is_own
            via = self._channel.proxy if self._channel else None
            return failure_of(error, request.info, via, may_be_sent=may_be_sent)

    async def _exchange(self, request: Request) -> Answer:
        """Return the answer to *request*, over the last connection if it lives."""
        self._socket.expires = request.expires
        route, channel = self._route, self._channel
        context: ssl.SSLContext | None = None
        if route.address.scheme == "https":
            from pushgate.client.tls import context_for  # ssl is slow to import

            context = context_for(route.options)
        # Another context means that a certificate file has been replaced.
        if channel is None or context is not channel.context or not self._socket.is_idle():
            self.close()
            hostname = route.options.server_hostname
            channel = Channel(self._socket, request.info.url, route.proxy_url(), context, hostname)
            self._channel = channel
        try:
            if not self._socket.is_ready:
                await channel.open()
            return await channel.request(request)
        finally:
            if not channel.is_reusable:
                self._socket.close()

    async def _by_httpx2(self, request: Request) -> Answer:
        """Return the answer to *request*, sent by a client or a transport of the user."""
        import httpx2

        options = self._route.options
        given, transport = options.http_client, options.transport
        # A client of the user's adds what is its own: cookies, headers.
        built = (httpx2.Request if given is None else given.build_request)(
            request.info.method,
            request.info.url,
            headers=dict(request.headers),
            content=request.body,
            extensions={"timeout": self._route.timeouts(request.expires)},
        )
        # deliver() decides which redirects to follow. A client that is made here is never closed:
        # it would close the transport, which is the user's.
        if self._socket.is_awaited:
            import asyncio

            assert isinstance(given, httpx2.AsyncClient | None), "GatewayBase has checked it"
            assert isinstance(transport, httpx2.AsyncBaseTransport | None)
            client = given or httpx2.AsyncClient(transport=transport)
            async with asyncio.timeout(seconds_left(request.expires)):
                response = await client.send(built, follow_redirects=False)
        else:
            assert isinstance(given, httpx2.Client | None)
            assert isinstance(transport, httpx2.BaseTransport | None)
            response = (given or httpx2.Client(transport=transport)).send(
                built, follow_redirects=False
            )
        return Answer(
            response.status_code, response.reason_phrase, dict(response.headers), response.content
        )

    def close(self) -> None:
        """Close what was opened here; a client or transport of the user stays open."""
        self._socket.close()
        self._socket.is_ready = False
        self._channel = None


def failure_of(
    error: Exception, info: RequestInfo, via: SplitResult | None, *, may_be_sent: bool
) -> PushgatewayError:
    """Return why there was no answer, *error* being what the connection raised.

    Args:
        error: What the connection raised.
        info: The request.
        via: The proxy that it should have gone through.
        may_be_sent: False if the connection was not ready yet, so that nothing can have been sent.

    Raises:
        Exception: *error* itself if it is no failure of a connection.
    """
    if isinstance(error, PushgatewayError):
        return error
    # By name, so that neither httpx2 nor ssl is imported for it; h11 and httpx2 share names.
    names = _names(error)
    if names & {"InvalidURL", "UnsupportedProtocol", "LocalProtocolError", "UnicodeError"}:
        return ConfigurationError(f"{info.prefix}{error}", key="address")
    # The proxy refused CONNECT; its status is in the error's text only.
    if "ProxyError" in names and str(error).startswith("407"):
        refused = PushAuthError(f"{info.prefix}the proxy says {error}")
        refused.status = 407
        return refused
    # These come before a connection is there: httpx2's PoolTimeout, until one is free.
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
    failure = PushConnectionError(f"{info.prefix}{_reason(root, via or urlsplit(info.base))}")
    failure.__cause__ = root
    failure.sent = may_be_sent
    failure.tls = "SSLError" in _names(root)
    # A wrong certificate or protocol stays wrong; a handshake that broke off may succeed later.
    failure.final = failure.tls and not _names(root) & {"SSLEOFError", "SSLZeroReturnError"}
    # What OpenSSL makes of an answer in plain text; the name depends on its version.
    if "WRONG_VERSION_NUMBER" in str(root) or "RECORD_LAYER_FAILURE" in str(root):
        failure.hint = "that port speaks plain HTTP; use http://"
    elif not failure.sent and via is not None:
        proxy = via.netloc.rpartition("@")[2]
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


def _reason(root: BaseException, url: SplitResult) -> str:
    """Return what *root* says, raised by a connection to the host of *url*."""
    if isinstance(root, socket.gaierror):
        return f"unknown host {url.hostname}: {root.strerror}"
    if "SSLCertVerificationError" in _names(root):
        return f"the certificate is not trusted: {getattr(root, 'verify_message', '') or root}"
    if isinstance(root, OSError) and root.strerror and root.errno:
        # In asyncio's errors, strerror is a sentence about the address.
        return root.strerror if "SSLError" in _names(root) else os.strerror(root.errno)
    return str(root) or type(root).__name__
