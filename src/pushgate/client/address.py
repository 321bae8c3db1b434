"""The gateway's address, the group, and the URL made of both."""

import base64
import os
import re
import socket
import sys
from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote

from pushgate.client.escaping import escape_name
from pushgate.client.resolving import addresses_of, is_numeric, within
from pushgate.errors import ConfigurationError
from pushgate.log import warn_once
from pushgate.model.names import LEGACY_LABEL

DEFAULT_ADDRESS = "localhost:9091"
UNKNOWN_JOB = "unknown_job"
UrlEncoding = Literal["base64", "percent"]
# A second name server, which is asked after five seconds, still has one to answer.
_RESOLVER_SECONDS = 6.0

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/?#\[\]@\\]+)(?::(\d+))?")
DEFAULT_PORTS = {"http": 80, "https": 443}
# These cannot be percent-encoded: servers split and resolve the decoded path, so that a value
# of ".." would name another group.
_NEEDS_BASE64 = re.compile(r"[/\\\x00-\x1f\x7f-\x9f]|\A\.{1,2}\Z")
# A UUID, or seconds or milliseconds since 1970 between 2017 and 2033. Compiled at first use: many
# groups have only a job.
_LOOKS_UNIQUE = r"(?i)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|1[5-9]\d{8}(?:\d{3}|\.\d+)?"


class Address(NamedTuple):
    """A gateway: its base URL, and the credentials the address carried."""

    scheme: str
    host: str
    port: int
    base: str
    """``scheme://host:port/path`` without a trailing slash and without credentials."""
    credentials: tuple[str, str] | None


def parse_address(address: str, scheme: str | None = None) -> Address:
    """Return the gateway that *address* names.

    Args:
        address: ``host``, ``host:port``, either with a path, or a whole URL. The port is
            that of the scheme unless given, as in client_java. A user and a password in it
            are percent-decoded.
        scheme: ``http`` or ``https``, if the address has none.

    Raises:
        ConfigurationError: Never with the address in it, which may hold a password.
    """
    address = address.strip()  # a blank behind the value in a file of properties belongs to it
    written = _SCHEME.match(address)
    used = written[1].lower() if written else scheme or "http"
    if used not in DEFAULT_PORTS:
        raise ConfigurationError("Illegal scheme. Expecting 'http' or 'https'.", key="scheme")
    if written and scheme is not None and scheme != used:
        raise ConfigurationError(
            f"The address says {used} but the scheme is {scheme}; drop one.", key="scheme"
        )
    # By hand, because urlsplit takes "host:port" for a scheme and a path.
    authority, _, path = address[written.end() if written else 0 :].partition("/")
    userinfo, at, location = authority.rpartition("@")
    match = _AUTHORITY.fullmatch(location)
    if match is None or re.search(r"[\s?#\\]", path):
        raise ConfigurationError(
            "Invalid Pushgateway address. Expecting <host>:<port>", key="address"
        )
    user, _, password = userinfo.partition(":")
    port = int(match[2] or DEFAULT_PORTS[used])
    if not 0 < port < 1 << 16:
        raise ConfigurationError(
            f"Invalid Pushgateway address. Its port is {port}; expecting 1 to 65535", key="address"
        )
    prefix = "".join(f"/{part}" for part in path.split("/") if part)
    return Address(
        scheme=used,
        host=match[1].strip("[]"),
        port=port,
        base=f"{used}://{location}{prefix}",
        # RFC 3986, 3.2.1: an "@" or ":" of a password is percent-encoded.
        credentials=(unquote(user), unquote(password)) if at else None,
    )


def ascii_host(host: str) -> str:
    """Return *host* as it is sent: names in other scripts in IDNA."""
    # The codec is slow to import, so only for those.
    return host if host.isascii() else host.encode("idna").decode()


def job_label(job: object) -> str:
    """Return the ``job`` of a group: *job* as text, or the name of the program if it is None.

    Raises:
        ConfigurationError: It is empty, or no gateway can keep it.
    """
    label = default_job() if job is None else str(job)
    if not label:
        raise ConfigurationError("The job must not be empty.", key="job")
    return _checked_value("job", label)


