"""Push bodies: out of their encoding, then read in the format that their type names."""

from typing import Protocol

from pushgate.formats.compression import decompress
from pushgate.formats.negotiation import BodyFormat, body_format, content_coding
from pushgate.formats.room import UNLIMITED, Room, check_text
from pushgate.formats.text import TextReader
from pushgate.model.names import NameRule
from pushgate.model.shape import Pushed


class Reader(Protocol):
    """Reads bodies of one format."""

    def read(self, body: bytes) -> Pushed:
        """Return what *body* pushes; raise ``InvalidBody`` if it is not of the format."""
        ...


class Bodies:
    """Reads the bodies of all formats, each with its own memory of shapes."""

    def __init__(self, names: NameRule, *, most_bytes: int, room: Room = UNLIMITED) -> None:
        """Read nothing yet.

        Args:
            names: which names text may use.
            most_bytes: how large a body may become when it is decompressed; 0 is no limit.
            room: how much a body may hold.
        """
        self._most_bytes = most_bytes
        self._room = room
        self._text = TextReader(names)
        self._others: dict[BodyFormat, Reader] = {}

    def read(self, body: bytes, content_type: bytes, encoding: bytes) -> Pushed:
        """Return what *body* pushes, according to its Content-Type and Content-Encoding.

        Raises:
            InvalidPush: the body is not what the headers say.
            LimitExceeded: it becomes too large, or holds too much.
        """
        if encoding:
            body = decompress(body, content_coding(encoding), limit=self._most_bytes)
        kind = body_format(content_type)
        if kind is not BodyFormat.PROTOBUF:
            check_text(body, self._room)
        if kind is BodyFormat.TEXT:
            return self._text.read(body)
        return self._reader(kind).read(body)

    def _reader(self, kind: BodyFormat) -> Reader:
        reader = self._others.get(kind)
        if reader is None:
            reader = self._others[kind] = self._new_reader(kind)
        return reader

    def _new_reader(self, kind: BodyFormat) -> Reader:
        if kind is BodyFormat.OPENMETRICS:
            from pushgate.formats.openmetrics import OpenMetricsReader

            return OpenMetricsReader()
        from pushgate.formats.protobuf import ProtobufReader

        return ProtobufReader(room=self._room)
