"""The options of a gateway, resolved: what code said, what properties say, defaults."""

import logging
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pushgate.client.address import (
    DEFAULT_ADDRESS,
    Address,
    UrlEncoding,
    checked_value,
    default_job,
    group_labels,
    instance_label,
    looks_unique,
    parse_address,
    push_url,
)
from pushgate.client.auth import Credentials, LaterToken, checked_header, credentials_of
from pushgate.client.proxy import proxy_of_option
from pushgate.client.retry import Retry
from pushgate.client.tls import TLS
from pushgate.client.transport import Route
from pushgate.client.warning import log_once, warn_once
from pushgate.errors import ConfigurationError
from pushgate.model.names import LEGACY_LABEL
from pushgate.properties import PrometheusProperties
from pushgate.properties.schema import Compression, EscapingScheme, FilterProperties, Format

Header = str | Callable[[], str]


@dataclass(frozen=True, slots=True)
class Flavor:
    """What kind of gateway it is.

    Attributes:
        text_only: It does not read protobuf.
        url_encoding: How it reads values that do not fit into a path.
        idempotent: The same push twice is the same as once; others add up.
        can_delete: It has DELETE.
    """

    text_only: bool = False
    url_encoding: UrlEncoding = "base64"
    idempotent: bool = True
    can_delete: bool = True


