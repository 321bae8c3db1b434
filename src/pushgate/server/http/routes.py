"""Paths: which route one leads to, where a wrong one is redirected, which group it names.

These are the rules of the reference's router. They differ from Starlette's: matching is on
the percent-decoded path, so an escaped slash separates, and the redirects are its own.
Paths of pushes are split before they are decoded, so that a value may contain a slash and
be empty.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import quote_from_bytes

from starlette.types import Receive, Scope, Send

from pushgate.errors import InvalidGroupingKey, LimitExceeded
from pushgate.model.grouping import GroupingKey, parse_grouping_key, unpercent
from pushgate.model.names import NameRule
from pushgate.server.access.config import Permission
from pushgate.server.settings import Settings

if TYPE_CHECKING:
    from pushgate.server.http.site import Site

Endpoint: TypeAlias = "Callable[[Site, Scope, Receive, Send], Awaitable[None]]"
"""What answers the requests of a route."""

PUSH_METHODS: Final = ("DELETE", "POST", "PUT")
# So many labels of a path are read whatever the limit is, in about 10 ms.
_MIN_PATH_LABELS = 4096
_WILDCARDS = {b":job/": rb"([^/]*)/", b":job": rb"([^/]+)", b"*": rb"(.*)"}
_WILDCARD = re.compile(rb"(:job/?|\*)")
# Go's url.URL.EscapedPath leaves these alone.
_PATH_SAFE = "$&+,/:;=@"
_ESCAPED_PATH_SAFE = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}"


def push_path(settings: Settings) -> Callable[[bytes], re.Match[bytes] | None]:
    """Return what tells whether a raw path is that of a group, its escapes well-formed.

    A request target with a query is none.
    """
    return _group_path(settings.route_prefix)


@lru_cache
def _group_path(prefix: str) -> Callable[[bytes], re.Match[bytes] | None]:
    """Match a raw path below *prefix* as the parts of a group's path: ``base64``, ``rest``.

    URLs are often joined with a slash too many, so slashes before the job may be repeated.
    Like every other route, the part up to the job may be percent-encoded.
    """
    slash = _byte(ord("/"))
    fixed = [*prefix.encode().split(b"/")[1:], b"metrics", b"job"]
    head = b"".join(slash + b"+" + b"".join(map(_byte, part)) for part in fixed)
    base64 = b"".join(map(_byte, b"@base64"))
    rest = rb"(?:[^%?]++|%[0-9a-fA-F]{2})++"
    pattern = b"%b(?P<base64>%b)?%b(?P<rest>%b)" % (head, base64, slash, rest)
    return re.compile(pattern, re.DOTALL).fullmatch


def _byte(byte: int) -> bytes:
    """Return a pattern of *byte*, plain or percent-encoded."""
    return b"(?:%b|%%(?i:%02x))" % (re.escape(bytes([byte])), byte)


def raw_prefix(settings: Settings) -> bytes:
    """Return the prefix of all routes as it stands in raw paths."""
    return escaped(settings.route_prefix.encode()).encode()


def grouping_key(raw_path: bytes, settings: Settings) -> GroupingKey:
    """Return the group that *raw_path* names.

    The path is split before it is decoded, so that a value may contain a slash and be empty.

    Raises:
        InvalidGroupingKey: with the reference's text.
        LimitExceeded: there are too many labels to read them all.
    """
    match = _group_path(settings.route_prefix)(raw_path)
    if match is None:
        raise InvalidGroupingKey("this is not the path of a group")
    job, *parts = match["rest"].split(b"/")
    limit = settings.limit_labels_per_series
    # Groups of a time with a higher limit can still be deleted, as far as that is little work.
    if limit and len(parts) // 2 > max(limit, _MIN_PATH_LABELS):
        raise LimitExceeded(
            f"the path has {len(parts) // 2} labels, more than {limit} (--limit.labels-per-series)",
            flag="--limit.labels-per-series",
        )
    return parse_grouping_key(
        unpercent(job),
        [unpercent(part) for part in parts],
        job_is_base64=match["base64"] is not None,
        names=NameRule.UTF8 if settings.push_enable_utf8_names else NameRule.LEGACY,
    )


def clean_path(path: bytes) -> bytes:
    """Return *path* without empty, ``.`` and ``..`` segments; a slash at its end stays."""
    segments: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    if segments and path.endswith(b"/"):
        segments.append(b"")
    return b"/" + b"/".join(segments)


def escaped(path: bytes) -> str:
    """Return decoded *path* as Go escapes it for a URL."""
    return quote_from_bytes(path, _PATH_SAFE)


def ascii_only(raw_path: bytes) -> str:
    """Return *raw_path*, escaped already, with what may not stand in a header escaped too."""
    return quote_from_bytes(raw_path, _ESCAPED_PATH_SAFE)


@dataclass(frozen=True)
class Route:
    """One row of the routing table.

    ``path`` may contain ``:job``, a segment, and end in ``*``, the rest. ``handler`` is the
    name under which requests are counted, empty if they are not, or not here.
    """

    methods: Sequence[str]
    path: str
    handler: str
    permission: Permission
    endpoint: Endpoint

    @cached_property
    def matches(self) -> Callable[[bytes], object]:
        """Tell whether a decoded path is this route's."""
        return re.compile(self._pattern, re.DOTALL).fullmatch

    def corrected(self, path: bytes) -> bytes | None:
        """Return *path* with the letters of this route, if it is this route's in any case."""
        match = self._folded(path)
        if match is None:
            return None
        wild = iter(match.groups())
        return _WILDCARD.sub(lambda at: next(wild) + at[0][4:5], self.path.encode())

    @cached_property
    def _folded(self) -> Callable[[bytes], re.Match[bytes] | None]:
        return re.compile(self._pattern, re.DOTALL | re.IGNORECASE).fullmatch

    @property
    def _pattern(self) -> bytes:
        parts = _WILDCARD.split(self.path.encode())
        return b"".join(_WILDCARDS.get(part) or re.escape(part) for part in parts)


class Routes:
    """A routing table. The first route that matches is taken."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._of: dict[str, list[Route]] = {}
        for route in routes:
            for method in route.methods:
                self._of.setdefault(method, []).append(route)

    def find(self, method: str, path: bytes) -> Route | None:
        """Return the route of the decoded *path*."""
        return next((route for route in self._of.get(method, ()) if route.matches(path)), None)

    def redirect(self, method: str, path: bytes) -> bytes | None:
        """Return the decoded path that was meant by *path*, which no route matches.

        That is the path with one slash more or less at its end, or one that differs in
        nothing but letter case.
        """
        if path == b"/":
            return None
        if self.find(method, _toggled(path)):
            return _toggled(path)
        clean = clean_path(path)
        return next(self._corrections(method, (clean, _toggled(clean))), None)

    def _corrections(self, method: str, paths: Sequence[bytes]) -> Iterator[bytes]:
        for path in paths:
            for route in self._of.get(method, ()):
                if corrected := route.corrected(path):
                    yield corrected

    def allowed(self, path: bytes) -> str:
        """Return the ``Allow`` header for the decoded *path*; empty if no route matches it."""
        methods = [m for m in self._of if m != "OPTIONS" and self.find(m, path)]
        return ", ".join(sorted([*methods, "OPTIONS"])) if methods else ""


def _toggled(path: bytes) -> bytes:
    return path[:-1] if path.endswith(b"/") else path + b"/"
