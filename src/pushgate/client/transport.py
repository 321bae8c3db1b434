"""How a request reaches the gateway: over a socket, or by a transport of the user.

This module is imported when the first request is sent, because programs that never push need
none of it. httpx2 is used for transports and clients of the user's only.
"""

from typing import TYPE_CHECKING

from pushgate.client.delivery import Request
from pushgate.client.exchange import Channel
from pushgate.client.failures import Answer, failure_of
from pushgate.client.route import Route, seconds_left
from pushgate.client.sockets import DeadlineSocket
from pushgate.errors import PushgatewayError

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
