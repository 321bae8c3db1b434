"""Responses of the JSON API.

The text is that of Go's ``encoding/json``: keys of maps sorted bytewise, ``<``, ``>``, ``&``
and the line separators escaped, bytes that are not UTF-8 shown as U+FFFD. Numbers are strings.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar

import orjson

from pushgate.server.http.responses import Response

_T = TypeVar("_T")

CORS: Final = (
    (b"access-control-allow-headers", b"Accept, Authorization, Content-Type, Origin"),
    (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Date"),
    (b"cache-control", b"no-cache, no-store, must-revalidate"),
)
JSON: Final = (*CORS, (b"content-type", b"application/json"))
PREFLIGHT: Final = Response(200, headers=CORS)
"""Tells a browser that pages of other origins may read the API."""

# What could end a script element, or in old JavaScript a line: U+2028 and U+2029.
_HTML_MARKS = (b"<", b">", b"&", b"\xe2\x80")
_HTML = re.compile(b"[<>&]|\xe2\x80[\xa8\xa9]")
_HTML_ESCAPES: Final[Mapping[bytes, bytes]] = {
    b"<": rb"\u003c",
    b">": rb"\u003e",
    b"&": rb"\u0026",
    b"\xe2\x80\xa8": rb"\u2028",
    b"\xe2\x80\xa9": rb"\u2029",
}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def encoded(value: Any) -> bytes:
    """Return *value* as Go's ``encoding/json`` writes it."""
    try:
        text = orjson.dumps(value)
    except TypeError:  # lone surrogates: a label that is not UTF-8. Rare, so it may be slow
        slow = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        text = _LONE_SURROGATE.sub(r"\\ufffd", slow).encode()
    if any(mark in text for mark in _HTML_MARKS):
        return _HTML.sub(lambda match: _HTML_ESCAPES[match[0]], text)
    return text


def encoded_in_pieces(
    items: Iterator[_T], gather: Callable[[list[_T]], Any], at_once: int
) -> Iterator[bytes]:
    """Yield the JSON of ``gather(items)``, a list or a dict, *at_once* items at a time."""
    empty = encoded(gather([]))
    separator = empty[:1]
    while batch := [*islice(items, at_once)]:
        yield separator + encoded(gather(batch))[1:-1]
        separator = b","
    yield empty[1:] if separator == b"," else empty
