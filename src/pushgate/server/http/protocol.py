"""One HTTP/1.x connection: an asyncio protocol that reads requests and writes responses.

Requests are served one at a time. The bytes that follow a request stay in the buffer until it is
answered, so responses keep the order of their requests, and a malformed request is noticed when
its turn comes. A head is parsed once it is complete. Offers to upgrade are declined by ignoring
them (RFC 9110, 7.8).

If clients need no credentials, a push goes straight to the :class:`PushService`, without a task,
ASGI messages or a router. Every other request becomes an ASGI cycle, an :class:`Exchange`. The
body of a request is fed to either of them, piece by piece.
"""

import asyncio
import logging
import re
import time
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import unquote
from weakref import WeakSet

from starlette.types import ASGIApp, Message, Scope

from pushgate.errors import LimitExceeded, PushgateError
from pushgate.server.access.tls import valid_until
from pushgate.server.http.context import AppContext
from pushgate.server.http.push import UNEXPECTED_EOF, BodyCutOff, Push, push_request
from pushgate.server.http.push_path import PUSH_METHODS, push_path
from pushgate.server.http.request import (
    BAD_REQUEST,
    HEAD_TOO_LARGE,
    MAX_HEAD_BYTES,
    Chunked,
    Counted,
    MalformedBody,
    MalformedRequest,
    RequestHead,
    parse_head,
)
from pushgate.server.http.responses import (
    RETRY,
    WITHOUT_BODY,
    Headers,
    Response,
    encoded_head,
    error_response,
    plain_error,
)
from pushgate.server.http.slices import SLICE_SECONDS, queue_slice

_log = logging.getLogger(__name__)

# Less than that of requests that wait is not counted, and smaller heads wait for no turn: with
# 10,000 connections, they hold 80 MiB at most.
_LARGE_HEAD_BYTES = 8 << 10
# Received and not yet read: from here on the client has to wait.
_HIGH_WATER_BYTES = 64 << 10
# How long one connection may keep the event loop when it receives something: in one iteration of
# the loop, a hundred may.
_SHARE_SECONDS = SLICE_SECONDS / 10
# How much of a body is read in one step.
_PIECE_BYTES = 16 << 10
# The rest of a body that was refused: up to so much is read and dropped for the next request.
_MAX_DISCARDED_BYTES = 1 << 20
# After the last response a sender may still be sending. Closing at once would reset the
# connection, and the sender, or a proxy in front of it, might never read the response.
_MAX_LINGER_BYTES = 256 << 20
_MAX_LINGER_SECONDS = 30.0
# How long a request that is under way may outlive the certificate of its client.
_MAX_EXPIRED_SECONDS = 10
# How long a stop waits for the first request of a new connection, and for the rest of a head: its
# client could not know that the server stops, and cannot tell whether a retry is safe.
NEW_SECONDS = 1.0
_NEVER = float("inf")
_TLS_HANDSHAKE = 0x16  # the first byte of a TLS connection; no request begins with it
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_REFUSALS: Final = {
    "header-seconds": plain_error(
        408, "the headers took too long to arrive (--limit.header-seconds)"
    ),
    "connections": plain_error(503, "too many connections (--limit.connections)", RETRY),
    "open-files": plain_error(503, "too many connections for the limit of open files", RETRY),
    "held-bytes": plain_error(
        503, "too many bytes of requests are being received (--limit.held-bytes)", RETRY
    ),
}
# Browsers send one of these with every write, other clients hardly ever: only such requests need
# the check against forgery (csrf.py).
_FROM_BROWSERS = frozenset({b"origin", b"sec-fetch-site"})
# A line may end in LF alone (RFC 9112, 2.2), and so may the empty one.
_end_of_head = re.compile(rb"\n\r?\n").search


