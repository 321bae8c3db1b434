"""Protection against cross-site request forgery: pages of other sites cannot write.

Browsers say where a request comes from, and scripts cannot change what they say:
``Sec-Fetch-Site`` (https and localhost), ``Origin`` (everywhere, unless the method is GET
or HEAD). curl and libraries send neither, and are never refused.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from starlette.types import Scope

from pushgate.server.flags import Network
from pushgate.server.http.forwarded import DEFAULT_PORTS, asked_for

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The methods that change nothing (RFC 9110, 9.2.1)."""

# A sibling domain is "same-site", and may belong to somebody else.
_FOREIGN_SITES = frozenset({b"cross-site", b"same-site"})
# The name of a host has at most 253 bytes. A header may have a million.
_MAX_ORIGIN_BYTES = 1000


class Origin(NamedTuple):
    """An origin (RFC 6454). An empty scheme and a port of None are unknown."""

    scheme: str
    host: str
    port: int | None

    def is_of(self, own: "Origin") -> bool:
        """Return whether this complete origin may be the server *own*.

        A request names its server by host and port only, and leaves out the default port.
        Behind a proxy that ends TLS, only the browser knows the scheme.
        """
        scheme = own.scheme or self.scheme
        port = own.port or DEFAULT_PORTS.get(scheme)
        return self == (scheme, own.host, port)


def cross_site_write(scope: Scope, external_url: str, trusted: Sequence[Network]) -> str | None:
    """Return why the request *scope* is refused as a cross-site write; None if it is not.

    Args:
        scope: the request; its ``Host`` header is the host that was asked for.
        external_url: the URL at which browsers reach this server behind a proxy; may be empty.
        trusted: the addresses of proxies whose ``X-Forwarded-*`` headers are trusted.
    """
    if scope["method"] in SAFE_METHODS:
        return None
    fields = dict(scope["headers"])
    site = fields.get(b"sec-fetch-site")
    # Where there is one, it is the better answer: the browser compared the addresses it saw, and
    # no proxy between can have changed them.
    if site is not None:
        if site.lower() not in _FOREIGN_SITES:
            return None
        return _refusal(f"a page of another site sent it (Sec-Fetch-Site: {site.decode()})")
    if b"origin" not in fields:
        return None
    said = fields[b"origin"][:_MAX_ORIGIN_BYTES].decode("latin-1")
    origin = parse_origin(said)
    scheme, host = asked_for(scope, trusted)
    asked = parse_origin(f"//{host}")
    own = (asked and asked._replace(scheme=scheme), parse_origin(external_url))
    if origin and any(server and origin.is_of(server) for server in own):
        return None
    return _refusal(f"its Origin {said!a} is not this server")


def parse_origin(url: str) -> Origin | None:
    """Return the origin of *url*, its port filled in; None if it has none, as ``null``."""
    try:
        parts = urlsplit(url)
        if not parts.hostname:
            return None
        return Origin(parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme))
    except ValueError:
        return None


def _refusal(reason: str) -> str:
    return (
        f"cross-site write refused: {reason}. Browsers may write from this server's own pages "
        "only; behind a proxy set --web.external-url or --web.trusted-proxies"
    )
