"""Names that the classic data model does not allow, made legal.

The four schemes of the Prometheus exposition formats. A name that is legal stays
as it is, except under ``dots``, which doubles its underscores.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Literal, get_args

from pushgate.errors import EncodingError

EscapingScheme = Literal["allow-utf-8", "values", "underscores", "dots"]
ESCAPING_SCHEMES: tuple[str, ...] = get_args(EscapingScheme)

_LEGAL_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LEGAL_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def is_legal_metric_name(name: str) -> bool:
    """Return whether every Prometheus takes *name* as a metric name."""
    return _LEGAL_METRIC.fullmatch(name) is not None


def is_legal_label_name(name: str) -> bool:
    """Return whether every Prometheus takes *name* as a label name."""
    return _LEGAL_LABEL.fullmatch(name) is not None


def _underscore(character: str) -> str:
    return "_"


def _dot(character: str) -> str:
    return {".": "_dot_", "_": "__"}.get(character, "__")


def _code_point(character: str) -> str:
    if character == "_":
        return "__"
    if "\ud800" <= character <= "\udfff":
        return "_FFFD_"
    return f"_{ord(character):x}_"


_REPLACE: Mapping[str, Callable[[str], str]] = {
    "underscores": _underscore,
    "dots": _dot,
    "values": _code_point,
}
# Underscores are legal, but these two schemes must be reversible.
_ALSO_REPLACED: Mapping[str, str] = {"underscores": "", "dots": "_", "values": "_"}


def _escape(name: str, scheme: str, legal: re.Pattern[str], *, colon: str) -> str:
    if scheme == "allow-utf-8" or (legal.fullmatch(name) and scheme != "dots"):
        return name
    replace, also = _REPLACE[scheme], _ALSO_REPLACED[scheme]
    keep = re.compile(rf"[a-zA-Z{colon}{'' if also else '_'}]|(?!\A)[0-9]", re.ASCII)
    escaped = "".join(
        character if keep.match(name, index) else replace(character)
        for index, character in enumerate(name)
    )
    return f"U__{escaped}" if scheme == "values" else escaped


@lru_cache(maxsize=4096)
def escape_metric_name(name: str, scheme: str = "underscores") -> str:
    """Return *name* as *scheme* writes metric names."""
    return _escape(name, scheme, _LEGAL_METRIC, colon=":")


@lru_cache(maxsize=4096)
def escape_label_name(name: str, scheme: str = "underscores") -> str:
    """Return *name* as *scheme* writes label names.

    Raises:
        EncodingError: If a colon would stay in it. A gateway that stores such a
            label makes every later text scrape of it unreadable.
    """
    escaped = _escape(name, scheme, _LEGAL_LABEL, colon="")
    if ":" in escaped:
        raise EncodingError(f"label name {name!r} contains ':', which breaks every scrape")
    return escaped


escape_in_path = partial(escape_label_name, scheme="values")
