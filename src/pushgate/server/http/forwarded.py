"""What a browser asked for, as proxies that are trusted say it in ``X-Forwarded-*``."""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.types import Scope

from pushgate.server.flags import Network
from pushgate.server.http.request import find_header, is_host

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
"""The port of each scheme, unless a URL names one."""


def asked_for(scope: Scope, trusted: Sequence[Network]) -> tuple[str, str]:
    """Return scheme and host that the browser sent *scope* to; empty where the request is silent.

    *trusted* are the addresses of proxies whose ``X-Forwarded-*`` headers are trusted.
    """
    headers = scope["headers"]
    scheme, host = "", find_header(headers, b"host")
    if _is_trusted(scope["client"], trusted):
        # A chain of proxies appends: the first value is what the browser asked for, or what a
        # client made up.
        names = b"x-forwarded-host", b"x-forwarded-proto"
        said, proto = (find_header(headers, name).partition(b",")[0].strip() for name in names)
        host = said if said and is_host(said) else host
        scheme = proto.decode("latin-1").lower()
    return scheme if scheme in DEFAULT_PORTS else "", host.decode("latin-1")


def _is_trusted(client: tuple[str, int] | None, trusted: Sequence[Network]) -> bool:
    """Return whether *client* is a trusted proxy, as every peer of a Unix socket is."""
    if client is None:
        return True
    if not trusted:
        return False
    address = ip_address(client[0])
    # A socket that listens on both families shows IPv4 peers as ::ffff:192.0.2.1.
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in trusted)
