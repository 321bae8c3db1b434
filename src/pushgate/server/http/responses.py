"""Complete responses, and the status of every error."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from pushgate.errors import (
    InconsistentPush,
    InvalidParameter,
    InvalidPush,
    JournalFailed,
    LimitExceeded,
    PushgateError,
    StaleCopy,
    UnsupportedEncoding,
)
from pushgate.model.quoting import raw

Headers = Sequence[tuple[bytes, bytes]]
"""Names and values, in order; in requests, the names are in lower case."""

WITHOUT_BODY: Final = frozenset({204, 304})
"""The statuses of responses that end with their head (RFC 9112, 6.3)."""
TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
RETRY: Final = ((b"retry-after", b"5"),)
"""When to try again, in seconds."""


class Response:
    """A complete response. It can be sent any number of times."""

    __slots__ = ("_body", "_start", "_wired", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", headers: Headers = ()) -> None:
        self.status = status
        self.headers = tuple(headers)
        length = () if status in WITHOUT_BODY else ((b"content-length", b"%d" % len(body)),)
        self._start: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": (*self.headers, *length),
        }
        self._body: Message = {"type": "http.response.body", "body": body}
        self._wired: dict[tuple[bool, bool], tuple[tuple[tuple[bytes, bytes], ...], bytes]] = {}

    def wire(
        self, date: tuple[tuple[bytes, bytes], ...], *, keep_alive: bool, is_http_1_0: bool = False
    ) -> bytes:
        """Return the response as bytes of HTTP/1.x, with the headers *date*.

        The last result is kept: the date changes once a second.
        """
        kept = self._wired.get((keep_alive, is_http_1_0))
        # The date of all responses within a second is one object: comparing it costs nothing.
        if kept is None or kept[0] is not date:
            headers = (*date, *self._start["headers"])
            head = encoded_head(
                self.status, headers, keep_alive=keep_alive, is_http_1_0=is_http_1_0
            )
            kept = self._wired[keep_alive, is_http_1_0] = date, head + self._body["body"]
        return kept[1]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send(self._start)
        await send(self._body)


def encoded_head(status: int, headers: Headers, *, keep_alive: bool, is_http_1_0: bool) -> bytes:
    """Return status line and *headers* as bytes of HTTP/1.x, the empty line included."""
    # One header says whether the connection goes on, whatever the application wrote.
    lines = [
        b"%b: %b\r\n" % (name, value) for name, value in headers if name.lower() != b"connection"
    ]
    if keep_alive == is_http_1_0:  # each version has its own default
        lines.append(b"connection: keep-alive\r\n" if keep_alive else b"connection: close\r\n")
    # Whoever could put a line break into a header could write a response of their own.
    if any(b"\r" in line[:-2] or b"\n" in line[:-2] for line in lines):
        raise ValueError("a header of a response has a line break")
    version = b"1.0" if is_http_1_0 else b"1.1"
    reason = HTTPStatus(status).phrase.encode()
    return b"".join([b"HTTP/%b %d %b\r\n" % (version, status, reason), *lines, b"\r\n"])


def plain_error(status: int, message: str, headers: Headers = ()) -> Response:
    """Return an error response with *message*, as Go's ``http.Error`` writes it."""
    return Response(status, raw(message) + b"\n", (*headers, TEXT, _NOSNIFF))


NOT_FOUND: Final = plain_error(404, "404 page not found")
INTERNAL_ERROR: Final = plain_error(500, "Internal Server Error")


_STATUS: Final[dict[type[Exception], int]] = {
    UnsupportedEncoding: 415,
    InvalidPush: 400,
    InvalidParameter: 400,
    InconsistentPush: 400,
    JournalFailed: 503,
    StaleCopy: 503,
    MemoryError: 503,
}


def error_response(error: Exception) -> Response:
    """Return the response to a request that failed with *error*: 500 if it is unexpected."""
    if isinstance(error, LimitExceeded):
        status = error.status
    else:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:  # its message is for the log
        return INTERNAL_ERROR
    retry = RETRY if status in (429, 503) else ()
    said = "the server is out of memory" if isinstance(error, MemoryError) else str(error)
    if isinstance(error, InconsistentPush):
        said = f"pushed metrics are invalid or inconsistent with existing metrics: {said}"
    advice = error.advice if isinstance(error, PushgateError) else ()
    return plain_error(status, "\n".join([said, *advice]), retry)
