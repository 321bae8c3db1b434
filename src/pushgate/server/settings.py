"""The server's settings, each declared once.

A field of :class:`Settings` is a flag (``web_listen_address`` is ``--web.listen-address``), its
line in ``--help`` and docs/flags.md, and its row on the status page.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from pushgate.errors import UsageError
from pushgate.model.names import NameRule
from pushgate.server import flags
from pushgate.server.flags import Flag, Kind, Network, read_arguments
from pushgate.server.version import BUILD


def _flag(kind: Kind, help_: str, default: str = "", *, name: str = "") -> Any:
    flag = Flag(name, kind, default, help_)
    return field(default=flag.default_value, metadata={"flag": flag})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of all flags. Sizes are bytes, durations nanoseconds; 0 disables a limit."""

    web_systemd_socket: bool = _flag(
        flags.SWITCH,
        "Use systemd socket activation listeners instead of port listeners (Linux only).",
    )
    web_listen_address: tuple[str, ...] = _flag(
        flags.TEXTS,
        "Addresses on which to expose metrics and web interface. Repeatable for multiple "
        "addresses. Examples: `:9100` or `[::1]:9100`.",
        ":9091",
    )
    web_reuse_port: bool = _flag(
        flags.SWITCH,
        "Share the ports with other processes of the same user that set this flag. For replicas "
        "that share a database; see docs/replicas.md.",
    )
    web_config_file: str = _flag(
        flags.TEXT,
        "Path to configuration file that can enable TLS or authentication; see docs/web-config.md.",
        name="web.config.file",
    )
    web_telemetry_path: str = _flag(flags.TEXT, "Path under which to expose metrics.", "/metrics")
    web_external_url: str = _flag(
        flags.URL, "The URL under which the Pushgateway is externally reachable."
    )
    web_route_prefix: str = _flag(
        flags.TEXT,
        "Prefix for the internal routes of web endpoints. Defaults to the path of "
        "--web.external-url.",
    )
    web_trusted_proxies: tuple[Network, ...] = _flag(
        flags.NETWORKS,
        "Addresses (comma-separated CIDRs) of reverse proxies whose X-Forwarded-Host and "
        "X-Forwarded-Proto headers are trusted. Peers of Unix sockets always are.",
    )
    web_enable_lifecycle: bool = _flag(flags.SWITCH, "Enable shutdown via HTTP request.")
    web_enable_admin_api: bool = _flag(
        flags.SWITCH, "Enable API endpoints for admin control actions."
    )
    web_shutdown_timeout: int = _flag(
        flags.DURATION, "How long to wait for requests in flight when stopping.", "10s"
    )
    persistence_file: str = _flag(
        flags.TEXT,
        "File to persist metrics. If empty, metrics are only kept in memory.",
        "data/pushgate.db",
    )
    persistence_url: str = _flag(
        flags.DATABASE,
        "PostgreSQL database to persist metrics in, instead of a file: "
        "postgresql://user@host/name. Any number of servers may share one. Use the variable "
        "PUSHGATE_PERSISTENCE_URL to keep a password out of the command line.",
    )
    persistence_max_staleness: int = _flag(
        flags.DURATION,
        "How long metrics are served from memory while the database does not answer.",
        "5m",
    )
    persistence_interval: int = _flag(
        flags.DURATION,
        "Accepted for compatibility, but has no effect: every push is on disk before it is "
        "answered.",
        "5m",
    )
    persistence_wait: int = _flag(
        flags.DURATION,
        "How long to wait at startup for another process to release the persistence file, for "
        "rolling restarts.",
        "0s",
    )
    persistence_reset_damaged: bool = _flag(
        flags.SWITCH,
        "Move a damaged persistence file aside and start empty, instead of refusing to start.",
    )
    push_disable_consistency_check: bool = _flag(
        flags.SWITCH, "Answer pushes with 202 before they are checked, and drop inconsistent ones."
    )
    push_enable_utf8_names: bool = _flag(
        flags.SWITCH, "Allow UTF-8 characters in metric and label names."
    )
    push_rules_file: str = _flag(
        flags.TEXT,
        "File of rules that say how long groups are kept and how often pushes are expected. See "
        "docs/rules.md.",
    )
    push_ttl: int = _flag(
        flags.DURATION,
        "How long groups without a rule keep their metrics after their last push; 0s is forever.",
        "0s",
    )
    push_forget_after: int = _flag(
        flags.DURATION,
        "How long groups without a rule keep their push times after their last push or failure; "
        "0s is forever.",
        "0s",
    )
    limit_body_bytes: int = _flag(flags.SIZE, "Maximum size of a request body as sent.", "32MiB")
    limit_decompressed_bytes: int = _flag(
        flags.SIZE,
        "Maximum size of a request body after decompression, and of what an exposition repeats "
        "of it: grouping labels and names in each line.",
        "64MiB",
    )
    limit_held_bytes: int = _flag(
        flags.SIZE,
        "Maximum total size of the requests that are being received, and of the old versions of "
        "the metrics that clients are still reading. Bodies up to 64 KiB may take as much again.",
        "128MiB",
    )
    limit_series_per_push: int = _flag(
        flags.COUNT, "Maximum number of series in one push.", "100000"
    )
    limit_label_name_bytes: int = _flag(flags.SIZE, "Maximum length of a label name.", "1KiB")
    limit_label_value_bytes: int = _flag(
        flags.SIZE,
        "Maximum length of a label value. A line, or a protobuf field, can be 16 times as long.",
        "64KiB",
    )
    limit_labels_per_series: int = _flag(
        flags.COUNT,
        "Maximum number of labels of a series, including those of its grouping key.",
        "256",
    )
    limit_groups: int = _flag(flags.COUNT, "Maximum number of groups stored.", "1000000")
    limit_series: int = _flag(flags.COUNT, "Maximum number of series stored.", "10000000")
    limit_header_seconds: int = _flag(
        flags.COUNT, "Seconds that a client has to send the headers of a request.", "10"
    )
    limit_body_seconds: int = _flag(
        flags.COUNT, "Seconds that a client has to send the body of a request.", "120"
    )
    limit_idle_seconds: int = _flag(
        flags.COUNT,
        "Seconds after which a connection is closed if it is idle or its client does not read.",
        "300",
    )
    limit_connections: int = _flag(flags.COUNT, "Maximum number of open connections.", "10000")
    limit_pushes_in_flight: int = _flag(
        flags.COUNT, "Maximum number of pushes waiting to be answered.", "1000"
    )
    log_level: str = _flag(
        flags.LOG_LEVEL,
        "Only log messages with the given severity or above. One of: [debug, info, warn, error]",
        "info",
    )
    log_format: str = _flag(
        flags.LOG_FORMAT, "Output format of log messages. One of: [logfmt, json]", "logfmt"
    )
    given: frozenset[str] = frozenset()
    """The fields set on the command line, even those set to their defaults."""

    @property
    def route_prefix(self) -> str:
        """The prefix of every route: empty, or with a leading and without a trailing slash."""
        return _prefix(self.web_route_prefix or self._external_path)

    @property
    def external_prefix(self) -> str:
        """The prefix of all paths in links; differs from the route prefix behind some proxies."""
        return _prefix(self._external_path)

    @property
    def telemetry_path(self) -> str:
        """The normalized path of the exposition, including the route prefix."""
        # Go's path.Join. For POSIX, two slashes at the start mean something of their own.
        joined = "/".join(filter(None, (self.route_prefix, self.web_telemetry_path)))
        clean = posixpath.normpath(joined) if joined else ""
        return clean.removeprefix("/") if clean.startswith("//") else clean

    @property
    def _external_path(self) -> str:
        # Go's URL.Path is decoded, and so are the paths of an ASGI scope.
        return unquote(urlsplit(self.web_external_url).path)

    @property
    def name_rule(self) -> NameRule:
        """Which names of metrics and labels are accepted."""
        return NameRule.UTF8 if self.push_enable_utf8_names else NameRule.LEGACY

    def rows(self) -> dict[str, str]:
        """Return the values of all flags as the status API shows them, sorted by flag."""
        rows = {flag.name: flag.text(getattr(self, name)) for name, flag in FLAGS.items()}
        rows["web.route-prefix"] = self.route_prefix
        return dict(sorted(rows.items()))

    @property
    def changed(self) -> frozenset[str]:
        """The names of the flags that were set to something else than their default."""
        return frozenset(
            flag.name
            for name, flag in FLAGS.items()
            if name in self.given and getattr(self, name) != flag.default_value
        )


