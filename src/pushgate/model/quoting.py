"""Quotes text as Go does, because clients and tests of the reference match on its messages.

Everywhere in this package, text that arrived as bytes is decoded with ``surrogateescape``: a byte
that is not UTF-8 becomes a lone surrogate, and survives the round trip.
"""

import re
from collections.abc import Callable

_SHORT = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
}
_QUOTED = {**_SHORT, '"': r"\""}
_PROTOTEXT = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
# Go's prototext escapes control characters only; other characters stay UTF-8.
_PROTOTEXT_SPECIAL = re.compile('[\0-\x1f"\\\\\x7f-\x9f\udc80-\udcff]')


def text(raw: bytes) -> str:
    """Return *raw* as text; bytes that are not UTF-8 become lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def raw(text: str) -> bytes:
    """Return the bytes that *text* came from; the inverse of :func:`text`."""
    return text.encode("utf-8", "surrogateescape")


def is_utf8(text: str) -> bool:
    """Return whether *text* came from valid UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def legible(text: str) -> str:
    """Return *text* with U+FFFD for each byte that is not UTF-8.

    For one such byte, even in a help text, a scraper drops the whole exposition.
    """
    return text if is_utf8(text) else raw(text).decode("utf-8", "replace")


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class _Escapes(dict[int, str]):
    """What ``str.translate`` puts for each character: each is escaped once, however often it comes.

    Made for one text, because there are a million characters to remember.
    """

    def __init__(self, escape: Callable[[str], str]) -> None:
        super().__init__()
        self._escape = escape

    def __missing__(self, code: int) -> str:
        escaped = self[code] = self._escape(chr(code))
        return escaped


def go_quote(text: str) -> str:
    """Return *text* in double quotes as Go's ``%q`` writes it."""
    if text.isprintable():
        quoted = text.replace("\\", r"\\").replace('"', r"\"")
    else:
        quoted = text.translate(_Escapes(lambda c: _QUOTED.get(c) or _escaped(c)))
    return f'"{quoted}"'


def go_quote_byte(byte: int) -> str:
    """Return *byte*, read as Latin-1, in single quotes as Go's ``%q`` writes a character."""
    escapes = {**_SHORT, "'": r"\'"}
    character = chr(byte)
    return f"'{escapes.get(character) or _escaped(character)}'"


def _prototext_escaped(character: str) -> str:
    if not _PROTOTEXT_SPECIAL.match(character):
        return character
    return _PROTOTEXT.get(character) or _escaped(character)


def prototext_quote(text: str) -> str:
    """Return *text* in double quotes as protobuf's text format writes a string."""
    if _PROTOTEXT_SPECIAL.search(text):
        text = text.translate(_Escapes(_prototext_escaped))
    return f'"{text}"'
