"""One HTTP connection: uvicorn's protocol, with limits, and a shorter way for small pushes.

A small push needs no task, no ASGI messages and no router: when its last byte is here,
and nobody has to be asked who is pushing, the connection hands it to the desk, and
writes the answer when the gateway settles it. Everything else takes uvicorn's way.
"""

import logging
import re
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote_from_bytes

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pushgate.errors import PushgateError
from pushgate.server.access.tls import valid_until
from pushgate.server.change import Change
from pushgate.server.http.answers import BAD_REQUEST, Answer, answer_to, plain_error
from pushgate.server.http.app import App
from pushgate.server.http.desk import PushHead, push_head

_log = logging.getLogger(__name__)

# The reference: 1 MiB, and what its reader has at hand besides.
_MOST_HEAD_BYTES = (1 << 20) + (4 << 10)
# Not a limit there: a head may consist of its target. Paths are read on the event loop, and
# the longest label value has 64 KiB.
_MAX_TARGET_BYTES = 128 << 10
# Not a limit there either. A header of four bytes takes two hundred once it is parsed.
_MOST_HEADERS = 1000
_LARGE_HEAD = 8 << 10
# Requests that come together, before any of them is answered; each takes some kilobytes.
_MOST_TOGETHER = 64
_SMALL_BODY = 64 << 10
_PUSH_METHODS: Final = frozenset({b"PUT", b"POST", b"DELETE"})
_NO_HOST = Answer(400, b"400 Bad Request: missing required Host header", BAD_REQUEST.headers)
_BAD_HOST = Answer(400, b"400 Bad Request: malformed Host header", BAD_REQUEST.headers)
_BAD_VERSION = Answer(
    505, b"505 HTTP Version Not Supported: unsupported protocol version", BAD_REQUEST.headers
)
_BAD_CODING = Answer(501, b"Unsupported transfer encoding", BAD_REQUEST.headers)
_BAD_CHUNK = plain_error(400, "invalid byte in chunk length")
_HEAD_TOO_LARGE = Answer(431, b"431 Request Header Fields Too Large", BAD_REQUEST.headers)
_TARGET_TOO_LONG = plain_error(414, f"the path has more than {_MAX_TARGET_BYTES} bytes")
_RETRY = ((b"retry-after", b"5"),)
_REFUSALS: Final = {
    "header-seconds": plain_error(408, "the headers took too long (--limit.header-seconds)"),
    "body-seconds": plain_error(408, "the body took too long (--limit.body-seconds)"),
    "connections": plain_error(503, "too many connections (--limit.connections)", _RETRY),
    "held-bytes": plain_error(503, "too many bytes of heads (--limit.held-bytes)", _RETRY),
}
_NEVER = float("inf")
# How long a request that is under way may outlive the certificate of its client.
_EXPIRED_SECONDS = 10
_is_host = re.compile(rb"[!$%&'()*+,\-.0-9:;=A-Z\[\]_a-z~]*").fullmatch
# An upgrade to HTTP/2 that a client offers is declined by not hearing it (RFC 9110, 7.8).
_upgrade = re.compile(rb"(?i)\r\nupgrade(?=[ \t]*:)")


class _Deaf(Exception):
    """Nothing more is taken from this connection."""


class _Small:
    """A push that takes the short way. It stands where uvicorn keeps its own cycle."""

    __slots__ = ("body", "disconnected", "head", "more_body", "response_complete", "started")

    def __init__(self, head: PushHead, body: bytes = b"") -> None:
        self.head = head
        self.body = body
        self.started = time.perf_counter()
        self.more_body = True
        self.disconnected = False
        self.response_complete = False

    @property
    def message_event(self) -> "_Small":
        """What uvicorn sets when something arrived; nobody waits for it."""
        return self

    def set(self) -> None:
        """Do nothing."""

    @property
    def keep_alive(self) -> bool:
        """Whether the client may send another request."""
        return self.head.keep_alive

    @keep_alive.setter
    def keep_alive(self, value: bool) -> None:
        self.head = self.head._replace(keep_alive=value)