_ADDS_UP = Flavor(text_only=True, url_encoding="percent", idempotent=False, can_delete=False)
FLAVORS: Mapping[str, Flavor] = {
    "pushgateway": Flavor(),
    "aggregation": _ADDS_UP,
    "gravel": _ADDS_UP,
}
# Option, the property that wins over it, and what there is without both.
_JAVA = {
    "address": ("address", DEFAULT_ADDRESS),
    "job": ("job", None),
    "scheme": ("scheme", None),
    "escaping_scheme": ("escaping_scheme", "underscores"),
    "connect_timeout": ("connect_timeout_seconds", 10.0),
    "read_timeout": ("read_timeout_seconds", 10.0),
}
# Defaults that are not None; a keyword that differs was given.
_DEFAULTS: Mapping[str, Any] = {
    "format": "auto",
    "verify": True,
    "proxy": "env",
    "retry": Retry(),
    "deadline": 30.0,
}
_CHOICES: Mapping[str, tuple[str | None, ...]] = {
    "escaping_scheme": get_args(EscapingScheme),
    "format": get_args(Format),
    "timestamps": ("error", "strip"),
    "on_label_clash": ("error", "allow"),
    "on_empty": ("warn", "skip", "error"),
    "compression": (None, *get_args(Compression)),
    "flavor": tuple(FLAVORS),
    "url_encoding": (None, *get_args(UrlEncoding)),
}
# What a value must be an instance of, and how to say so.
_PATH = ((str, os.PathLike), "a path")
_KINDS: Mapping[str, tuple[Any, str]] = {
    "address": (str, "text such as 'gateway:9091'"),
    "scheme": (str, "text"),
    "grouping_key": (Mapping, "a mapping of label names to values"),
    "instance": (str, "text"),
    "basic_auth": (tuple | list, "(user, password)"),
    "bearer_token_file": _PATH,
    "headers": (Mapping, "a mapping of names to values"),
    "verify": (bool, "True or False; a file of authorities is ca_file="),
    "ca_file": _PATH,
    "ca_path": _PATH,
    "ca_data": ((str, bytes), "PEM text or DER bytes"),
    "client_cert": (tuple | list, "(certificate, key)"),
    "server_hostname": (str, "text"),
    "proxy": (str, "a URL, 'env' or None"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a gateway needs to know, checked."""

    address: Address
    job: str
    labels: Mapping[str, str]
    url: str
    format: Format
    escaping: str
    compression: Compression | None
    credentials: Credentials | None
    headers: Mapping[str, Header]
    route: Route
    retry: Retry
    deadline: float | None
    flavor: Flavor
    filter: FilterProperties | None
    enabled: bool

    def header_values(self) -> dict[str, str]:
        """Return the user's headers as they are now."""
        return {
            name: checked_header(name, value() if callable(value) else value)
            for name, value in self.headers.items()
        }

    def authorization(self, *, renew: bool) -> str | LaterToken | None:
        """Return the Authorization header; *renew* says the last one was refused."""
        return self.credentials.header(renew=renew) if self.credentials is not None else None


def settle(options: Mapping[str, Any], properties: PrometheusProperties) -> Settings:
    """Return the settings that keyword *options* and *properties* come to.

    ``io.prometheus`` properties win over keywords, as in client_java; of ours, a keyword
    that is not at its default wins.

    Raises:
        ConfigurationError: An option is wrong, or contradicts another one.
    """
    chosen = {
        **options,
        **_java_settings(options, properties),
        **_own_settings(options, properties),
    }
    _check_types(chosen)
    _check_choices(chosen)
    flavor = FLAVORS[chosen["flavor"]]
    address = parse_address(chosen["address"], chosen["scheme"])
    job, labels = _job(chosen), _labels(chosen, address)
    encoding = chosen["url_encoding"] or flavor.url_encoding
    return Settings(
        address=address,
        job=job,
        labels=labels,
        url=push_url(address.base, job, labels, encoding=encoding),
        format="text" if flavor.text_only else chosen["format"],
        escaping=chosen["escaping_scheme"],
        compression=chosen["compression"],
        credentials=_credentials(chosen, address),
        headers=dict(chosen["headers"] or {}),
        route=_route(chosen, address),
        retry=_retry(chosen["retry"]),
        deadline=seconds("deadline", chosen["deadline"]),
        flavor=flavor,
        filter=properties.filter if chosen["apply_filter"] else None,
        enabled=properties.own.enabled is not False,
    )


def _check_choices(chosen: Mapping[str, Any]) -> None:
    for name, words in _CHOICES.items():
        if chosen[name] not in words:
            expected = ", ".join(repr(word) for word in words)
            raise ConfigurationError(f"{name}: expecting one of {expected}", key=name)
    if FLAVORS[chosen["flavor"]].text_only and chosen["format"] == "protobuf":
        raise ConfigurationError("This flavor of gateway reads text only.", key="format")


def _job(chosen: Mapping[str, Any]) -> str:
    job = default_job() if chosen["job"] is None else str(chosen["job"])
    if not job:
        raise ConfigurationError("The job must not be empty.", key="job")
    return checked_value("job", job)


def _java_settings(options: Mapping[str, Any], properties: PrometheusProperties) -> dict[str, Any]:
    chosen = {}
    for option, (setting, default) in _JAVA.items():
        code = options[option]
        runtime = getattr(properties.pushgateway, setting)
        if setting.endswith("_seconds") and runtime == 0:
            runtime = None  # as in client_java, 0 is "not set"
        if runtime is not None and code is not None and runtime != code:
            key = f"io.prometheus.exporter.pushgateway.{setting}"
            origin = properties.origins.get(key, "the properties given by code")
            log_once(logging.INFO, f"{option}= is overridden by {origin}")
        chosen[option] = next((v for v in (runtime, code, default) if v is not None), None)
    return chosen


def _own_settings(options: Mapping[str, Any], properties: PrometheusProperties) -> dict[str, Any]:
    """Return the keywords at their default that one of our own properties fills in."""
    own = properties.own
    found: dict[str, Any] = {
        "format": own.format,
        "grouping_key": own.grouping_key,
        "compression": own.compression,
        "retry": own.retries,
        "deadline": own.deadline_seconds,
        "headers": own.headers_file and _header_file(own.headers_file),
    }
    if "instance" not in (options["grouping_key"] or ()):
        found["instance"] = own.instance
    # Connections and credentials of the program's own are complete in themselves.
    if all(options[name] is None for name in ("ssl_context", "transport", "http_client")):
        found["ca_file"], found["verify"], found["proxy"] = own.ca_file, own.verify, own.proxy
        if own.client_cert is not None:
            found["client_cert"] = (own.client_cert, own.client_key or own.client_cert)
    if all(options[name] is None for name in ("basic_auth", "bearer_token", "bearer_token_file")):
        found["basic_auth"] = own.basic_auth_file and _pair(own.basic_auth_file)
        found["bearer_token"] = own.bearer_token
        found["bearer_token_file"] = own.bearer_token_file
    return {
        name: value
        for name, value in found.items()
        if value is not None and options[name] == _DEFAULTS.get(name)
    }


def _labels(chosen: Mapping[str, Any], address: Address) -> dict[str, str]:
    given = dict(chosen["grouping_key"] or {})
    if chosen["instance"] is not None:
        if "instance" in given:
            raise ConfigurationError(
                "Give instance= or an instance in grouping_key, not both.", key="instance"
            )
        given["instance"] = instance_label(chosen["instance"], address)
        if chosen["instance"] == "ip" and given["instance"] == socket.gethostname():
            warn_once("No address but loopback leads to the gateway: instance is the host's name.")
    labels = group_labels(given)
    for name, value in labels.items():
        if looks_unique(value):
            warn_once(f"The value of {name!r} looks new in each run: groups are never forgotten.")
        if not LEGACY_LABEL(name) or name.startswith("U__"):
            warn_once(
                f"The gateway keeps the name {name!r} only with --push.enable-utf8-names;"
                " otherwise the label is called U__…"
            )
    return labels


def _credentials(chosen: Mapping[str, Any], address: Address) -> Credentials | None:
    credentials = credentials_of(
        chosen["basic_auth"],
        chosen["bearer_token"],
        chosen["bearer_token_file"],
        address.credentials,
    )
    names = {name.lower() for name in chosen["headers"] or {}}
    if credentials is not None and "authorization" in names:
        raise ConfigurationError(
            "Give the Authorization header or credentials, not both.", key="headers"
        )
    return credentials


def _route(chosen: Mapping[str, Any], address: Address) -> Route:
    tls = TLS(
        verify=chosen["verify"],
        ca_file=_path(chosen["ca_file"]),
        ca_path=_path(chosen["ca_path"]),
        ca_data=chosen["ca_data"],
        client_cert=chosen["client_cert"] and tuple(os.fspath(p) for p in chosen["client_cert"]),
        context=chosen["ssl_context"],
        server_hostname=chosen["server_hostname"],
    )
    if tls.context is not None and tls != TLS(
        context=tls.context, server_hostname=tls.server_hostname
    ):
        raise ConfigurationError("An ssl_context brings all of its TLS options.", key="ssl_context")
    proxy = chosen["proxy"]
    foreign = chosen["transport"] is not None or chosen["http_client"] is not None
    if foreign and (tls != TLS() or proxy not in {"env", None}):
        raise ConfigurationError(
            "A transport or client of your own brings its own TLS and proxy.", key="transport"
        )
    return Route(
        scheme=address.scheme,
        host=address.host,
        port=address.port,
        tls=tls,
        proxy=proxy if proxy in {"env", None} else proxy_of_option(proxy),
        connect_timeout=seconds("connect_timeout", chosen["connect_timeout"]) or 10.0,
        read_timeout=seconds("read_timeout", chosen["read_timeout"]) or 10.0,
    )


def _retry(retry: Retry | int) -> Retry:
    if isinstance(retry, bool) or not isinstance(retry, int | Retry):
        raise _wrong("retry", "a Retry, or the number of retries", retry)
    chosen = Retry(attempts=retry + 1) if isinstance(retry, int) else retry
    if chosen.attempts < 1:
        raise ConfigurationError("retry: the number of retries must not be negative.", key="retry")
    return chosen


def seconds(name: str, value: float | None) -> float | None:
    """Return *value*, the seconds of option *name*, if they can be waited for.

    Raises:
        ConfigurationError: It is no number above 0.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "seconds", value)
    if not value > 0:
        raise ConfigurationError(f"{name}: expecting seconds above 0, found {value}", key=name)
    return value


def _wrong(name: str, expected: str, value: object) -> ConfigurationError:
    """Return the error that *value* has another type; its text may be a secret."""
    return ConfigurationError(
        f"{name}: expecting {expected}, found {type(value).__name__}", key=name
    )


def _check_types(chosen: Mapping[str, Any]) -> None:
    for name, (kinds, expected) in _KINDS.items():
        value = chosen[name]
        if value is not None and not isinstance(value, kinds):
            raise _wrong(name, expected, value)
    pair, files = chosen["basic_auth"], chosen["client_cert"]
    if pair is not None and [type(part) for part in pair] != [str, str]:
        raise ConfigurationError("basic_auth: expecting (user, password)", key="basic_auth")
    if files is not None and len(files) not in {2, 3}:
        raise ConfigurationError(
            "client_cert: expecting (certificate, key) or (certificate, key, password)",
            key="client_cert",
        )


def _path(path: Any) -> str | None:
    return None if path is None else os.fspath(path)


def _read(path: str, key: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{key}: the file cannot be read", key=key) from error


def _pair(path: str) -> tuple[str, str]:
    user, _, password = _read(path, "pushgate.basic_auth_file").strip().partition(":")
    return user, password


def _header_file(path: str) -> dict[str, str]:
    lines = _read(path, "pushgate.headers_file").splitlines()
    pairs = [line.partition(":") for line in lines if line.strip()]
    return {name.strip(): value.strip() for name, _, value in pairs}
