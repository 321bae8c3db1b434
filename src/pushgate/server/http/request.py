"""HTTP/1.x requests as bytes: the head, and where the body ends.

Nothing here does I/O. A head is parsed when all of it has arrived, and a body is cut out of
the stream by its framing alone, so what a request means cannot depend on how its bytes were
split into segments. What is refused, and in which words, follows Go's ``net/http``; it is
stricter where two programs could read the same bytes as different requests (RFC 9112, 11.2).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote_from_bytes

from pushgate.server.http.responses import TEXT, Headers, Response, plain_error

MAX_HEAD_BYTES: Final = (1 << 20) + (4 << 10)
"""The limit of Go's server: 1 MiB, plus its 4 KiB read buffer."""
# Go has no such limits: a head may consist of its target. Paths are read on the event loop,
# and the longest label value has 64 KiB.
_MAX_TARGET_BYTES = 128 << 10
# A header of four bytes takes two hundred once it is parsed.
_MAX_HEADERS = 1000
_MAX_CHUNK_LINE_BYTES = 4096
_MAX_TRAILER_BYTES = 16 << 10
# Of chunks, as in Go: what is not content may be 16 bytes a chunk, twice the content, and this.
_MAX_OVERHEAD_BYTES = 16 << 10
_MAX_LENGTH_DIGITS = 18  # Content-Length is read into a signed 64-bit integer

# The headers that decide how a request is read.
_DECISIVE = frozenset({b"connection", b"content-length", b"expect", b"host", b"transfer-encoding"})

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# Exactly one blank each: programs that skip more disagree about what the target is.
_request_line = re.compile(rb"(%b) ([^\x00-\x20\x7f]+) HTTP/(\d)\.(\d)" % _TOKEN).fullmatch
# A line may end in LF alone (RFC 9112, 2.2). A blank before the colon, or at the start of a line to
# continue the one before, is refused (5.1, 5.2). Possessive, so that nothing is tried twice.
_header_lines = re.compile(rb"(?:%b:[^\x00-\x08\x0a-\x1f\x7f]*+\r?\n)*+" % _TOKEN).fullmatch
_absolute_target = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*://([^/?]*)([^?]*)(?:\?(.*))?").fullmatch
# Pages repeat the host in every example. A name has at most 253 bytes.
_MAX_HOST_BYTES = 300
# As lenient as Go: Host is shown in links, and compared with Origin, but routes nothing.
_host_name = re.compile(rb"[!$%&'()*+,\-.0-9:;=A-Z\[\]_a-z~]*").fullmatch
# The host of a URL: no percent escapes, brackets around IPv6 only, and a port of digits.
_is_authority = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|[!$&'()*+,\-.0-9;=A-Z_a-z~]*)(?::[0-9]*)?"
).fullmatch
_has_close = re.compile(rb"(?:^|,)[ \t]*+close[ \t]*+(?:,|$)").search
_has_keep_alive = re.compile(rb"(?:^|,)[ \t]*+keep-alive[ \t]*+(?:,|$)").search
_has_continue = re.compile(rb"(?:^|[ \t,])100-continue(?:$|[ \t,])").search
_chunk_start = re.compile(rb"([0-9a-fA-F]{1,16})\r\n").match
_is_hexadecimal = re.compile(rb"[0-9a-fA-F]+").fullmatch
_bad_escape = re.compile(rb"%(?![0-9a-fA-F]{2})").search
# Raw bytes above 0x7F and "#" are part of a path in Go; URLs have them escaped.
_TARGET_SAFE = "".join(map(chr, range(0x21, 0x7F))).replace("#", "")


def _refusal(status: int, text: bytes) -> Response:
    """Return what Go answers before any handler runs: no line feed, and the connection ends."""
    return Response(status, text, (TEXT, (b"connection", b"close")))


BAD_REQUEST: Final = _refusal(400, b"400 Bad Request")
HEAD_TOO_LARGE: Final = _refusal(431, b"431 Request Header Fields Too Large")
_TARGET_TOO_LONG = plain_error(414, f"the path has more than {_MAX_TARGET_BYTES} bytes")
_NO_HOST = _refusal(400, b"400 Bad Request: missing required Host header")
_BAD_HOST = _refusal(400, b"400 Bad Request: malformed Host header")
_BAD_CODING = _refusal(501, b"Unsupported transfer encoding")
_BAD_EXPECTATION = Response(417, b"", ((b"connection", b"close"),))
_BAD_VERSION = _refusal(505, b"505 HTTP Version Not Supported: unsupported protocol version")


class MalformedRequest(Exception):
    """The head of a request cannot be served; *response* says why, and ends the connection."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class MalformedBody(Exception):
    """A chunked body breaks its framing; the message is Go's."""


Client = tuple[str, int] | None
"""The IP address and port of a client; None over a Unix socket."""


def address_of(client: Client) -> str:
    """Return the IP address of *client*; empty if it has none."""
    return client[0] if client else ""


