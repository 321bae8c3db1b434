"""How to reach the gateway: timeouts, and the proxy of an option or the environment."""

import ipaddress
import math
import os
import re
import time
from contextlib import suppress
from urllib.parse import urlsplit

from pushgate.client.address import Address
from pushgate.client.options import Options
from pushgate.errors import ConfigurationError
from pushgate.log import warn_once

# Seconds, eleven days: neither sockets nor threads wait for an infinite time.
FOREVER = 1e6

# Compiled at first use: most programs have no proxy.
_HOST = r"[A-Za-z0-9._:%-]+"
# An entry of no_proxy: host, host:port, [IPv6]:port. A bare IPv6 address does not match.
_ENTRY = r"(\[[^\]]*\]|[^:]*)(?::(\d+))?"


class Route:
    """How to connect: the gateway's address, and the effective options.

    Raises:
        ConfigurationError: The option ``proxy`` is neither ``env`` nor the URL of a proxy.
    """

    def __init__(self, address: Address, options: Options) -> None:
        self.address, self.options = address, options
        proxy = options.proxy
        if proxy not in {None, "env"} and not _is_usable(_with_scheme(proxy)):
            # Without the proxy, because it may hold a password.
            raise ConfigurationError(
                "proxy: expecting [http[s]://][user:password@]host[:port]", key="proxy"
            )

    def proxy_url(self) -> str | None:
        """Return the proxy to use, from the option or the environment."""
        if self.options.proxy == "env":
            return proxy_of_environment(self.address.scheme, self.address.host, self.address.port)
        return None if self.options.proxy is None else _with_scheme(self.options.proxy)

    def timeouts(self, expires: float) -> dict[str, float]:
        """Return the seconds for each operation of a connection, none beyond *expires*."""
        # Not 0, which would mean to a socket not to wait at all.
        left = min(max(expires - time.monotonic(), 0.001), FOREVER)
        connect = min(self.options.connect_timeout or 10.0, left)
        read = min(self.options.read_timeout or 10.0, left)
        return {"connect": connect, "read": read, "write": read, "pool": connect}


def seconds_left(expires: float) -> float | None:
    """Return the seconds until *expires*, as asyncio takes them: None is no limit."""
    return None if math.isinf(expires) else max(expires - time.monotonic(), 0)


def proxy_of_environment(scheme: str, host: str, port: int) -> str | None:
    """Return the proxy for a gateway according to the environment; None connects directly.

    ``http_proxy`` or ``https_proxy`` wins over ``all_proxy``, lower case over upper case,
    and ``no_proxy`` over all of them. A proxy that cannot be used (SOCKS, an unreadable
    URL) is a warning and a direct connection: a job that does not know about the variable
    would not push at all otherwise.
    """
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    if "REQUEST_METHOD" in os.environ and scheme == "http":
        # In CGI, this is the header "Proxy" of whoever sent the request (httpoxy, CVE-2016-5385).
        names.remove("HTTP_PROXY")
    name = next((name for name in names if name in os.environ), None)
    value = os.environ[name].strip() if name is not None else ""
    if not value or _is_direct(host, port):
        return None
    url = _with_scheme(value)
    if not _is_usable(url):
        warn_once(f"${name} is not the URL of an HTTP proxy: pushing without a proxy.")
        return None
    return url


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_http = parts.scheme.lower() in {"http", "https"}
        # urlsplit drops line breaks, and accepts blanks and more that no proxy has.
        is_host = parts.hostname is not None and bool(re.fullmatch(_HOST, parts.hostname))
        return is_http and is_host and url.isprintable() and (parts.port is None or parts.port > 0)
    except ValueError:  # the port, or the brackets of an IPv6 address
        return False


def _is_direct(host: str, port: int) -> bool:
    """Return whether ``no_proxy`` matches the gateway.

    An entry is ``*``, a domain (its subdomains included), an IP address or a network in
    CIDR notation; domains and addresses may have a port.
    """
    # By hand, because urllib's proxy_bypass() knows no networks.
    listed = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    host = host.lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    for entry in listed.lower().replace(",", " ").split():
        if entry == "*":
            return True
        match = re.fullmatch(_ENTRY, entry)
        name, number = (match[1], match[2]) if match else (entry, None)
        if number is not None and int(number) != port:
            continue
        name = name.strip("[]").lstrip("*").strip(".")
        if address is None:
            if name and (host == name or host.endswith(f".{name}")):
                return True
            continue
        with suppress(ValueError):  # a domain
            if address in ipaddress.ip_network(name, strict=False):
                return True
    return False
