"""Reads from its headers what a client sends, and what it accepts.

The quirks are those of the Go server, so that every scraper gets the same answer from both: only
the first ``Accept`` line counts, quotes belong to values, ``text/plain`` is the answer to anything
unknown. Only the first 8 KiB of a header are read, because negotiation runs on the event loop;
that is more than any client sends.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

from pushgate.formats.shapecache import remembered
from pushgate.model.names import Escaping
from pushgate.model.numbers import parse_float

_PROTOBUF = "application/vnd.google.protobuf"
_MESSAGE = "io.prometheus.client.MetricFamily"
_OPENMETRICS = "application/openmetrics-text"
MAX_HEADER_BYTES = 8 << 10
"""How much of a header is read."""
_ESCAPINGS = frozenset(Escaping)
# For headers of ordinary length; long ones, of which there is no end, are read each time.
_remembered = remembered(entries=1000, longest=1000)


class Format(StrEnum):
    """A format of expositions, with its media type as value."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    PROTOBUF = f"{_PROTOBUF}; proto={_MESSAGE}; encoding=delimited"


class Accepted(NamedTuple):
    """The format of an exposition, and how it escapes names that are not legacy."""

    format: Format
    escaping: Escaping

    @property
    def content_type(self) -> bytes:
        """The ``Content-Type`` of such an exposition."""
        return f"{self.format}; escaping={self.escaping}".encode()


class BodyFormat(StrEnum):
    """The format of a push."""

    TEXT = "text"
    PROTOBUF = "protobuf"
    OPENMETRICS = "openmetrics"


class _Clause(NamedTuple):
    type: str
    subtype: str
    parameters: Mapping[str, str]
    quality: float

    @property
    def rank(self) -> tuple[float, bool, bool]:
        return -self.quality, self.type == "*", self.subtype == "*"

    @property
    def format(self) -> Format | None:
        name, given = f"{self.type}/{self.subtype}", self.parameters
        exact = given.get("proto") == _MESSAGE and given.get("encoding") == "delimited"
        if name == _PROTOBUF and exact:
            return Format.PROTOBUF
        if name == "text/plain" and given.get("version", "0.0.4") in ("", "0.0.4"):
            return Format.TEXT
        return None


@_remembered
def accepted_format(accept: bytes) -> Accepted:
    """Return the format of the exposition for the first ``Accept`` line *accept*.

    Anything is accepted: what is not understood is answered with text.
    """
    escaping = Escaping.UNDERSCORES
    clauses = _clauses(accept[:MAX_HEADER_BYTES].decode("latin-1"))
    for clause in sorted(clauses, key=lambda clause: clause.rank):
        wanted = clause.parameters.get("escaping")
        if wanted in _ESCAPINGS:  # even that of a format that is not ours, as in the reference
            escaping = Escaping(wanted)
        if clause.format:
            return Accepted(clause.format, escaping)
    return Accepted(Format.TEXT, escaping)


def _clauses(accept: str) -> Iterator[_Clause]:
    for clause in accept.split(","):
        media, *parameters = clause.split(";")
        main, *sub = (part.strip(" ") for part in media.split("/"))
        if len(sub) > 1 or (not sub and main != "*"):
            continue
        pairs = (parameter.partition("=") for parameter in parameters)
        # As in the reference, a parameter without a value is ignored.
        given = {name.strip(" "): v for name, _, value in pairs if (v := value.strip(" "))}
        quality = math.nan
        with suppress(ValueError):
            quality = parse_float(given.pop("q", "1"))
        # A quality that is not a number ranks last, but it does not rule the format out.
        quality = 0.0 if math.isnan(quality) else quality
        yield _Clause(main, sub[0] if sub else "*", given, quality)


_CODING = re.compile(
    r"(?P<token>[!#$%&'*+\-.^_`|~0-9A-Za-z/]+)[ \t]*"
    r"(?:;[ \t]*q=(?P<quality>[01](?:\.[0-9]*)?)[ \t]*)?(?P<more>,[ \t]*)?"
)
_OFFERS = ("identity", "gzip", "zstd")