def group_labels(
    grouping_key: Mapping[str, object], instance: str | None, address: Address
) -> dict[str, str]:
    """Return the labels of a group besides its job as text, sorted by name.

    Warns about values that give each run a group of its own, which gateways keep forever.

    Raises:
        ConfigurationError: For a name or a value that no gateway can keep.
    """
    given = {str(name): value for name, value in grouping_key.items()}
    if instance is not None:
        if "instance" in given:
            raise ConfigurationError(
                "Give instance= or an instance in grouping_key, not both.", key="grouping_key"
            )
        given["instance"] = instance_label(instance, address)
        if instance == "ip" and given["instance"] == socket.gethostname():
            warn_once(
                "The gateway is on this host, or its address is unknown:"
                " instance is the name of this host."
            )
    labels: dict[str, str] = {}
    for name in sorted(given):
        if not name or name == "job" or name.startswith("__") or ":" in name:
            why = "set it with job=" if name == "job" else "it must be a label name"
            raise ConfigurationError(
                f"Illegal name {name!r} in the grouping key: {why}.", key="grouping_key"
            )
        if given[name] is None:
            raise ConfigurationError(
                f"The grouping key has no value for {name!r}: leave it out, or use ''.",
                key="grouping_key",
            )
        value = labels[name] = _checked_value(name, str(given[name]))
        if looks_unique(value):
            shown = f"The value of {name!r} looks different in each run"
            warn_once(f"{shown}, and the gateway keeps a group for each.")
        if not LEGACY_LABEL(name) or name.startswith("U__"):
            warn_once(
                f"The gateway keeps the name {name!r} only with --push.enable-utf8-names;"
                " otherwise the label is called U__…"
            )
    return labels


def _checked_value(name: str, value: str) -> str:
    """Return *value*; raise ConfigurationError if it cannot be a label value."""
    # The Go server keeps no NUL in a label, and a lone surrogate cannot be written as UTF-8.
    if re.search(r"[\x00\ud800-\udfff]", value):
        raise ConfigurationError(
            f"The value of {name!r} contains NUL or a lone surrogate.", key="grouping_key"
        )
    return value


def looks_unique(value: str) -> bool:
    """Return whether *value* is probably different in each run: a UUID, a pid, a time."""
    # In a container, the number of a process is small, and a small number may be that of a shard.
    is_pid = value == str(os.getpid()) and len(value) > 2
    return is_pid or re.fullmatch(_LOOKS_UNIQUE, value) is not None


def push_url(
    base: str,
    job: str,
    labels: Mapping[str, str],
    *,
    encoding: UrlEncoding = "base64",
    blanks_in_base64: bool = False,
) -> str:
    """Return the URL of the group.

    Values are percent-encoded. Those that a path cannot carry are base64url with
    padding; ``encoding="percent"`` is for gateways that do not know this form.
    ``blanks_in_base64`` writes values with blanks as prometheus_client does.

    Raises:
        ConfigurationError: If a value cannot be written without base64.
    """
    url = f"{base}/metrics"
    for label, value in (("job", job), *labels.items()):
        name = label if LEGACY_LABEL(label) else escape_name("label", label, "values")
        needs_base64 = not value or _NEEDS_BASE64.search(value) is not None
        if encoding == "base64" and (needs_base64 or (blanks_in_base64 and " " in value)):
            # An empty segment would end the path: "=" is what the gateway reads as empty.
            url += f"/{name}@base64/{base64.urlsafe_b64encode(value.encode()).decode() or '='}"
        elif value in {"", ".", ".."}:
            raise ConfigurationError(
                f"url_encoding='percent' cannot express the value {value!r} of {name!r}.",
                key="grouping_key",
            )
        else:
            # safe='' because a slash would begin the next label.
            url += f"/{name}/{quote(value, safe='')}"
    return url


def default_job() -> str:
    """Return the name of the running program: module, script, or ``unknown_job``."""
    # Started with ``python -m``, a program has a spec, and its argv[0] is a path to __main__.py.
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return str(spec.name).removesuffix(".__main__")
    script = sys.argv[0] if sys.argv else ""
    name = os.path.basename(script)
    # Once the program has changed its directory, only its __file__ is still a path to it.
    file = str(getattr(main, "__file__", ""))
    if name and (os.path.isfile(script) or file.endswith(f"/{name}")):
        return os.path.splitext(name)[0]
    return UNKNOWN_JOB


def instance_label(kind: str, address: Address) -> str:
    """Return the instance label for *kind*: ``ip``, ``hostname``, ``fqdn``, or the label itself.

    ``ip`` is the source address of packets to the gateway; no packet is sent to find it. A
    resolver that does not answer within six seconds is left behind; the host name takes its place.
    """
    match kind:
        case "ip":
            return _source_address(address) or socket.gethostname()
        case "hostname":
            return socket.gethostname()
        case "fqdn":
            try:
                return within(_RESOLVER_SECONDS, socket.getfqdn)
            except OSError:
                warn_once("The full name of this host is unknown: instance is its short name.")
                return socket.gethostname()
        case text:
            return text


def _source_address(address: Address) -> str | None:
    """Return the address of this host on the way to *address*; None by loopback, or if unknown."""
    try:
        look_up = partial(addresses_of, ascii_host(address.host), address.port)
        found = look_up() if is_numeric(address.host) else within(_RESOLVER_SECONDS, look_up)
        family, _, _, _, target = found[0]
        # Connecting a datagram socket sends nothing, but chooses the route.
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)
            local = str(probe.getsockname()[0])
    except (OSError, UnicodeError):
        return None
    return None if local == "::1" or local.startswith("127.") else local
