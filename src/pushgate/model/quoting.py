"""Quotes text as Go does, because clients and tests of the reference match on its messages.

Everywhere in this package, text that arrived as bytes is decoded with ``surrogateescape``: a byte
that is not UTF-8 becomes a lone surrogate, and survives the round trip.
"""

import re

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
_SPECIAL = re.compile("[^ -~]")  # perhaps
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


def go_quote(text: str) -> str:
    """Return *text* in double quotes as Go's ``%q`` writes it."""
    quoted = text.replace("\\", r"\\").replace('"', r"\"")
    if not text.isprintable():
        quoted = _SPECIAL.sub(lambda found: _SHORT.get(found[0]) or _escaped(found[0]), quoted)
    return f'"{quoted}"'


def go_quote_byte(byte: int) -> str:
    """Return *byte*, read as Latin-1, in single quotes as Go's ``%q`` writes a character."""
    escapes = {**_SHORT, "'": r"\'"}
    character = chr(byte)
    return f"'{escapes.get(character) or _escaped(character)}'"


def prototext_quote(text: str) -> str:
    """Return *text* in double quotes as protobuf's text format writes a string."""
    quoted = _PROTOTEXT_SPECIAL.sub(
        lambda found: _PROTOTEXT.get(found[0]) or _escaped(found[0]), text
    )
    return f'"{quoted}"'
