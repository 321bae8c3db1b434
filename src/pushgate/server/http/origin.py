"""No page of another site changes anything: the defence against cross-site request forgery.

Browsers say where a request comes from, and scripts cannot change what they say:
``Sec-Fetch-Site`` (https and localhost), ``Origin`` (everywhere, unless the method is GET
or HEAD). curl and libraries send neither, and are never refused.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The methods that change nothing (RFC 9110, 9.2.1)."""

_FOREIGN_SITES = frozenset({b"cross-site", b"same-site"})


def foreign_origin(fields: Mapping[bytes, bytes], external_url: str) -> str | None:
    """Return why a browser may not send this writing request; None if it may.

    Args:
        fields: the headers of the request, names in lower case.
        external_url: where browsers see this server, if a proxy hides it; or empty.
    """
    site = fields.get(b"sec-fetch-site")
    if site is not None:
        if site.lower() not in _FOREIGN_SITES:
            return None
        return _refusal(f"a page of another site sent it (Sec-Fetch-Site: {site.decode()})")
    origin = fields.get(b"origin")
    if origin is None:
        return None
    host = _authority(origin.decode("latin-1"))
    own = (fields.get(b"host", b"").decode("latin-1").lower(), _authority(external_url))
    if host and host in own:
        return None
    return _refusal(f"its Origin {origin.decode('latin-1')!a} is not this server")


def _authority(url: str) -> str:
    """Return host and port of *url*; empty if it has none, as ``null`` has."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def _refusal(reason: str) -> str:
    return (
        f"this request could have changed something, and {reason}: refused. Browsers may write "
        "from this server's own pages only; behind a proxy set --web.external-url"
    )
