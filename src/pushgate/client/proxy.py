"""Which proxy leads to the gateway: an option, or the environment as curl reads it."""

import ipaddress
import os
import re
from urllib.parse import urlsplit

from pushgate.client.warning import warn_once
from pushgate.errors import ConfigurationError

# host, host:port, [IPv6]:port; a bare IPv6 address does not match.
_ENTRY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?")


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
