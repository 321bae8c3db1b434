"""HTTP/1.1 with a gateway, on any socket: proxies, tunnels and TLS included.

This module is imported when the first request is sent, because programs that never push need
none of it. httpx2 is used for transports and clients of the user's only.
"""

import sys
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

import h11

from pushgate.client.address import DEFAULT_PORTS, ascii_host
from pushgate.client.auth import basic
from pushgate.client.delivery import Request
from pushgate.client.failures import Answer, failure_of
from pushgate.client.route import Route, seconds_left
from pushgate.client.sockets import PIECE, DeadlineSocket
from pushgate.errors import PushgatewayError

if TYPE_CHECKING:
    import ssl

    from pushgate.client.tls import Tls

# Bytes of the head of an answer, as in httpcore: proxies set cookies beyond the 16 KiB of h11.
_MAX_HEAD = 100 * 1024
# Bytes of the body of an answer to a push, which is an explanation: whatever answers without end
# must not fill the memory of the job.
_MAX_EXPLANATION = 1 << 20
# For the answer of a gateway that has stopped to read: it is there already, or never comes.
_EARLY_ANSWER_SECONDS = 0.5
_http = partial(h11.Connection, h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)


class Connection:
    """How one gateway is reached: by a channel that is kept, or by a transport of the user.

    For one request at a time: its owner has a lock.
    """

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


class ProxyError(ConnectionError):
    """The proxy refused to connect to the gateway; its text begins with the status."""


