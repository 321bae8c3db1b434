"""Turns the body of a request into a push: decompresses it, and reads it by its type."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pushgate.errors import TextFormatError
from pushgate.formats.compression import decompress
from pushgate.formats.diagnosis import advice
from pushgate.formats.limits import UNLIMITED, BodyLimits, check_text
from pushgate.formats.negotiation import BodyFormat, body_format, content_coding
from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.text import TextReader
from pushgate.model.names import NameRule
from pushgate.model.shape import Pushed

if TYPE_CHECKING:
    from pushgate.formats.protobuf.reader import ProtobufReader

# Below these, handing the body to a thread and back would cost more than reading it.
_LARGE_BYTES = 64 << 10
_LARGE_LINES = 1000
_TINY_BYTES = 2 << 10  # whatever it is, it is read in a few milliseconds
_LARGE_LINES_KNOWN = 3000
_SHORTEST_LINE = len(b"m 1\n")


class PushDecoder:
    """Reads the bodies of all formats, each with its own cache of shapes."""

    def __init__(self, names: NameRule, limits: BodyLimits = UNLIMITED) -> None:
        """Create a decoder with empty caches; *names* says which names a text body may use."""
        self._limits = limits
        self._quick_bytes = min(limits.decompressed_bytes or _LARGE_BYTES, _LARGE_BYTES - 1)
        self._text = TextReader(names)
        self._protobuf: ProtobufReader | None = None
        self._others: dict[BodyFormat, Callable[[bytes], Pushed]] = {}

    @property
    def cache_bytes(self) -> int:
        return self._text.cache_bytes + (self._protobuf.cache_bytes if self._protobuf else 0)

    def read_quickly(self, body: bytes, content_type: bytes, encoding: bytes) -> Pushed | None:
        """Do what :meth:`read` does, unless it may take milliseconds: then return None.

        A compressed body may, because its size is not known, and so may many short lines of an
        unknown shape, messages that clients rarely write, and the first body of a format, with
        which its reader is imported.
        A body that is too long for the limits is left to :meth:`read` as well.
        """
        if encoding or len(body) > self._quick_bytes:
            return None
        kind = body_format(content_type)
        if kind is not BodyFormat.TEXT and kind not in self._others:
            return None
        # To count the lines of a small push takes a fiftieth of its time.
        lines = body.count(b"\n") if len(body) > _LARGE_LINES * _SHORTEST_LINE else 0
        if kind is BodyFormat.TEXT and lines <= _LARGE_LINES_KNOWN:
            known = self._text.read_known(body)  # its shape was within the limits before
            if known is not None:
                return known
        if lines > _LARGE_LINES:
            return None
        if self._protobuf and kind is BodyFormat.PROTOBUF and len(body) > _TINY_BYTES:
            return self._protobuf.read_quickly(body)
        return self._read(body, kind)

    def read(self, body: bytes, content_type: bytes, encoding: bytes) -> Pushed:
        """Return what *body* pushes, according to its Content-Type and Content-Encoding.

        A body that claims to be OpenMetrics but is not is read as text, as the reference does.

        Raises:
            InvalidPush: the body is not what the headers say.
            LimitExceeded: it becomes too large, or holds too much.
        """
        coding = content_coding(encoding) if encoding else ""
        body = decompress(body, coding, limit=self._limits.decompressed_bytes)
        return self._read(body, body_format(content_type))

    def _read(self, body: bytes, kind: BodyFormat) -> Pushed:
        if kind is BodyFormat.PROTOBUF:
            return self._other(kind)(body)
        check_text(body, self._limits)
        if kind is BodyFormat.TEXT:
            return self._read_text(body)
        try:
            return self._other(kind)(body)
        except TextFormatError as error:
            return self._read_text(body, f"As OpenMetrics, line {error.line}: {error.reason}")

    def _read_text(self, body: bytes, *more: str) -> Pushed:
        """Return what *body* pushes as text; *more* is put before the advice of an error."""
        try:
            return self._text.read(body)
        except TextFormatError as error:
            error.advice = (*more, *advice(body, error))
            raise

    def _other(self, kind: BodyFormat) -> Callable[[bytes], Pushed]:
        """Return the function that reads *kind*, imported when the first body needs it."""
        if kind not in self._others:
            message_class("Metric")  # loads the library that both need
            if kind is BodyFormat.OPENMETRICS:
                from pushgate.formats.openmetrics import read_openmetrics

                self._others[kind] = read_openmetrics
            else:
                from pushgate.formats.protobuf.reader import ProtobufReader

                self._protobuf = ProtobufReader(limits=self._limits)
                self._others[kind] = self._protobuf.read
        return self._others[kind]