def _prefix(path: str) -> str:
    if path in ("", "/"):
        return ""
    return "/" + path.removeprefix("/").removesuffix("/")


def _declared(declared: Field[Any]) -> Flag:
    """Return the flag of a field: ``web_listen_address`` is ``web.listen-address``."""
    flag: Flag = declared.metadata["flag"]
    return replace(flag, name=flag.name or declared.name.replace("_", ".", 1).replace("_", "-"))


FLAGS = {field_.name: _declared(field_) for field_ in fields(Settings) if field_.metadata}
"""Every flag by its field, in the order of ``--help``."""


def parse(argv: Sequence[str], prog: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings that the arguments *argv* (without the program's name) ask for.

    ``PUSHGATE_PERSISTENCE_URL`` in *environ* stands for ``--persistence.url``.

    Raises:
        UsageError: *argv* is wrong; the message is the whole line for stderr, exit status 1.
        TextRequested: *argv* asks for help or the version.

    """
    values = read_arguments(argv, prog, FLAGS, version_text(prog))
    url = (environ or {}).get(_URL_VARIABLE, "")
    try:
        if url and "persistence_url" not in values:
            values["persistence_url"] = flags.DATABASE.read(url)
        settings = Settings(**values, given=frozenset(values))
        _check(settings)
    except ValueError as error:
        raise UsageError(f"{prog}: error: {error}, try --help") from error
    return settings


_URL_VARIABLE = "PUSHGATE_PERSISTENCE_URL"


def _check(settings: Settings) -> None:
    """Raise ValueError if settings are out of range or do not fit together."""
    if settings.persistence_url and "persistence_file" in settings.given:
        raise ValueError(
            "metrics are persisted either in --persistence.file or in the database that "
            f"--persistence.url or {_URL_VARIABLE} names: leave one of them out"
        )
    if settings.persistence_max_staleness < 0:
        raise ValueError("--persistence.max-staleness may not be negative")
    if settings.push_ttl < 0 or settings.push_forget_after < 0:
        raise ValueError("--push.ttl and --push.forget-after may not be negative")
    if 0 < settings.push_forget_after < settings.push_ttl:
        raise ValueError("--push.forget-after may not be shorter than --push.ttl")
    path = settings.telemetry_path
    if not path.startswith("/"):
        raise ValueError(f'--web.telemetry-path must start with "/", got "{path}"')


def version_text(prog: str) -> str:
    """Return what ``--version`` prints."""
    origin = f"(branch: {BUILD.branch}, revision: {BUILD.revision})"
    return (
        f"{prog}, version {BUILD.version} {origin}\n"
        f"  python version:   {BUILD.python}\n"
        f"  platform:         {BUILD.platform}\n"
        f"  tags:             {BUILD.tags}\n"
    )
