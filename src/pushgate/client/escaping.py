"""Names that the classic data model does not allow, made legal before they are pushed.

As prometheus_client escapes: label names obey the label rule (no colon), and ``dots``
doubles the underscores of legal names too, because it must be reversible.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from pushgate.errors import EncodingError
from pushgate.model.names import LEGACY_LABEL, LEGACY_METRIC


def _dot(match: re.Match[str]) -> str:
    return "_dot_" if match[0] == "." else "__"


def _code_point(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] == "_":
        return "__"
    return "_FFFD_" if 0xD800 <= code <= 0xDFFF else f"_{code:x}_"


_REPLACE: Mapping[str, Callable[[re.Match[str]], str]] = {
    "underscores": lambda _: "_",
    "dots": _dot,
    "values": _code_point,
}
_METRIC_OFFENDERS = re.compile(r"[^a-zA-Z0-9:]|^[0-9]", re.ASCII)
_LABEL_OFFENDERS = re.compile(r"[^a-zA-Z0-9]|^[0-9]", re.ASCII)


def _escape(name: str, scheme: str, offenders: re.Pattern[str]) -> str:
    if not name:
        raise EncodingError("a name is empty")
    escaped = offenders.sub(_REPLACE[scheme], name)
    return f"U__{escaped}" if scheme == "values" else escaped


@lru_cache(maxsize=4096)
def escape_metric_name(name: str, scheme: str = "underscores") -> str:
    """Return *name* as *scheme* writes metric names."""
    if scheme == "allow-utf-8" or (LEGACY_METRIC(name) and scheme != "dots"):
        return name
    return _escape(name, scheme, _METRIC_OFFENDERS)


@lru_cache(maxsize=4096)
def escape_label_name(name: str, scheme: str = "underscores") -> str:
    """Return *name* as *scheme* writes label names.

    Raises:
        EncodingError: If a colon would stay in it. A gateway that stores such a
            label makes every later text scrape of it unreadable.
    """
    if LEGACY_LABEL(name) and scheme != "dots":
        return name
    if scheme != "allow-utf-8":
        return _escape(name, scheme, _LABEL_OFFENDERS)
    if not name:
        raise EncodingError("a label has no name")
    if ":" in name:
        raise EncodingError(f"label name {name!r} contains ':', which breaks every scrape")
    return name
