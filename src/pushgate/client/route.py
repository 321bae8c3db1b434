"""How to reach the gateway: TLS, timeouts, and the proxy of an option or the environment."""

import ipaddress
import math
import os
import re
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from pushgate.client.address import Address
from pushgate.client.log import warn_once
from pushgate.client.options import Options
from pushgate.client.tls import TLS
from pushgate.errors import ConfigurationError

# Eleven days: sockets take no infinite timeout.
FOREVER = 1e6

# host, host:port, [IPv6]:port; a bare IPv6 address does not match.
_ENTRY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class Route:
    """What a connection is made with."""

    scheme: str
    host: str
    port: int
    tls: TLS
    proxy: str | None
    """Its URL, ``env`` for whatever the environment says, None for no proxy."""
    connect_timeout: float
    read_timeout: float

    def proxy_url(self) -> str | None:
        """Return the proxy to use, after a look at the environment if so configured."""
        if self.proxy == "env":
            return proxy_of_environment(self.scheme, self.host, self.port)
        return self.proxy

    def timeouts(self, expires: float) -> dict[str, float]:
        """Return the timeouts of the next request in seconds, none beyond *expires*."""
        left = min(max(expires - time.monotonic(), 0.001), FOREVER)
        connect, read = min(self.connect_timeout, left), min(self.read_timeout, left)
        return {"connect": connect, "read": read, "write": read, "pool": connect}


def route_to(address: Address, options: Options) -> Route:
    """Return the route to the gateway at *address*.

    Raises:
        ConfigurationError: Options contradict each other.
    """
    certificate = options.client_cert
    tls = TLS(
        verify=options.verify,
        ca_file=None if options.ca_file is None else os.fspath(options.ca_file),
        ca_path=None if options.ca_path is None else os.fspath(options.ca_path),
        ca_data=options.ca_data,
        client_cert=None if certificate is None else tuple(os.fspath(path) for path in certificate),
        context=options.ssl_context,
        server_hostname=options.server_hostname,
    )
    if tls.context is not None and tls != TLS(
        context=tls.context, server_hostname=tls.server_hostname
    ):
        raise ConfigurationError("An ssl_context brings all of its TLS options.", key="ssl_context")
    proxy = options.proxy
    is_foreign = options.transport is not None or options.http_client is not None
    if is_foreign and (tls != TLS() or proxy not in {"env", None}):
        raise ConfigurationError(
            "A transport or client of your own brings its own TLS and proxy.", key="transport"
        )
    return Route(
        scheme=address.scheme,
        host=address.host,
        port=address.port,
        tls=tls,
        proxy=proxy if proxy is None or proxy == "env" else proxy_of_option(proxy),
        connect_timeout=options.connect_timeout or 10.0,
        read_timeout=options.read_timeout or 10.0,
    )


def seconds_left(expires: float) -> float | None:
    """Return the seconds until *expires*, as asyncio takes them: None is no limit."""
    return None if math.isinf(expires) else max(expires - time.monotonic(), 0)


def proxy_of_option(proxy: str) -> str:
    """Return *proxy* as a URL; without a scheme it is ``http``.

    Raises:
        ConfigurationError: It is neither an HTTP nor an HTTPS proxy. The message does not
            show it, because it may hold a password.
    """
    url = proxy if "://" in proxy else f"http://{proxy}"
    if not _is_usable(url):
        raise ConfigurationError(
            "proxy: expecting [http[s]://][user:password@]host[:port]", key="proxy"
        )
    return url


def proxy_of_environment(scheme: str, host: str, port: int) -> str | None:
    """Return the proxy that the environment has for a gateway, None for a direct connection.

    ``http_proxy`` or ``https_proxy`` wins over ``all_proxy``, lower case over upper case,
    and ``no_proxy`` over all of them. A proxy that cannot be used (SOCKS, an unreadable
    URL) is a warning and a direct connection: a job that does not know about the variable
    would not push at all otherwise.
    """
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    if "REQUEST_METHOD" in os.environ:
        names.remove("HTTP_PROXY") if scheme == "http" else None  # a CGI client's header
    name = next((name for name in names if name in os.environ), None)
    value = os.environ[name].strip() if name is not None else ""
    if not value or _is_direct(host, port):
        return None
    url = value if "://" in value else f"http://{value}"
    if not _is_usable(url):
        warn_once(f"${name} is not the URL of an HTTP proxy: pushing without a proxy.")
        return None
    return url


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname)
        return usable and (parts.port is None or parts.port > 0)
    except ValueError:  # the port, or the brackets of an IPv6 address
        return False


def _is_direct(host: str, port: int) -> bool:
    """Return whether ``no_proxy`` has an entry for the gateway.

    An entry is ``*``, a domain (its subdomains included), an IP address or a network in
    CIDR notation; domains and addresses may have a port.
    """
    listed = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
    host = host.lower().rstrip(".")
    address = _address(host)
    for entry in listed.lower().replace(",", " ").split():
        if entry == "*":
            return True
        match = _ENTRY.fullmatch(entry)
        name, number = (match[1], match[2]) if match else (entry, None)
        if number is not None and int(number) != port:
            continue
        name = name.strip("[]").lstrip("*").strip(".")
        if address is None:
            if name and (host == name or host.endswith(f".{name}")):
                return True
        elif _covers(name, address):
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _covers(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
