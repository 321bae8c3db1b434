"""The paths of pushes, and the groups that they name."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final
from urllib.parse import quote_from_bytes

from pushgate.errors import InvalidGroupingKey, LimitExceeded
from pushgate.model.grouping import GroupingKey, parse_grouping_key, unpercent
from pushgate.model.names import LEGACY_LABEL, NameRule, spelled_out
from pushgate.model.quoting import raw
from pushgate.server.settings import Settings

PUSH_METHODS: Final = frozenset({"DELETE", "PATCH", "POST", "PUT"})
# Whatever the limit is, this many labels of a path are read, in about 10 ms.
_MIN_PATH_LABELS = 4096
# Go's url.URL.EscapedPath leaves these alone.
_PATH_SAFE = "$&+,/:;=@"


@lru_cache
def push_path(prefix: str) -> Callable[[bytes], re.Match[bytes] | None]:
    """Return a function that matches the raw paths of groups below *prefix*.

    It finds the parts ``base64`` and ``rest``. Escapes have to be well-formed, and a target with
    a query does not match. URLs are often joined with a slash too many, so slashes before the
    job may be repeated. Like every other route, the part up to the job may be percent-encoded.
    """
    slash = _byte(ord("/"))
    fixed = [*prefix.encode().split(b"/")[1:], b"metrics", b"job"]
    head = b"".join(slash + b"+" + b"".join(map(_byte, part)) for part in fixed)
    base64 = b"".join(map(_byte, b"@base64"))
    # Possessive, so that a path of 128 KiB that does not match fails without backtracking.
    rest = rb"(?:[^%?]++|%[0-9a-fA-F]{2})++"
    pattern = b"%b(?P<base64>%b)?%b(?P<rest>%b)" % (head, base64, slash, rest)
    return re.compile(pattern, re.DOTALL).fullmatch


def _byte(byte: int) -> bytes:
    """Return a pattern of *byte*, plain or percent-encoded."""
    return b"(?:%b|%%(?i:%02x))" % (re.escape(bytes([byte])), byte)


def grouping_key(raw_path: bytes, settings: Settings) -> GroupingKey:
    """Return the group that *raw_path* names.

    The path is split before it is decoded, so that a value may contain a slash and be empty.

    Raises:
        InvalidGroupingKey: the path names no group; the message is the Go server's.
        LimitExceeded: there are too many labels to read them all.
    """
    match = push_path(settings.route_prefix)(raw_path)
    if match is None:
        raise InvalidGroupingKey("this is not the path of a group")
    job, *parts = match["rest"].split(b"/")
    limit = settings.limit_labels_per_series
    # A group from the time of a higher limit can still be deleted, while that is little work.
    if limit and len(parts) // 2 > max(limit, _MIN_PATH_LABELS):
        raise LimitExceeded(
            f"the path has {len(parts) // 2} labels, more than {limit}", "labels-per-series"
        )
    return parse_grouping_key(
        unpercent(job),
        [unpercent(part) for part in parts],
        job_is_base64=match["base64"] is not None,
        names=settings.name_rule,
    )


def path_of(key: GroupingKey, settings: Settings) -> str:
    """Return the path that names *key*, below the route prefix and without its first slash.

    Empty if no path does.
    """
    escapes = ("U__",) if settings.name_rule is NameRule.UTF8 else ()
    plain = {name for name in key.names if LEGACY_LABEL(name) and not name.startswith(escapes)}
    path = "metrics/" + "/".join(
        (name if name in plain else spelled_out(name)) + _path_value(value)
        for name, value in [("job", key.job), *key.others]
    )
    if len(plain) == len(key.names):
        return path
    # Other names may have no spelling that this server reads back as the same group.
    with suppress(InvalidGroupingKey):
        if grouping_key(f"{settings.route_prefix}/{path}".encode(), settings) == key:
            return path
    return ""


def _path_value(value: str) -> str:
    """Return the rest of a label in a path: in base64 unless it is plain to read as it is."""
    if value.strip(".") and re.fullmatch(r"[\w.-]+", value, re.ASCII):
        return f"/{value}"
    # "=" is the padding of nothing: a path could not end in an empty value.
    return f"@base64/{urlsafe_b64encode(raw(value)).decode() or '='}"


def escaped(path: bytes) -> str:
    """Return decoded *path* as Go escapes it for a URL."""
    return quote_from_bytes(path, _PATH_SAFE)
