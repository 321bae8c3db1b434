"""Paths: which route one leads to, and where a wrong one is redirected.

These are the rules of the reference's router. They differ from Starlette's: matching is on
the percent-decoded path, so an escaped slash separates, and the redirects are its own.
Paths of pushes are split before they are decoded, so that a value may contain a slash and
be empty.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote_from_bytes

from starlette.types import Receive, Scope, Send

from pushgate.server.access.config import Permission

if TYPE_CHECKING:
    from pushgate.server.http.context import AppContext

Endpoint: TypeAlias = "Callable[[AppContext, Scope, Receive, Send], Awaitable[None]]"
"""What answers the requests of a route."""

_WILDCARDS = {b":job/": rb"([^/]*)/", b":job": rb"([^/]+)", b"*": rb"(.*)"}
_WILDCARD = re.compile(rb"(:job/?|\*)")
_ESCAPED_PATH_SAFE = "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}"


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