class ServerState:
    """What all connections of a server share."""

    def __init__(self, app: ASGIApp, context: AppContext) -> None:
        settings = context.settings
        self.app = app
        self.pushes = context.pushes
        self.telemetry = context.telemetry
        self.live = context.live
        self.is_push = push_path(settings.route_prefix)
        self.header_seconds = settings.limit_header_seconds or _NEVER
        self.body_seconds = settings.limit_body_seconds or _NEVER
        self.idle_seconds = settings.limit_idle_seconds or _NEVER
        self.max_held_bytes = settings.limit_held_bytes or _NEVER
        self.max_connections: dict[str, float] = {
            "connections": settings.limit_connections or _NEVER
        }
        """How many connections there may be, by the reason for which more are refused."""
        self.connections: set[HttpProtocol] = set()
        context.telemetry.recent.connections = self.connections
        self.handshakes: WeakSet[HttpProtocol] = WeakSet()
        """Accepted connections that are not established yet: under TLS, their handshake goes on.

        The event loop does not say when one has failed: it drops the protocol, and with it this
        weak reference.
        """
        self.exchanges: set[asyncio.Task[None]] = set()
        self.held_bytes = 0
        """Bytes of requests that have arrived and are not read yet, where these are many."""
        self.is_stopping = False
        self._is_full = False
        self.date: tuple[tuple[bytes, bytes], ...] = ()
        self.tick(0)

    def tick(self, now: float) -> None:
        """Set the ``Date`` of responses and end what is too slow; *now* is the loop's time.

        Called each second. To do it for each request would cost more than a small push.
        """
        self.date = ((b"date", formatdate(time.time(), usegmt=True).encode()),)
        for connection in tuple(self.connections):
            connection.expire(now)
        begun = len(self.connections) + len(self.handshakes)
        if self._is_full and begun < min(self.max_connections.values()):
            self._is_full = False

    def exceeded(self, connections: int) -> str:
        """Return the reason for which *connections* are too many; empty if they are not."""
        limits = self.max_connections.items()
        return next((reason for reason, limit in limits if connections > limit), "")

    def has_room(self) -> bool:
        """Return whether the handshake that begins may go on; count and log it if not.

        It costs more memory than a connection, and nobody hears a refusal before its end.
        """
        reason = self.exceeded(len(self.connections) + len(self.handshakes))
        if reason:
            self.refuse(reason)
        return not reason

    def refuse(self, reason: str) -> Response:
        """Count a client that is refused for *reason*, and return the response to it.

        Too many connections are logged once, until there are fewer again.
        """
        self.telemetry.rejected[reason] += 1
        if reason in self.max_connections and not self._is_full:
            self._is_full = True
            limit = {"reason": reason, "limit": self.max_connections[reason]}
            _log.warning("too many connections: more are refused", extra=limit)
        return _REFUSALS[reason]

    @property
    def is_open(self) -> bool:
        """Whether clients need no credentials, and responses get no additional headers."""
        access = self.live.access
        return access.open and not access.headers


