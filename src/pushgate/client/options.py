"""The options of a gateway, each declared once: argument, type, default, meaning, property.

:class:`Options` is the signature of :class:`~pushgate.PushGateway` and of its ``replace``.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from inspect import Parameter, Signature, signature
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    NamedTuple,
    ParamSpec,
    Self,
    TypeVar,
    get_args,
    get_origin,
)

from pushgate.client.address import UrlEncoding
from pushgate.client.collect import Collector, Multiprocess
from pushgate.client.retry import Retry
from pushgate.errors import ConfigurationError
from pushgate.log import log_once
from pushgate.properties import PrometheusProperties
from pushgate.properties.files import FilePath, read_text
from pushgate.properties.schema import (
    OWN,
    PUSH_PROPERTIES,
    Compression,
    EscapingScheme,
    Format,
    OwnProperties,
    Scheme,
)

if TYPE_CHECKING:  # slow to import, and rarely needed
    import ssl

    import httpx2

OnEmpty = Literal["warn", "skip", "error"]
Header = str | Callable[[], str]
TokenSource = str | Callable[[], str | Awaitable[str]]
# A program that gives one of these is not configured by properties about connections, or about
# credentials: they would contradict it.
_CONNECTION = ("ssl_context", "transport", "http_client")
_CREDENTIALS = ("basic_auth", "bearer_token", "bearer_token_file")
_TLS = ("verify", "ca_file", "ca_path", "ca_data", "client_cert")
# By type: what values must be instances of, and the same in words for the error.
_KINDS: Mapping[Any, tuple[Any, str]] = {
    str | None: (str, "text"),
    bool: (bool, "True or False"),
    float | None: (float, "seconds"),
    FilePath | None: ((str, os.PathLike), "a path"),
}


class _About(NamedTuple):
    """The declaration of an option, besides its name, type and default.

    Attributes:
        doc: What it means, for documentation and ``help()``.
        setting: The last part of the property that sets it, unless that is its own name.
        property: The property in full, empty if there is none.
        kinds: What a value other than None is an instance of, unless the type says it.
        takes_none: Whether the type allows None; that of one written as text is not looked at.
        expected: The same in words, for the error.
        choices: All values there are; unless given, those of the Literal that is its type.
        read: Makes the argument of a ``pushgate`` property; unless given, they are the same.
        unless: Options that, when given, make that property ignored.
    """

    doc: str
    setting: str = ""
    property: str = ""
    kinds: Any = object
    takes_none: bool = False
    expected: str = ""
    choices: tuple[Any, ...] = ()
    read: Callable[[Any, OwnProperties], Any] | None = None
    unless: tuple[str, ...] = ()


def option(default: Any, doc: str, **about: Any) -> Any:
    """Declare an option; *about* are the other attributes of its :class:`_About`."""
    return field(default=default, metadata={"about": _About(doc, **about)})


def _user_and_password(path: str, _: OwnProperties) -> tuple[str, str]:
    key = "pushgate.basic_auth_file"
    user, separator, password = _text_of(path, key).strip().partition(":")
    if not separator:
        raise ConfigurationError(f"{key}: expecting user:password in {path}", key=key)
    return user, password


def _headers_in(path: str, _: OwnProperties) -> dict[str, str]:
    key = "pushgate.headers_file"
    headers: dict[str, str] = {}
    for number, line in enumerate(_text_of(path, key).splitlines(), 1):
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
        elif name.strip():  # not shown, because it may be a secret
            where = f"{key}: {path}, line {number}"
            raise ConfigurationError(f"{where}: expecting Name: value", key=key)
    return headers


def _text_of(path: str, key: str) -> str:
    try:
        return read_text(path)
    except OSError as error:
        message = f"{key}: {path} cannot be read: {error.strerror}"
        raise ConfigurationError(message, key=key) from error


# Without slots, which double the time to define so many fields. A repr would show credentials.
@dataclass(frozen=True, eq=False, repr=False)
class Options:
    """The options as a program gives them; :meth:`effective` adds the properties.

    Raises:
        ConfigurationError: A value has the wrong type, or is none of the choices.
    """

    address: str | None = option(
        None,
        "``host:port``, optionally with a path, or a URL, optionally with"
        " ``user:password@``. Defaults to ``localhost:9091``.",
        expected="text such as 'gateway:9091'",
    )
    _: KW_ONLY
    job: str | None = option(
        None, "The ``job`` of the group. Defaults to the name of the running program."
    )
    scheme: Scheme | None = option(
        None,
        "``http`` or ``https``, for an address without a scheme.",
        kinds=str,  # the address has the last word, and the better message
        expected="text",
    )
    grouping_key: Mapping[str, object] | None = option(
        None,
        "Further labels of the group. Values are converted to text.",
        kinds=Mapping,
        expected="a mapping of label names to values",
    )
    instance: str | None = option(
        None,
        "The ``instance`` of the group: ``ip``, ``hostname``, ``fqdn``, or any other text. For"
        " ``ip`` and ``fqdn``, making the gateway waits for the resolver; if that takes six"
        " seconds, it is the ``hostname``.",
    )
    registry: Collector | None = option(
        None,
        "What to push. Defaults to ``prometheus_client.REGISTRY``.",
        kinds=Collector,
        expected="a registry, or another object with collect()",
    )
    include_default_collectors: bool = option(
        False, "Also push the default registry's metrics about the process and the interpreter."
    )
    multiprocess: Multiprocess = option(
        "auto",
        "Whether to push the sum of all processes. ``auto`` does so if"
        " ``PROMETHEUS_MULTIPROC_DIR`` is set and no registry is given.",
        choices=("auto", True, False),
    )
    format: Format = option(
        "auto", "``auto`` sends protobuf, and text once the gateway turns out not to read protobuf."
    )
    escaping_scheme: EscapingScheme | None = option(
        None, "How to write names beyond the classic data model. Defaults to ``underscores``."
    )
    include_created: bool = option(False, "Also push creation times, as ``_created`` gauges.")
    timestamps: Literal["error", "strip"] = option(
        "error", "``strip`` removes the timestamps of samples, which gateways refuse."
    )
    on_label_clash: Literal["error", "allow"] = option(
        "error", "What to do if a metric has a label of the group: the gateway would overwrite it."
    )
    on_empty: OnEmpty = option("warn", "What to do if there is nothing to push.")
    apply_filter: bool = option(
        False, "Whether to apply the ``io.prometheus.exporter.filter`` properties."
    )
    enabled: bool = option(True, "False turns every push off, for laptops and tests.")
    basic_auth: tuple[str, str] | None = option(
        None,
        "User and password.",
        kinds=tuple | list,
        expected="(user, password)",
        setting="basic_auth_file",
        read=_user_and_password,
        unless=_CREDENTIALS,
    )
    bearer_token: TokenSource | None = option(
        None,
        "A token, or a function or coroutine function that returns one.",
        kinds=(str, Callable),
        expected="text or a function",
        unless=_CREDENTIALS,
    )
    bearer_token_file: FilePath | None = option(
        None,
        "A file that contains a token. It is read again when it changes; a pipe is read once, and"
        " its writer has to finish within five seconds.",
        unless=_CREDENTIALS,
    )
    headers: Mapping[str, Header] | None = option(
        None,
        "Further headers. A value may be a function.",
        kinds=Mapping,
        expected="a mapping of names to values",
        setting="headers_file",
        read=_headers_in,
    )
    verify: bool = option(
        True,
        "False accepts any certificate.",
        expected="True or False; a file of authorities is ca_file=",
        unless=_CONNECTION,
    )
    ca_file: FilePath | None = option(
        None,
        "PEM file of the authorities to trust, instead of the system's; or a pipe, as for a token.",
        unless=_CONNECTION,
    )
    ca_path: FilePath | None = option(
        None,
        "Directories of such files, named as by OpenSSL's ``rehash``, with colons in between.",
    )
    ca_data: str | bytes | None = option(
        None, "The certificates themselves.", kinds=(str, bytes), expected="PEM text or DER bytes"
    )
    client_cert: tuple[FilePath, ...] | None = option(
        None,
        "Files of certificate and key, and the key's password if it has one.",
        kinds=tuple | list,
        expected="(certificate, key)",
        read=lambda certificate, own: (certificate, own.client_key or certificate),
        unless=_CONNECTION,
    )
    ssl_context: "ssl.SSLContext | None" = option(None, "Replaces all the TLS options above.")
    server_hostname: str | None = option(
        None, "The name to request and verify in TLS, if it differs from the host."
    )
    proxy: str | None = option(
        "env",
        "URL of an HTTP proxy. ``env`` reads ``HTTP_PROXY`` and the like as curl does. None"
        " connects directly.",
        expected="a URL, 'env' or None",
        unless=_CONNECTION,
    )
    connect_timeout: float | None = option(
        None, "Seconds to connect. Defaults to 10.", setting="connect_timeout_seconds"
    )
    read_timeout: float | None = option(
        None,
        "Seconds without a byte of the answer. Defaults to 10.",
        setting="read_timeout_seconds",
    )
    deadline: float | None = option(
        30.0,
        "Seconds for a push with all its attempts. None sets no limit.",
        setting="deadline_seconds",
    )
    retry: Retry | int = option(
        Retry(),
        "A :class:`Retry`, or the number of retries.",
        kinds=(Retry, int),
        expected="a Retry, or the number of retries",
        setting="retries",
    )
    compression: Compression | None = option(
        None, "``gzip``, ``snappy`` (``pip install cramjam``), or None."
    )
    url_encoding: UrlEncoding = option(
        "base64", "``percent`` is for a gateway that does not know ``@base64``."
    )
    transport: "httpx2.BaseTransport | httpx2.AsyncBaseTransport | None" = option(
        None, "An httpx2 transport to use instead of the gateway's own connections."
    )
    http_client: "httpx2.Client | httpx2.AsyncClient | None" = option(
        None, "An httpx2 client to use instead of the gateway's own connections. It is not closed."
    )
    properties: PrometheusProperties | Mapping[str, str] | Literal[False] | None = option(
        None,
        "Runtime configuration. None uses that of the process, a mapping overrides parts of it,"
        " False ignores it.",
    )

    def __post_init__(self) -> None:
        for name, about in ABOUT.items():
            value = getattr(self, name)
            if about.choices and value not in about.choices:
                expected = ", ".join(repr(choice) for choice in about.choices)
                raise ConfigurationError(f"{name}: expecting one of {expected}", key=name)
            if about.kinds is float:
                checked_seconds(name, value)
            # None would be taken for False, and verify=None for an order not to verify.
            elif value is not None or not about.takes_none:
                # A bool is an int to isinstance, but no number of retries.
                stray_bool = isinstance(value, bool) and about.kinds not in {bool, object}
                if stray_bool or not isinstance(value, about.kinds):
                    raise wrong_type(name, about.expected, value)
        if self.basic_auth is not None and [type(part) for part in self.basic_auth] != [str, str]:
            raise ConfigurationError("basic_auth: expecting (user, password)", key="basic_auth")
        certificate = self.client_cert
        if certificate is not None and not (
            len(certificate) in {2, 3}
            and all(isinstance(path, str | os.PathLike) for path in certificate[:2])
        ):
            raise ConfigurationError(
                "client_cert: expecting (certificate, key) or (certificate, key, password)",
                key="client_cert",
            )
        if isinstance(self.retry, int) and self.retry < 0:
            raise ConfigurationError(
                "retry: the number of retries must not be negative.", key="retry"
            )
        if not isinstance(self.properties, PrometheusProperties | Mapping | None) and (
            self.properties is not False
        ):
            raise wrong_type("properties", "a mapping, False or None", self.properties)
        self._refuse_contradictions()
        # The caller may change its own mappings later, and a gateway is immutable. The class is
        # frozen, so that only this way is left.
        for name, copy in (("grouping_key", dict), ("headers", dict), ("client_cert", tuple)):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, copy(value))

    def _refuse_contradictions(self) -> None:
        given = self.given()
        if self.ssl_context is not None:
            import ssl

            if not isinstance(self.ssl_context, ssl.SSLContext):
                raise wrong_type("ssl_context", "an ssl.SSLContext", self.ssl_context)
            if not given.isdisjoint(_TLS):
                raise ConfigurationError(
                    "ssl_context replaces the other TLS options: give one or the others.",
                    key="ssl_context",
                )
        own_connection = {*_TLS, "ssl_context", "server_hostname"}
        if not given.isdisjoint({"transport", "http_client"}) and (
            not given.isdisjoint(own_connection) or self.proxy not in {"env", None}
        ):
            raise ConfigurationError(
                "A transport or an HTTP client has TLS and a proxy of its own: drop those options.",
                key="transport",
            )

    def arguments(self) -> dict[str, Any]:
        """Return the options by name, as the constructor takes them."""
        return {name: getattr(self, name) for name in ABOUT}

    def given(self) -> set[str]:
        """Return the names of the options that are not at their default."""
        return {each.name for each in fields(self) if getattr(self, each.name) != each.default}

    def source_of(self, key: str, properties: PrometheusProperties) -> str:
        """Return where *properties* got the value of the option or property *key*.

        Empty if an argument sets it.
        """
        name = ABOUT[key].property if key in ABOUT else key
        section, _, setting = name.rpartition(".")
        values = properties.own if section == OWN else properties.pushgateway
        if getattr(values, setting, None) is None or (section == OWN and key in self.given()):
            return ""
        return properties.origins.get(name, "")

    def effective(self, properties: PrometheusProperties) -> Self:
        """Return the options combined with *properties*.

        ``io.prometheus`` properties override arguments, as in client_java, so that operators can
        change what a program says. Our own (``pushgate.…``) only replace defaults.
        """
        given = self.given()
        if "instance" in (self.grouping_key or ()):
            given.add("instance")
        # These are credentials, too, and a gateway takes one kind only.
        names = {name.lower() for name in self.headers or ()}
        if "authorization" in names or "@" in (self.address or ""):
            given.add("basic_auth")
        changes: dict[str, Any] = {}
        for name, about in ABOUT.items():
            section, _, setting = about.property.rpartition(".")
            if section == OWN:
                value = getattr(properties.own, setting)
                if value is not None and name not in given and given.isdisjoint(about.unless):
                    changes[name] = about.read(value, properties.own) if about.read else value
            elif section:
                runtime, argument = getattr(properties.pushgateway, setting), getattr(self, name)
                if runtime is None:
                    continue
                changes[name] = runtime
                if argument not in {None, runtime}:
                    origin = properties.origins.get(about.property, "the properties given by code")
                    log_once("info", f"{name}= is overridden by {origin}")
        return replace(self, **changes)


def _complete(name: str, about: _About, annotation: Any) -> _About:
    """Return *about*, completed by the name and the type of the option."""
    parts = (annotation, *get_args(annotation))
    about = about._replace(
        property=PUSH_PROPERTIES.get(about.setting or name, ""), takes_none=NoneType in parts
    )
    if about.choices or about.kinds is not object:
        return about
    if annotation in _KINDS:
        kinds, expected = _KINDS[annotation]
        return about._replace(kinds=kinds, expected=about.expected or expected)
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    # The False of properties= stands beside types, so that it is not one of a few words.
    if words in ([], [False]):
        return about
    return about._replace(choices=(*words, None) if about.takes_none else tuple(words))


ABOUT: Mapping[str, _About] = {
    each.name: _complete(each.name, each.metadata["about"], each.type) for each in fields(Options)
}


def checked_seconds(name: str, value: float | None) -> float | None:
    """Return *value*, the seconds of option *name*; None is no limit.

    Raises:
        ConfigurationError: It is not a number above 0.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(name, "seconds", value)
    if not value > 0:
        raise ConfigurationError(f"{name}: expecting seconds above 0, found {value}", key=name)
    return value


def wrong_type(name: str, expected: str, value: object) -> ConfigurationError:
    """Return the error for a *value* of the wrong type, without the value: it may be a secret."""
    return ConfigurationError(
        f"{name}: expecting {expected}, found {type(value).__name__}", key=name
    )


_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def takes_options(
    _: Callable[_Arguments, Options],
) -> Callable[[Callable[..., _Result]], Callable[Concatenate[Any, _Arguments], _Result]]:
    """Return a decorator that gives a method the arguments of :class:`Options`.

    Type checkers, editors and ``help()`` then see each option with its type and default.
    """

    def decorate(method: Callable[..., _Result]) -> Callable[Concatenate[Any, _Arguments], _Result]:
        this = Parameter("self", Parameter.POSITIONAL_ONLY)
        parameters = [this, *signature(Options).parameters.values()]
        method.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return method

    return decorate


def described_options() -> str:
    """Return the options as the ``Args:`` of a docstring."""
    lines = [f"    {name}: {about.doc}" for name, about in ABOUT.items()]
    return "\n".join(["Args:", *lines])
