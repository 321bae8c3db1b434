"""Names of metrics and labels: which are legal, and how others are escaped.

*Legacy* names are those of the text format before UTF-8 names. The escaping schemes are those of
Prometheus' content negotiation (prometheus/common, model/metric.go, EscapeName).
"""

import re
from collections.abc import Iterable
from enum import StrEnum

from pushgate.model.quoting import is_utf8

LEGACY_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII).fullmatch
LEGACY_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII).fullmatch
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_:]|^[0-9]", re.ASCII)
# An underscore alone is malformed. It matches, too, so that it is noticed.
_ESCAPED = re.compile(r"_(?:(_)|([0-9a-fA-F]{1,5})_)?", re.ASCII)


class NameRule(StrEnum):
    """Which names a push may use."""

    LEGACY = "legacy"
    UTF8 = "utf8"

    def metric(self, name: str) -> bool:
        return bool(LEGACY_METRIC(name) if self is NameRule.LEGACY else name and is_utf8(name))

    def label(self, name: str) -> bool:
        return bool(LEGACY_LABEL(name) if self is NameRule.LEGACY else name and is_utf8(name))


class Escaping(StrEnum):
    """How names that are not legacy are written for a reader that may not understand them."""

    UNDERSCORES = "underscores"
    ALLOW_UTF8 = "allow-utf-8"
    DOTS = "dots"
    VALUES = "values"


def is_plain(name: str) -> bool:
    """Return whether every scheme leaves *name* as it is (a colon is allowed in labels, too)."""
    # Identifiers of Python are nearly the same, and recognised in a sixth of the time.
    return (name.isidentifier() and name.isascii()) or LEGACY_METRIC(name) is not None


def escape(name: str, scheme: Escaping) -> str:
    """Return *name* as *scheme* writes it; a legacy name is never changed.

    Where UTF-8 is allowed, a name that is not UTF-8 gets underscores, because a scraper would
    drop the whole exposition.
    """
    if not name or is_plain(name) or (scheme is Escaping.ALLOW_UTF8 and is_utf8(name)):
        return name
    if scheme in {Escaping.UNDERSCORES, Escaping.ALLOW_UTF8}:
        return _ILLEGAL.sub("_", name)
    # Both schemes double underscores, so that what they write can be read back.
    if scheme is Escaping.DOTS:
        dotted = lambda found: "_dot_" if found[0] == "." else "__"  # noqa: E731 - a replacement
        return re.sub(r"_|\.|[^a-zA-Z0-9:]|^[0-9]", dotted, name)
    return spelled_out(name)


def spelled_out(name: str) -> str:
    """Return the form of *name* that :func:`unescape` reads back, also of a plain one."""
    return "U__" + re.sub(r"_|[^a-zA-Z0-9:]|^[0-9]", _as_code_point, name)


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two label names among *names* that some scheme writes alike, or None.

    The name of the metric takes part: it is the label ``__name__``.
    """
    all_names = ("__name__", *names)
    for scheme in Escaping:
        written: dict[str, str] = {}
        for name in all_names:
            other = written.setdefault(escape(name, scheme), name)
            if other != name:
                return other, name
    return None


def _as_code_point(match: re.Match[str]) -> str:
    if match[0] == "_":
        return "__"
    code = ord(match[0])
    return "_fffd_" if 0xD800 <= code <= 0xDFFF else f"_{code:x}_"  # what Go reads there


def unescape(name: str) -> str:
    """Return the name that the ``U__`` name *name* stands for, or *name* if it is malformed.

    A code point has five hexadecimal digits at most: the reference does not support plane 16.
    """
    if not name.startswith("U__"):
        return name
    try:
        return _ESCAPED.sub(_unescaped, name[3:])
    except ValueError:
        return name


def _unescaped(match: re.Match[str]) -> str:
    """Return the character for one underscore and what follows it."""
    if match[1]:
        return "_"
    code = int(match[2] or "", 16)  # a lone underscore is an error, too
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError("a surrogate")
    return chr(code)