def accepted_encoding(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the content coding for the ``Accept-Encoding`` lines among *headers* of a request.

    The highest quality wins; among equals, the first of identity (which is the empty string),
    gzip, zstd. A client that refuses everything gets identity.
    """
    # Several lines mean what one list does (RFC 9110, 5.3).
    lines = b"\n".join([value for name, value in headers if name == b"accept-encoding"])
    return _accepted_encoding(lines[:MAX_HEADER_BYTES])


@_remembered
def _accepted_encoding(lines: bytes) -> str:
    wanted = [pair for line in lines.decode("latin-1").split("\n") for pair in _codings(line)]
    best, best_quality = "identity", 0.0
    for offer in _OFFERS:
        # RFC 9110, 12.5.3. The reference takes "*" even beside the name of a coding.
        quality = max((q for token, q in wanted if token in (offer, "*")), default=0.0)
        if quality > best_quality:
            best, best_quality = offer, quality
    return best.removeprefix("identity")


def _codings(line: str) -> Iterator[tuple[str, float]]:
    """Yield tokens with their quality, up to the first that is malformed."""
    position, more = 0, True
    while more and (match := _CODING.match(line, position)):
        if match["quality"] is None and line.startswith(";", match.end()):
            return
        yield match["token"], float(match["quality"] or 1)
        position, more = match.end(), bool(match["more"])


_WORD = r"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+"
_MEDIA_TYPE = re.compile(rf"\s*({_WORD}(?:/{_WORD})?)\s*(?=;|\Z)")
_SPECIAL = r"[()<>@,;:\\\"/\[\]?=]"
_PARAMETER = re.compile(
    rf"\s*;\s*(?P<name>{_WORD})\s*=\s*"
    rf"(?:(?P<token>{_WORD})|\"(?P<quoted>(?:[^\"\\\r\n]|\\{_SPECIAL}|\\(?!{_SPECIAL}))*)\")"
)
_QUOTED_PAIR = re.compile(rf"\\({_SPECIAL})")
_END = re.compile(r"\s*;?\s*\Z")


@_remembered
def body_format(content_type: bytes) -> BodyFormat:
    """Return the format that the ``Content-Type`` *content_type* promises.

    That is text unless it is OpenMetrics, or exactly the delimited protobuf of expositions.
    """
    media, parameters = media_type(content_type[:MAX_HEADER_BYTES].decode("latin-1"))
    if media == _PROTOBUF:
        exact = {"proto": _MESSAGE, "encoding": "delimited"}.items() <= parameters.items()
        return BodyFormat.PROTOBUF if exact else BodyFormat.TEXT
    if media == _OPENMETRICS:
        return BodyFormat.OPENMETRICS
    return BodyFormat.TEXT


def media_type(content_type: str) -> tuple[str, dict[str, str]]:
    """Return type and parameters (RFC 2045); both empty if *content_type* is malformed.

    Type and parameter names are returned in lower case. A parameter may be repeated with the same
    value, as in Go's ``mime.ParseMediaType``.
    """
    nothing: tuple[str, dict[str, str]] = ("", {})
    start = _MEDIA_TYPE.match(content_type)
    if not start:
        return nothing
    position, parameters = start.end(), dict[str, str]()
    while match := _PARAMETER.match(content_type, position):
        name = match["name"].lower()
        value = match["token"] or _QUOTED_PAIR.sub(r"\1", match["quoted"])
        if parameters.setdefault(name, value) != value:
            return nothing
        position = match.end()
    if not _END.match(content_type, position):
        return nothing
    return start[1].lower(), parameters


_is_no_coding = re.compile(
    r"|identity|none|chunked|binary|[78]bit|plain|text(?:/plain)?"
    r"|(?:us-)?ascii|utf-?(?:8|16|32)|iso-8859-\d+|latin-?\d|(?:windows-|cp)\d+"
).fullmatch


def content_coding(value: bytes) -> str:
    """Return the coding of a request body from its first ``Content-Encoding`` header.

    It is empty if there is none; some clients say so with ``identity``, ``none``, or the name of a
    character set, a transfer encoding or a media type. The coding may be unknown, or several:
    then :func:`~pushgate.formats.compression.decompress` refuses it.
    """
    names = [name.strip() for name in value[:MAX_HEADER_BYTES].decode("latin-1").lower().split(",")]
    codings = [name.removeprefix("x-") for name in names if not _is_no_coding(name)]
    return ", ".join(codings)