class Connection(HttpToolsProtocol):
    """A connection of the server. ``config.loaded_app`` is the :class:`App` it serves."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        app = self.config.loaded_app
        assert isinstance(app, App)
        self._served: App = app
        settings = app.site.settings
        self._head_seconds = settings.limit_header_seconds or _NEVER
        self._body_seconds = settings.limit_body_seconds or _NEVER
        self._idle_seconds = settings.limit_idle_seconds or _NEVER
        self._most_connections = settings.limit_connections or _NEVER
        self._most_held = settings.limit_held_bytes or _NEVER
        self._head_bytes = self._together = 0
        self._in_head = self._in_message = self._is_deaf = False
        self._first = b""
        self._deadline = self._read_until = _NEVER
        self._peer: Any = None
        self._valid_until = _NEVER

    def connection_made(self, transport: Any) -> None:
        """Greet a client, or send it away if there are too many."""
        super().connection_made(transport)
        self._peer = transport.get_extra_info("peercert")
        self._valid_until = valid_until(self._peer)
        self._deadline = self.loop.time() + self._head_seconds
        if len(self.connections) > self._most_connections:
            self._refuse_for("connections")

    def expire(self, now: float) -> None:
        """Close the connection if its client is too slow; *now* is the loop's time."""
        if now >= self._read_until:
            self.transport.abort()
        ended = time.time() - self._valid_until
        if (self._is_idle and ended >= 0) or ended >= _EXPIRED_SECONDS:
            self.transport.close()  # its certificate would not be accepted any more
        if now < self._deadline or self.transport.is_closing():
            return
        if self._is_idle and not self._in_head:
            self.transport.close()  # no request, or the rest of one that was answered
        else:
            self._refuse_for("header-seconds" if self._in_head else "body-seconds")

    def pause_writing(self) -> None:
        """Wait for a client that does not read what it asked for, but not for ever."""
        super().pause_writing()
        self._read_until = self.loop.time() + self._idle_seconds

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        super().resume_writing()
        self._read_until = _NEVER

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self.transport.is_closing() or self._is_deaf:
            return
        self._together = 0
        if not self._in_message:
            if self._is_idle and self._is_known_push(data):
                return
            self._first = data
            self._head_bytes = 0
            data = _escaped_target(data)
        if self._in_head or not self._in_message:
            self._head_bytes += len(data)
            if b"pgrade" in data:
                data = _declined(data)
        self._parse(data)
        if self._in_head and self._head_bytes > _LARGE_HEAD:
            self._check_head()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # declined
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, MemoryError):
                self._refuse(answer_to(error.__context__))
            elif not self._is_deaf:
                in_body = self._in_message and not self._in_head
                self._refuse(_BAD_CHUNK if in_body else BAD_REQUEST)

    def _check_head(self) -> None:
        if self._head_bytes > _MOST_HEAD_BYTES or len(self.headers) > _MOST_HEADERS:
            self._refuse(_HEAD_TOO_LARGE)
            return
        connections: Any = self.connections
        if sum(connection._head_bytes for connection in connections) > self._most_held:  # noqa: SLF001 - of our own kind
            self._refuse_for("held-bytes")

    def _is_known_push(self, data: bytes) -> bool:
        """Take *data* if it is a whole push with a head that was seen before."""
        desk = self._served.site.desk
        head, _, body = data.partition(b"\r\n\r\n")
        known = desk.heads.get(head)
        if known is None or len(body) != known.length or not self._is_open:
            return False
        small = _Small(known, body)
        self._deadline = _NEVER
        self.cycle = small  # type: ignore[assignment]  # it has what uvicorn asks of a cycle
        self._push(small)
        return True

    @property
    def _is_open(self) -> bool:
        """Whether everybody may push, and answers have no headers but their own."""
        access = self._served.site.live.access
        return access.open and not access.headers

    @property
    def _is_idle(self) -> bool:
        """Whether the last request was answered, or none has come yet."""
        cycle: Any = self.cycle  # None at first, whatever uvicorn says
        return cycle is None or bool(cycle.response_complete)

    def on_message_begin(self) -> None:
        """Start a request: its ASGI scope is only made if it is needed."""
        self._listen()
        self._in_message = self._in_head = True
        self._deadline = self.loop.time() + self._head_seconds
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """Decide which way the request takes."""
        self._in_head = False
        if len(self.headers) > _MOST_HEADERS:
            self._refuse(_HEAD_TOO_LARGE)
            return
        if len(self.url) > _MAX_TARGET_BYTES:
            self._refuse(_TARGET_TOO_LONG)
            return
        self._together += 1
        self._deadline = self.loop.time() + self._body_seconds
        fields = dict(self.headers)
        hosts = [value for name, value in self.headers if name == b"host"]
        coding = fields.get(b"transfer-encoding", b"chunked")
        if fault := _fault(self.parser.get_http_version(), hosts, coding):
            self._refuse(fault)
            return
        method = self.parser.get_method()
        if self._is_small_push(method, fields):
            keep_alive = self._keeps_alive and not self._is_last
            head = push_head(method.decode(), self.url, self.headers, keep_alive=keep_alive)
            self.cycle = _Small(head)  # type: ignore[assignment]  # as above
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers if url.startswith(b"/") else _addressed(url, headers)
        self.scope["state"]["peer_certificate"] = self._peer
        try:
            super().on_headers_complete()
            # Whether a body follows a refusal, nobody can tell.
            if expects or self._is_last:
                self.cycle.keep_alive = False
        except httptools.HttpParserInvalidURLError:
            self._refuse(BAD_REQUEST)

    @property
    def _is_last(self) -> bool:
        """Whether so many requests came together that the connection ends with this one."""
        return self._together >= _MOST_TOGETHER

    def _listen(self) -> None:
        """Stop the parser if what follows is of no interest."""
        if self._is_deaf:
            raise _Deaf

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._listen()
        super().on_body(body)

    @property
    def _keeps_alive(self) -> bool:
        return self.parser.get_http_version() != "1.0" and bool(self.parser.should_keep_alive())

    def _is_small_push(self, method: bytes, fields: dict[bytes, bytes]) -> bool:
        """Return whether this is a push by anybody, of which only a small body is missing."""
        if method not in _PUSH_METHODS or not self._is_idle or self.expect_100_continue:
            return False
        length = fields.get(b"content-length", b"0")
        if len(length) > 5 or int(length) > _SMALL_BODY or b"transfer-encoding" in fields:
            return False
        if len(fields) != len(self.headers) or b"content-encoding" in fields:
            return False
        if b"origin" in fields or b"sec-fetch-site" in fields:
            return False  # a browser, perhaps with a page of another site
        if not self._is_open:
            return False
        path = self.url.partition(b"?")[0]
        return self._served.site.desk.knows(path) or self._served.is_push(path) is not None

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._listen()
        self._in_message = False
        self._is_deaf = self._is_last
        self._deadline = self.loop.time() + self._idle_seconds if self._is_idle else _NEVER
        cycle: Any = self.cycle
        first, self._first = self._first, b""
        if not isinstance(cycle, _Small):
            super().on_message_complete()
        elif not cycle.response_complete:
            head, _, body = first.partition(b"\r\n\r\n")
            if head and len(body) == cycle.head.length:
                self._served.site.desk.remember(head, cycle.head)
            self._push(cycle)

    def _push(self, small: _Small) -> None:
        try:
            change = self._change(small)
        except PushgateError as error:
            self._settled(small, error)
            return
        except Exception as error:  # noqa: BLE001 - logged with its trace; the process lives
            _log.exception("request failed", extra={"path": repr(small.head.path)})
            self._write(small, answer_to(error))
            return
        self._served.site.gateway.submit(change, partial(self._settled, small))

    def _change(self, small: _Small) -> Change:
        desk, head = self._served.site.desk, small.head
        if head.method == "DELETE":
            return desk.delete(head)
        key = desk.admit(head)
        return desk.change(head, key, desk.read(head, bytes(small.body)))

    def _settled(self, small: _Small, error: PushgateError | None) -> None:
        desk = self._served.site.desk
        answer = desk.answer(small.head.method, error, self.client)
        self._write(small, answer)
        desk.count(small.head, answer, len(small.body), small.started)

    def _write(self, small: _Small, answer: Answer) -> None:
        small.response_complete = True
        if not small.disconnected and not self.transport.is_closing():
            self.transport.write(self._wire(answer, keep_alive=small.keep_alive))
            if not small.keep_alive:
                self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """Take the next request that waits, or wait for one.

        Deadlines are looked at once a second; a timer for each request would cost more
        than the rest of the request.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self._in_message:  # else the rest of the body still has its own deadline
            self._deadline = self.loop.time() + self._idle_seconds
        self._head_bytes = 0
        if self.pipeline:
            self._deadline = _NEVER
            self._start_asgi_task(*self.pipeline.pop())
        if not self.pipeline:
            self.flow.resume_reading()

    def _refuse_for(self, limit: str) -> None:
        self._served.site.telemetry.count_rejected(limit)
        self._refuse(_REFUSALS[limit])

    def _refuse(self, answer: Answer) -> None:
        """Send *answer* and close the connection, whatever is under way."""
        self._is_deaf = True
        self._deadline = _NEVER
        if not self.transport.is_closing():
            self.transport.write(self._wire(answer, keep_alive=False))
            self.transport.close()

    def _wire(self, answer: Answer, *, keep_alive: bool) -> bytes:
        return answer.wire(tuple(self.server_state.default_headers), keep_alive=keep_alive)


def _fault(version: str, hosts: Sequence[bytes], coding: bytes) -> Answer | None:
    """Return the answer to a head with these, if it may not have them."""
    if version not in ("1.0", "1.1"):
        return _BAD_VERSION
    if coding.lower() != b"chunked":
        return _BAD_CODING
    if not hosts:
        return _NO_HOST if version == "1.1" else None
    if len(hosts) > 1:
        return BAD_REQUEST
    return None if _is_host(hosts[0]) else _BAD_HOST


def _addressed(url: bytes, headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return *headers* with the host of an absolute *url* as ``Host`` (RFC 9112, 3.2.2)."""
    try:
        parts = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return list(headers)  # it is refused for that soon
    if not parts.host:
        return list(headers)
    host = b"[%b]" % parts.host if b":" in parts.host else parts.host
    if parts.port is not None:
        host = b"%b:%d" % (host, parts.port)
    return [(b"host", host), *(header for header in headers if header[0] != b"host")]


def _declined(data: bytes) -> bytes:
    """Return *data* without upgrades in its head. The length stays, so that a body does."""
    head, end, body = data.partition(b"\r\n\r\n")
    return _upgrade.sub(b"\r\nx-upgrd", head) + end + body


def _escaped_target(data: bytes) -> bytes:
    """Return *data* with the request target percent-encoded where the parser is too strict.

    The reference takes raw bytes above 0x7F and ``#`` in a path literally.
    """
    line, end, rest = data.partition(b"\r\n")
    if line.isascii() and b"#" not in line:
        return data
    safe = "".join(map(chr, range(0x21, 0x7F))).replace("#", "")
    return quote_from_bytes(line, safe + " ").encode() + end + rest


def expire(connections: Iterable[Any], now: float) -> None:
    """Close those of *connections* whose clients are too slow."""
    for connection in tuple(connections):
        if isinstance(connection, Connection):
            connection.expire(now)