class HttpProtocol(asyncio.Protocol):
    """A connection of a client."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        state.handshakes.add(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self.is_tls = False
        self._buffer = bytearray()  # received, not yet read
        # A head that is not complete yet:
        self._in_head = False
        self._searched = 0  # so many bytes of the buffer do not contain its end
        self._held_bytes = 0  # of the buffer, counted in the state
        # The request that is being served:
        self._framing: Counted | Chunked | None = None  # while its body is arriving
        self._sink: Push | Exchange | None = None  # receives the body; None once it is refused
        self._owes_response = False
        self._keep_alive = True
        self.is_http_1_0 = False
        self._awaits_continue = False
        self._at_eof = False
        self._is_ending = False  # what still arrives is dropped
        self._discarded = 0
        self._is_advancing = self._is_scheduled = self._has_turn = self._is_paused = False
        self._deadline = self._write_deadline = self._certificate_ends = _NEVER
        self._is_new_until = 0.0
        self.writable = asyncio.Event()
        self.writable.set()
        self.client: tuple[str, int] | None = None
        self.server: tuple[str, int | None] | None = None
        self.peer_certificate: Any = None

    # --- Called by the transport ------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of uvloop
        """Wait for requests, or refuse the client if there are too many."""
        state = self._state
        state.handshakes.discard(self)
        state.connections.add(self)
        self._transport = transport
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        # As in an ASGI scope. The name of a Unix socket is a text, empty for a client's.
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self.client = peer[:2] if isinstance(peer, tuple) else None
        self.server = own[:2] if isinstance(own, tuple) else (own, None) if own else None
        self.peer_certificate = transport.get_extra_info("peercert")
        now = self._loop.time()
        # In the time of the loop, which goes on evenly when the clock is set.
        self._certificate_ends = now + valid_until(self.peer_certificate) - time.time()
        self._deadline = now + state.header_seconds
        self._is_new_until = now + NEW_SECONDS
        if reason := state.exceeded(len(state.connections)):
            # Lingering would keep just those connections open that are too many.
            self._refuse_for(reason, lingers=False)
            return
        if state.is_stopping:  # it was accepted before
            self.shut_down()

    def data_received(self, data: bytes) -> None:
        """Handle the next bytes from the client.

        The two usual cases need no buffer: a whole push in one segment whose head is known, and
        a piece of a body.
        """
        if self._is_ending:
            self._discarded += len(data)
            if self._discarded > _MAX_LINGER_BYTES:
                self._transport.close()
            return
        if not self._buffer and not self._is_scheduled:
            if self._framing is None:
                if not self._owes_response and self._start_known_push(data):
                    return
            elif len(data) <= _PIECE_BYTES and not (self._sink and self._sink.is_full):
                data = self._read_body(data)
                if not data:
                    return
        self._buffer += data
        self.advance()

    def eof_received(self) -> bool:
        """Note that the client sends no more. It may still read the response.

        Over TLS it may not: asyncio does not support half-closed TLS connections.
        """
        self._at_eof = True
        if self._is_ending:
            self._transport.close()
        else:
            self.advance()
        return not self.is_tls

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of the interface
        self._state.connections.discard(self)
        self._is_ending = True
        self._buffer.clear()
        self._count_held()
        self.writable.set()
        sink, self._sink = self._sink, None
        if sink is not None:
            if self._framing is not None:
                sink.fail(BodyCutOff(UNEXPECTED_EOF))
            sink.hang_up()

    def pause_writing(self) -> None:
        """Stop writing while the client does not read, and limit how long that may last."""
        self.writable.clear()
        self._write_deadline = self._loop.time() + self._state.idle_seconds

    def resume_writing(self) -> None:
        self._write_deadline = _NEVER
        self.writable.set()
        self.advance()

    # --- Called by the server ---------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Close the connection if its client is too slow; *now* is the loop's time."""
        if now >= self._write_deadline:
            self._transport.abort()
        if now >= self._certificate_ends:  # it would not be accepted any more
            self.shut_down()
            if now >= self._certificate_ends + _MAX_EXPIRED_SECONDS:
                self._transport.abort()
        if now < self._deadline:
            return
        self._deadline = _NEVER  # what follows sets the next one, if there is one
        if self._is_ending:
            self._transport.abort()
        elif self._in_head:
            self._refuse_for("header-seconds")
        elif self._framing is not None and self._sink is not None:
            self._fail_body(
                LimitExceeded("the body took too long to arrive", "body-seconds", status=408)
            )
        elif not self._owes_response:
            self._transport.close()

    def shut_down(self) -> None:
        """Close the connection as soon as the request under way is answered."""
        self._keep_alive = False
        now = self._loop.time()
        if self._is_ending:
            self._deadline = min(self._deadline, now)
        elif self._owes_response:
            return
        elif self._state.is_stopping and (self._in_head or now < self._is_new_until):
            self._deadline = min(self._deadline, now + NEW_SECONDS)
        else:
            self._end()

    def abort(self) -> None:
        """Close the connection at once, without sending what is buffered."""
        self._transport.abort()

    # --- Requests ---------------------------------------------------------------------------

    def advance(self, seconds: float = _SHARE_SECONDS) -> None:
        """Process what has arrived for so many *seconds*, and the rest when it is its turn."""
        if self._is_advancing or self._is_scheduled:  # a response may come while it is parsed
            return
        self._is_advancing = True
        try:
            pause = time.perf_counter() + seconds  # the loop's clock counts milliseconds
            while self._step():
                if self._buffer and time.perf_counter() >= pause:
                    self._queue()
                    break
        finally:
            self._is_advancing = False
        self._regulate_reading()

    def _queue(self) -> None:
        self._is_scheduled = True
        queue_slice(self._go_on)

    def _go_on(self) -> None:
        self._is_scheduled, self._has_turn = False, True
        self.advance(SLICE_SECONDS)
        self._has_turn = False

    def _step(self) -> bool:
        """Read the next head, or the next piece of a body; return False if there is none yet."""
        if self._is_ending:
            return False
        if self._framing is not None:
            if self._sink is not None and self._sink.is_full:
                return False
            if self._buffer:
                data = bytes(self._buffer[:_PIECE_BYTES])
                del self._buffer[:_PIECE_BYTES]
                self._buffer[:0] = self._read_body(data)  # the next request
                return True
            if self._at_eof and self._sink is not None:
                self._fail_body(BodyCutOff(UNEXPECTED_EOF))
            elif self._at_eof:
                self._transport.close()
            return False
        if self._owes_response or not self.writable.is_set():
            return False
        if self._buffer:
            return self._read_head()
        if self._at_eof:
            self._transport.close()
        return False

    def _regulate_reading(self) -> None:
        """Stop receiving while much is buffered that cannot be processed yet."""
        self._count_held()
        if self._held_bytes and self._state.held_bytes > self._state.max_held_bytes:
            self._make_room()
        is_blocked = self._owes_response or self._framing is not None or not self.writable.is_set()
        pause = len(self._buffer) > _HIGH_WATER_BYTES and (is_blocked or self._is_scheduled)
        if pause != self._is_paused and not self._transport.is_closing():
            self._is_paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _start_known_push(self, data: bytes) -> bool:
        """Start the push in *data* if it is a complete one whose head was seen before."""
        head, end, body = data.partition(b"\r\n\r\n")
        state = self._state
        # Without its end, a head that is known may be the start of a longer one.
        request = state.pushes.known(head) if end else None
        # Since the head was remembered, clients may have come to need credentials.
        if request is None or len(body) != request.length or not state.is_open:
            return False
        self._deadline = _NEVER
        self._owes_response = True
        self.is_http_1_0 = self._awaits_continue = False
        self._keep_alive = request.keep_alive and not state.is_stopping
        push = state.pushes.start(request, self.client, self._write_response)
        if body:
            push.feed(body)
        push.finish()
        return True

    def _read_head(self) -> bool:
        """Read the head of a request; return False if it is not complete."""
        buffer = self._buffer
        if not self._in_head and buffer[0] in b"\r\n":  # RFC 9112, 2.2
            buffer[:] = buffer.lstrip(b"\r\n")
            if not buffer:
                return True  # it may be the end
        end = _end_of_head(buffer, self._searched)
        if (end.end() if end else len(buffer)) > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_LARGE)
            return False
        if end is None:
            self._await_head()
            return False
        if end.end() > _LARGE_HEAD_BYTES and not self._has_turn:
            self._deadline = _NEVER  # the client has sent all of it
            self._queue()  # to parse it takes milliseconds, and hundreds may come at once
            return False
        head = bytes(buffer[: end.start() + 1])
        del buffer[: end.end()]
        self._in_head = False
        self._searched = 0
        try:
            # Without its last line end, as a segment is split where a known head is looked up.
            self._start_request(parse_head(head), head.removesuffix(b"\r\n"))
        except MalformedRequest as error:
            self._refuse(error.response)
        except MemoryError as error:
            self._refuse(error_response(error))
        return True

    def _await_head(self) -> None:
        """Wait for the rest of a head, if it can still come and there is memory for it."""
        state = self._state
        if not self._in_head:
            self._in_head = True
            self._deadline = self._loop.time() + state.header_seconds
        length = len(self._buffer)
        self._searched = max(0, length - 2)  # LF CR of the end may be there already
        if self._at_eof or self._buffer[0] == _TLS_HANDSHAKE:
            # A client that wants TLS learns at once that this port speaks plain HTTP.
            self._refuse(BAD_REQUEST)

    def _count_held(self) -> None:
        """Count the bytes in the buffer, if there are many, instead of those so far."""
        length = len(self._buffer) if len(self._buffer) > _LARGE_HEAD_BYTES else 0
        self._state.held_bytes += length - self._held_bytes
        self._held_bytes = length

    def _make_room(self) -> None:
        """Drop what this client has sent too early: all of them have sent too much together.

        The connection ends with the response that it waits for, or with a refusal.
        """
        self._buffer.clear()
        if self._framing is not None:
            self._fail_body(
                LimitExceeded("too many bytes are being received", "held-bytes", status=503)
            )
        elif not self._owes_response:
            self._refuse_for("held-bytes")
        elif self._keep_alive:  # else nothing of what follows is a request
            self._keep_alive = False
            self._state.telemetry.rejected["held-bytes"] += 1
        self._count_held()

    def _start_request(self, request: RequestHead, head: bytes) -> None:
        state = self._state
        if request.length == 0:
            self._framing = None
        else:
            self._framing = Chunked() if request.length is None else Counted(request.length)
        self._deadline = self._loop.time() + state.body_seconds if self._framing else _NEVER
        self._owes_response = True
        self._keep_alive = request.keep_alive and not state.is_stopping
        self.is_http_1_0 = request.is_http_1_0
        self._awaits_continue = request.expects_continue
        self._discarded = 0
        if self._is_plain_push(request):
            push = push_request(
                request.method,
                request.path,
                request.query,
                request.headers,
                keep_alive=request.keep_alive,
            )
            self._sink = None
            sink = state.pushes.start(push, self.client, self._write_response)
            if self._owes_response:
                self._sink = sink
                self.write_continue()
                # A line that ends in LF alone would end elsewhere before CRLF CRLF.
                if request.length is not None and not (
                    request.is_http_1_0 or request.expects_continue or head.endswith(b"\n")
                ):
                    state.pushes.remember(head, push)
        else:
            exchange = Exchange(self, request)
            self._sink = exchange
            task = self._loop.create_task(exchange.run(state.app))
            state.exchanges.add(task)
            task.add_done_callback(state.exchanges.discard)
        if self._framing is None and self._sink is not None:
            self._sink.finish()

    def _is_plain_push(self, request: RequestHead) -> bool:
        """Return whether *request* is a push that need not go through the application.

        The application checks credentials, adds configured headers, and refuses requests that
        pages of other sites have made a browser send.
        """
        if request.method not in PUSH_METHODS or not self._state.is_open:
            return False
        if not self._state.is_push(request.path):
            return False
        return _FROM_BROWSERS.isdisjoint(dict(request.headers))

    def _read_body(self, data: bytes) -> bytes:
        """Pass on the content in *data*, and return the bytes that follow the body, if any."""
        assert self._framing is not None
        try:
            content, rest = self._framing.cut(data)
            if self._sink is None:  # it was refused
                self._discarded += len(content)
                if self._discarded > _MAX_DISCARDED_BYTES:
                    self._end()
            elif content:
                self._sink.feed(content)
        except MalformedBody as error:
            self._fail_body(BodyCutOff(str(error)))
            return b""
        except MemoryError as error:
            self._refuse(error_response(error))
            return b""
        if rest is None:
            return b""
        # Before the sink: it may answer at once, and what is done then depends on these.
        self._framing = None
        self._deadline = _NEVER if self._owes_response else self._idle_deadline()
        if self._sink is not None:
            self._sink.finish()
        return rest

    def _fail_body(self, error: PushgateError) -> None:
        """Give up the body that is arriving, and with it the connection.

        Without its end, the start of the next request cannot be found.
        """
        self._keep_alive = False
        if self._sink is not None:
            self._sink.fail(error)
        else:
            self._end()

    # --- Answers ----------------------------------------------------------------------------

    def write_continue(self) -> None:
        """Send ``100 Continue`` if the client waits for it before it sends the body."""
        if self._awaits_continue:
            self._awaits_continue = False
            self.write(_CONTINUE)

    def write(self, *pieces: bytes) -> None:
        """Write *pieces*, unless the client is gone."""
        if not self._transport.is_closing():
            self._transport.writelines(pieces)

    def encoded_head(self, status: int, headers: Headers, *, ends_by_closing: bool) -> bytes:
        """Return the head of the response, and decide whether the connection goes on."""
        if ends_by_closing or (b"connection", b"close") in headers:
            self._keep_alive = False
        return encoded_head(
            status,
            (*self._state.date, *headers),
            keep_alive=self._decide_keep_alive(),
            is_http_1_0=self.is_http_1_0,
        )

    def _decide_keep_alive(self) -> bool:
        # If the client was not told to send its body, it alone knows whether it will.
        is_long = self._framing is not None and self._framing.remaining > _MAX_DISCARDED_BYTES
        if self._awaits_continue or is_long:
            self._keep_alive = False
        return self._keep_alive

    def _write_response(self, response: Response) -> None:
        """Answer a push that did not go through the application."""
        if not self._transport.is_closing():
            keep_alive = self._decide_keep_alive()
            date, is_http_1_0 = self._state.date, self.is_http_1_0
            self._transport.write(
                response.wire(date, keep_alive=keep_alive, is_http_1_0=is_http_1_0)
            )
        self.answered()

    def answered(self) -> None:
        """Go on after a response: to the next request, or close."""
        self._owes_response = False
        self._sink = None
        if self._is_ending:
            return
        if not self._keep_alive:
            self._end()
            return
        self._deadline = self._idle_deadline()
        if self._buffer or self._at_eof:
            self.advance()

    def _idle_deadline(self) -> float:
        return self._loop.time() + self._state.idle_seconds

    def _refuse_for(self, reason: str, *, lingers: bool = True) -> None:
        self._refuse(self._state.refuse(reason), lingers=lingers)

    def _refuse(self, response: Response, *, lingers: bool = True) -> None:
        """Send *response* to a request that was not started, and end the connection."""
        self.write(response.wire(self._state.date, keep_alive=False))
        self._end(lingers=lingers)

    def _end(self, *, lingers: bool = False) -> None:
        """Accept no more requests. Close once the client has sent what it is sending."""
        self._is_ending = True
        self._buffer.clear()
        self._count_held()
        # TLS has no half-closed connections here: its clients would wait for the end, and send
        # nothing, all the time that we linger.
        lingers = self._framing is not None or (lingers and not self.is_tls)
        if self._at_eof or not lingers:
            self._transport.close()
            return
        # The client reads the end of the response at once; what it sends meanwhile is dropped.
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
        self._discarded = 0
        seconds = min(_MAX_LINGER_SECONDS, self._state.idle_seconds)
        self._deadline = self._loop.time() + seconds
        self._regulate_reading()