class Channel:
    """A connection to the gateway at *url*.

    Without a TLS ``context`` it is plain HTTP. ``is_reusable`` says whether the last answer left it
    ready for the next request.
    """

    def __init__(
        self,
        socket: DeadlineSocket,
        url: str,
        proxy: str | None,
        context: "ssl.SSLContext | None",
        server_hostname: str | None,
    ) -> None:
        """Prepare the connection, on a *socket* that has none yet; :meth:`open` makes it.

        All requests have scheme, host and port of *url*. *server_hostname* is the name to request
        and verify in TLS, instead of the host.
        """
        self._gateway, self.proxy = urlsplit(url), urlsplit(proxy) if proxy else None
        self.context, self._server_hostname = context, server_hostname
        self._socket = socket
        self._stream: DeadlineSocket | Tls = socket
        self._http = _http()
        self.is_reusable = False

    async def open(self) -> None:
        """Connect, to the gateway or through a tunnel of the proxy."""
        first = self.proxy or self._gateway
        await self._socket.connect(_host(first), _port(first))
        if self.proxy is not None and self.proxy.scheme == "https":
            from pushgate.client.tls import default_context

            await self._secure(default_context(), _host(self.proxy))
        if self.context is not None:
            if self.proxy is not None:
                await self._tunnel(self.proxy)
            await self._secure(self.context, self._server_hostname or _host(self._gateway))
        self._socket.is_ready = True

    async def _secure(self, context: "ssl.SSLContext", hostname: str) -> None:
        from pushgate.client.tls import Tls  # ssl is slow to import

        # A server that is not told may choose HTTP/2 (RFC 7301).
        context.set_alpn_protocols(["http/1.1"])
        layer = Tls(context, hostname, self._stream)
        await layer.handshake()
        self._stream = layer

    async def _tunnel(self, proxy: SplitResult) -> None:
        # RFC 9110, 9.3.6: host and port, even the scheme's own.
        target = _authority(self._gateway, with_port=True)
        headers = [("Host", target), ("Accept", "*/*"), *_proxy_authorization(proxy)]
        # An HTTP connection of its own: what follows the proxy's head is TLS with the gateway.
        http = _http()
        head = http.send(h11.Request(method="CONNECT", target=target, headers=headers))
        await self._stream.write(head + http.send(h11.EndOfMessage()))
        response = await self._event(http)
        while not isinstance(response, h11.Response):  # 1xx answers may come first
            response = await self._event(http)
        if not 200 <= response.status_code < 300:
            raise ProxyError(f"{response.status_code} {response.reason.decode('latin-1')}")

    async def request(self, request: Request) -> Answer:
        self.is_reusable = False
        # The head goes out together with the first piece of the body, in one packet if it can.
        data = self._http.send(self._head(request))
        if request.body:
            data += self._http.send(h11.Data(request.body))
        data += self._http.send(h11.EndOfMessage())
        unsent: OSError | None = None
        try:
            for start in range(0, len(data), PIECE):
                piece = data[start : start + PIECE]
                await self._stream.write(piece)
                if request.sent is not None:
                    request.sent(len(piece))
        except OSError as error:
            # A gateway may refuse a body before it has read it, and then close, or only stop to
            # read: the answer says why.
            unsent = error
            if isinstance(error, TimeoutError):
                soon = time.monotonic() + _EARLY_ANSWER_SECONDS
                self._socket.expires = min(self._socket.expires, soon)
        is_push = request.info.method in {"PUT", "POST", "PATCH"}
        answer = await self._answer(_MAX_EXPLANATION if is_push else sys.maxsize)
        if unsent is not None and answer.status < 300:
            raise unsent  # a success of something that has not read the body
        # After an early answer, the gateway still expects the rest of the body; and what
        # came behind the answer would be taken for that of the next request.
        is_done = self._http.our_state is self._http.their_state is h11.DONE
        if unsent is None and is_done and not self._http.trailing_data[0]:
            self._http.start_next_cycle()
            self.is_reusable = True
        return answer

    def _head(self, request: Request) -> h11.Request:
        url = urlsplit(request.info.url)
        # A redirect may lead to no path at all, which is the root.
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = list(request.headers.items())
        names = {name.lower() for name in request.headers}
        # Without a body, too: RFC 9110, 8.6 asks for it in PUT and POST.
        if names.isdisjoint({"content-length", "transfer-encoding"}):
            headers.append(("Content-Length", str(len(request.body))))
        # Who does not say this may be answered in gzip (RFC 9110, 12.5.3).
        if "accept-encoding" not in names:
            headers.append(("Accept-Encoding", "identity"))
        if "host" not in names:
            headers.insert(0, ("Host", _authority(url)))
        # Without a tunnel the proxy needs the whole URL (RFC 9112, 3.2.2) and credentials in each
        # request. Inside of a tunnel they would reach the gateway.
        if self.proxy is not None and self.context is None:
            target = f"{url.scheme}://{_authority(url)}{target}"
            headers += _proxy_authorization(self.proxy)
        return h11.Request(method=request.info.method, target=target, headers=headers)

    async def _answer(self, most: int) -> Answer:
        """Return the answer, with at most about *most* bytes of its body."""
        head: h11.Response | None = None
        body = bytearray()
        while True:
            match await self._event(self._http):
                case h11.Response() as head:
                    pass
                case h11.Data(data=data):
                    body += data
                    if head is not None and len(body) >= most:
                        break
                case h11.EndOfMessage() if head is not None:
                    break
        # Header values are bytes on the wire; Latin-1 keeps each of them.
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return Answer(head.status_code, head.reason.decode("latin-1"), headers, bytes(body))

    async def _event(self, http: h11.Connection) -> h11.Event:
        while True:
            event = http.next_event()
            if isinstance(event, h11.Event):
                return event
            data = await self._stream.read()
            if not data and http.their_state is h11.SEND_RESPONSE:
                # h11's own words would be about its states.
                received, _ = http.trailing_data
                raise h11.RemoteProtocolError(
                    f"Server disconnected after {received[:40]!r}, which is no whole HTTP response."
                    if received
                    else "Server disconnected without sending a response."
                )
            http.receive_data(data)


def _host(url: SplitResult) -> str:
    return ascii_host(url.hostname or "")


def _port(url: SplitResult) -> int:
    return url.port or DEFAULT_PORTS[url.scheme]


def _authority(url: SplitResult, *, with_port: bool = False) -> str:
    """Return host and port as in a Host header, where the scheme's own port is left out."""
    host, port = _host(url), _port(url)
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if with_port or port != DEFAULT_PORTS[url.scheme] else shown


def _proxy_authorization(proxy: SplitResult) -> list[tuple[str, str]]:
    if not proxy.username:
        return []
    pair = unquote(proxy.username), unquote(proxy.password or "")
    return [("Proxy-Authorization", basic(*pair))]