def find_header(headers: Headers, name: bytes) -> bytes:
    """Return the first header called *name*, empty if there is none."""
    return next((value for header, value in headers if header == name), b"")


def is_host(value: bytes) -> bool:
    """Return whether *value* may be the host that a request is for, which pages repeat."""
    return len(value) <= _MAX_HOST_BYTES and _host_name(value) is not None


class RequestHead(NamedTuple):
    """The head of a request.

    ``path`` is percent-encoded as sent, and in ASCII. Names of ``headers`` are in lower case, and
    ``host`` is that of an absolute target. ``length`` is that of the body, None if it is chunked.
    With ``expects_continue``, the client waits for ``100 Continue`` to send it.
    """

    method: str
    path: bytes
    query: bytes
    is_http_1_0: bool
    headers: Headers
    length: int | None
    keep_alive: bool
    expects_continue: bool


def parse_head(head: bytes) -> RequestHead:
    """Return what *head* says: request line and headers, without the empty line behind them.

    Raises:
        MalformedRequest: it is not a request that this server can serve.
    """
    line, _, block = head.partition(b"\n")
    found = _request_line(line.removesuffix(b"\r"))
    if found is None or not _header_lines(block):
        raise MalformedRequest(BAD_REQUEST)
    if block.count(b"\n") > _MAX_HEADERS:
        raise MalformedRequest(HEAD_TOO_LARGE)
    method, raw_target, major, minor = found.groups()
    if major != b"1":
        # The start of HTTP/2, "PRI * HTTP/2.0", is a bad request to Go as well.
        raise MalformedRequest(BAD_REQUEST if method == b"PRI" else _BAD_VERSION)
    is_http_1_0 = minor == b"0"
    rows = [row.partition(b":") for row in block.split(b"\n")]
    headers = [(name.lower(), value.strip(b" \t\r")) for name, colon, value in rows if colon]
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in _DECISIVE:
            values.setdefault(name, []).append(value)
    length = _body_length(values, is_http_1_0=is_http_1_0)
    _check_host(values.get(b"host", []), is_http_1_0=is_http_1_0)
    path, query, authority = _split_target(raw_target)
    if authority:  # it replaces the header (RFC 9112, 3.2.2)
        headers = [(b"host", authority), *(field for field in headers if field[0] != b"host")]
    return RequestHead(
        method.decode(),
        path,
        query,
        is_http_1_0,
        headers,
        length,
        _keeps_alive(values, is_http_1_0=is_http_1_0),
        _expects_continue(values, length, is_http_1_0=is_http_1_0),
    )


def _body_length(values: Mapping[bytes, Sequence[bytes]], *, is_http_1_0: bool) -> int | None:
    """Return the length of the body that the headers *values* announce; None if it is chunked."""
    codings, lengths = values.get(b"transfer-encoding"), values.get(b"content-length")
    if codings:
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            raise MalformedRequest(_BAD_CODING)
        # Both are how requests are smuggled (RFC 9112, 6.1); HTTP/1.0 has no chunks.
        if lengths or is_http_1_0:
            raise MalformedRequest(BAD_REQUEST)
        return None
    if lengths is None:
        return 0
    # Several equal lengths may count as one (RFC 9112, 6.3), but not every proxy sees it so.
    digits = lengths[0].lstrip(b"0")
    if len(lengths) > 1 or not lengths[0].isdigit() or len(digits) > _MAX_LENGTH_DIGITS:
        raise MalformedRequest(BAD_REQUEST)
    return int(digits or b"0")


def _check_host(hosts: Sequence[bytes], *, is_http_1_0: bool) -> None:
    if not hosts and not is_http_1_0:
        raise MalformedRequest(_NO_HOST)
    if len(hosts) > 1:
        raise MalformedRequest(BAD_REQUEST)
    if hosts and not is_host(hosts[0]):
        raise MalformedRequest(_BAD_HOST)


def _split_target(raw: bytes) -> tuple[bytes, bytes, bytes]:
    """Return path, query and authority (if it has one) of the request target *raw*."""
    target = raw
    if len(raw) <= _MAX_TARGET_BYTES and (not raw.isascii() or b"#" in raw):
        target = quote_from_bytes(raw, _TARGET_SAFE).encode()
    if len(target) > _MAX_TARGET_BYTES:
        raise MalformedRequest(_TARGET_TOO_LONG)
    authority = b""
    if target.startswith(b"/") or target == b"*":
        path, _, query = target.partition(b"?")
    elif absolute := _absolute_target(target):
        authority, path, query = absolute[1].rpartition(b"@")[2], absolute[2], absolute[3] or b""
        if len(authority) > _MAX_HOST_BYTES or not _is_authority(authority):
            raise MalformedRequest(BAD_REQUEST)
        path = path or b"/"
    else:
        raise MalformedRequest(BAD_REQUEST)
    if _bad_escape(path):
        raise MalformedRequest(BAD_REQUEST)
    return path, query, authority


def _keeps_alive(values: Mapping[bytes, Sequence[bytes]], *, is_http_1_0: bool) -> bool:
    options = [value.lower() for value in values.get(b"connection", ())]
    if any(b"close" in option and _has_close(option) for option in options):
        return False
    return not is_http_1_0 or any(map(_has_keep_alive, options))


