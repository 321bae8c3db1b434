"""Answers that are known before they are sent, and the status of every error."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from starlette.types import Message, Receive, Scope, Send

from pushgate.errors import (
    InconsistentPush,
    InvalidPush,
    JournalFailed,
    LimitExceeded,
    PushgateError,
    UnsupportedEncoding,
)
from pushgate.model.quoting import raw

Headers = Iterable[tuple[bytes, bytes]]

TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_RETRY_SECONDS = b"5"


class Answer:
    """A whole answer. The same one may be sent any number of times."""

    __slots__ = ("_body", "_start", "_wired", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", headers: Headers = ()) -> None:
        self.status = status
        self.headers = tuple(headers)
        length = (b"content-length", b"%d" % len(body))
        self._start: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": (*self.headers, length),
        }
        self._body: Message = {"type": "http.response.body", "body": body}
        self._wired: dict[bool, tuple[tuple[tuple[bytes, bytes], ...], bytes]] = {}

    def wire(self, more: tuple[tuple[bytes, bytes], ...], *, keep_alive: bool) -> bytes:
        """Return the answer as bytes of HTTP/1.1, with *more* headers.

        The last result is kept: those headers are the date, which changes once a second.
        """
        kept = self._wired.get(keep_alive)
        if kept is None or kept[0] != more:
            kept = self._wired[keep_alive] = more, self._wire(more, keep_alive=keep_alive)
        return kept[1]

    def _wire(self, more: Headers, *, keep_alive: bool) -> bytes:
        lines = [b"%b: %b\r\n" % header for header in (*more, *self._start["headers"])]
        if not keep_alive and (b"connection", b"close") not in self.headers:
            lines.append(b"connection: close\r\n")
        reason = HTTPStatus(self.status).phrase.encode()
        head = b"HTTP/1.1 %d %b\r\n" % (self.status, reason)
        body: bytes = self._body["body"]
        return b"".join([head, *lines, b"\r\n", body])

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send(self._start)
        await send(self._body)


def plain_error(status: int, message: str, headers: Headers = ()) -> Answer:
    """Return the error that says *message*, in the shape of Go's ``http.Error``."""
    return Answer(status, raw(message) + b"\n", (*headers, TEXT, _NOSNIFF))


NOT_FOUND: Final = plain_error(404, "404 page not found")
INTERNAL_ERROR: Final = plain_error(500, "Internal Server Error")
# Go answers this before any handler runs: no line feed, and the connection ends.
BAD_REQUEST: Final = Answer(400, b"400 Bad Request", (TEXT, (b"connection", b"close")))


_STATUS: Final[dict[type[Exception], int]] = {
    UnsupportedEncoding: 415,
    InvalidPush: 400,
    InconsistentPush: 400,
    JournalFailed: 503,
    MemoryError: 503,
}
_RETRY: Final = frozenset({429, 503})


def answer_to(error: Exception) -> Answer:
    """Return how *error* is answered; an error that no request may cause is a 500."""
    status = _status(error)
    if status == 500:
        return INTERNAL_ERROR
    retry = ((b"retry-after", _RETRY_SECONDS),) if status in _RETRY else ()
    return plain_error(status, _message(error), retry)


def _status(error: Exception) -> int:
    if isinstance(error, LimitExceeded):
        return error.status
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)


def _message(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "the server is out of memory"
    said = str(error)
    if isinstance(error, InconsistentPush):
        said = f"pushed metrics are invalid or inconsistent with existing metrics: {said}"
    advice = error.advice if isinstance(error, PushgateError) else ()
    return "\n".join([said, *advice])