class Exchange:
    """One ASGI cycle: a request and its response."""

    def __init__(self, protocol: HttpProtocol, request: RequestHead) -> None:
        self._protocol = protocol
        self._sends_body = request.method != "HEAD"
        self._body = bytearray()
        self._more_body = True
        self._is_received = False  # the whole body, by the application
        self._error: PushgateError | None = None
        self._is_gone = False
        self._is_complete = False
        self._arrived = asyncio.Event()
        # Held back until the first piece of the body: if making that fails, it is a 500 instead.
        self._start: Message | None = None
        self._is_started = False
        self._is_chunked = False
        path = request.path.decode()
        self._scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.0" if request.is_http_1_0 else "1.1",
            "server": protocol.server,
            "client": protocol.client,
            "scheme": "https" if protocol.is_tls else "http",
            "root_path": "",
            "method": request.method,
            # ASGI's path is decoded. Groups are matched by raw_path: a value may contain %2F.
            "path": unquote(path) if "%" in path else path,
            "raw_path": request.path,
            "query_string": request.query,
            "headers": request.headers,
            "state": {"peer_certificate": protocol.peer_certificate},
        }

    # --- As a sink for the body -------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether the application should read first."""
        return len(self._body) > _HIGH_WATER_BYTES

    def feed(self, piece: bytes) -> None:
        """Keep *piece* for the application."""
        self._body += piece
        self._arrived.set()

    def finish(self) -> None:
        """Note that the body is complete."""
        self._more_body = False
        self._arrived.set()

    def fail(self, error: PushgateError) -> None:
        """Note that the rest of the body will not come."""
        self._error = error
        self._arrived.set()

    def hang_up(self) -> None:
        """Note that the client is gone."""
        self._is_gone = True
        self._arrived.set()

    # --- The application --------------------------------------------------------------------

    async def run(self, app: ASGIApp) -> None:
        """Let *app* answer. If it does not to the end, no one may take a part for the whole."""
        try:
            await app(self._scope, self._receive, self._send)
        finally:
            # It failed after it had begun, or was cancelled: by a stop, or as a slow reader.
            if not (self._is_complete or self._is_gone):
                self._protocol.abort()

    async def _receive(self) -> Message:
        self._protocol.write_continue()
        # Behind the body, the next message says that the client is gone, and is waited for (ASGI).
        while not (self._body or self._error or self._is_gone or self._is_complete):
            if not self._more_body and not self._is_received:
                break
            self._arrived.clear()
            await self._arrived.wait()
        if self._body or not (self._error or self._is_gone or self._is_complete):
            body = bytes(self._body)
            self._body.clear()
            self._protocol.advance()
            self._is_received = not self._more_body
            return {"type": "http.request", "body": body, "more_body": self._more_body}
        return {"type": "http.disconnect", "error": self._error}

    async def _send(self, message: Message) -> None:
        is_start = message["type"] == "http.response.start"
        if self._is_complete or (is_start and self._is_started):
            raise RuntimeError(f"{message['type']} after the response has begun")
        if is_start:
            self._start = message
            return
        protocol = self._protocol
        await protocol.writable.wait()
        body: bytes = message.get("body", b"")
        is_last = not message.get("more_body", False)
        pieces = [] if self._is_started else [self._head()]
        # The response to HEAD has the headers of that to GET and no body (RFC 9110, 9.3.2).
        if body and self._sends_body:
            pieces += [b"%x\r\n" % len(body), body, b"\r\n"] if self._is_chunked else [body]
        if is_last and self._is_chunked and self._sends_body:
            pieces.append(b"0\r\n\r\n")
        if pieces:
            protocol.write(*pieces)
        if is_last:
            self._is_complete = True
            self._arrived.set()
            if not self._is_gone:
                protocol.answered()

    def _head(self) -> bytes:
        """Return the head of the response, in which a body of unknown length is chunked."""
        start = self._start
        assert start is not None
        self._is_started = True
        status, headers = start["status"], tuple(start["headers"])
        has_end = any(name.lower() == b"content-length" for name, _ in headers)
        if status in WITHOUT_BODY:
            # The client takes whatever follows for the next response, even the end of no chunks.
            self._sends_body, has_end = False, True
        self._is_chunked = not has_end and not self._protocol.is_http_1_0
        if self._is_chunked:
            headers = (*headers, (b"transfer-encoding", b"chunked"))
        # HTTP/1.0 has no chunks: there, such a body ends with the connection (RFC 9112, 6.3).
        ends = not has_end and not self._is_chunked
        return self._protocol.encoded_head(status, headers, ends_by_closing=ends)