def _expects_continue(
    values: Mapping[bytes, Sequence[bytes]], length: int | None, *, is_http_1_0: bool
) -> bool:
    expectation = values.get(b"expect", [b""])[0]
    if not expectation:
        return False
    if not _has_continue(expectation.lower()):
        raise MalformedRequest(_BAD_EXPECTATION)
    return length != 0 and not is_http_1_0


class Counted:
    """A body whose length the head says.

    Attributes:
        remaining: how many bytes of content are known to be missing; at least 1 if that is
            unknown.
    """

    __slots__ = ("remaining",)

    def __init__(self, length: int) -> None:
        self.remaining = length

    def cut(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Return the content in *data*, and what follows the body: None if it goes on."""
        if len(data) < self.remaining:
            self.remaining -= len(data)
            return data, None
        content, rest = data[: self.remaining], data[self.remaining :]
        self.remaining = 0
        return content, rest


class Chunked:
    """A body in chunks (RFC 9112, 7.1), read as strictly as Go does. Trailers are dropped.

    Used like :class:`Counted`, but it may raise :exc:`MalformedBody`.
    """

    __slots__ = ("_in_trailer", "_left", "_line", "_overhead", "_trailer_bytes", "remaining")

    def __init__(self) -> None:
        self.remaining = 1
        self._left = 0  # bytes of the current chunk, with the CRLF behind it
        self._line = b""  # the start of a line whose end has not arrived
        self._in_trailer = False
        self._overhead = 0
        self._trailer_bytes = 0

    def cut(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Return the content in *data*, and what follows the body: None if it goes on."""
        content: list[bytes] = []
        at = 0
        while at < len(data):
            if self._left:
                at = self._read_content(data, at, content)
            # Nearly every chunk begins with a line that is complete and has no extensions.
            elif not (self._line or self._in_trailer) and (start := _chunk_start(data, at)):
                self._begin_chunk(int(start[1], 16), start.end() - at)
                at = start.end()
            else:
                line, at = self._read_line(data, at)
                if not line:
                    break
                if not self._in_trailer:
                    self._begin_chunk(_chunk_size(line), len(line))
                elif self._ends_trailer(line):
                    self.remaining = 0
                    return b"".join(content), data[at:]
        return b"".join(content), None

    def _begin_chunk(self, size: int, line_bytes: int) -> None:
        # Otherwise a few bytes of content could bring any number of bytes with them.
        self._overhead = max(0, self._overhead + line_bytes + 2 - (16 + 2 * size))
        if self._overhead > _MAX_OVERHEAD_BYTES:
            raise MalformedBody("chunked encoding contains too much non-data")
        if size:
            self._left = size + 2
        else:
            self._in_trailer = True

    def _read_content(self, data: bytes, at: int, content: list[bytes]) -> int:
        """Read what *data* has at *at* of a chunk and its line end; return where that ends."""
        if self._left > 2:
            piece = data[at : at + self._left - 2]
            content.append(piece)
            self._left -= len(piece)
            at += len(piece)
        if self._left <= 2:
            missing = b"\r\n"[-self._left :]  # both bytes, or LF if CR ended the last segment
            found = data[at : at + self._left]
            if not missing.startswith(found):
                raise MalformedBody("malformed chunked encoding")
            self._left -= len(found)
            at += len(found)
        return at

    def _read_line(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Return the line at *at*, empty until it is complete, and where it ends in *data*."""
        stop = data.find(b"\n", at) + 1
        line = self._line + data[at : stop or len(data)]
        if len(line) > _MAX_CHUNK_LINE_BYTES:
            raise MalformedBody("header line too long")
        self._line = b"" if stop else line
        return (line, stop) if stop else (b"", len(data))

    def _ends_trailer(self, line: bytes) -> bool:
        self._trailer_bytes += len(line)
        if line == b"\r\n":
            return True
        if self._trailer_bytes > _MAX_TRAILER_BYTES:
            raise MalformedBody("http: suspiciously long trailer after chunked body")
        if not line.endswith(b"\r\n") or not _header_lines(line):
            raise MalformedBody("malformed MIME header line in the trailer")
        return False


def _chunk_size(line: bytes) -> int:
    """Return the size in the first *line* of a chunk, its line end included."""
    # A proxy that takes LF for a part of an extension reads other chunks (CVE-2025-22871).
    if not line.endswith(b"\r\n"):
        raise MalformedBody("chunked line ends with bare LF")
    if b"\r" in line[:-2]:
        raise MalformedBody("invalid CR in chunked line")
    digits = line.rstrip(b" \t\r\n").partition(b";")[0]
    if not digits:
        raise MalformedBody("empty hex number for chunk length")
    if not _is_hexadecimal(digits):
        raise MalformedBody("invalid byte in chunk length")
    if len(digits) > 16:
        raise MalformedBody("http chunk length too large")
    return int(digits, 16)
