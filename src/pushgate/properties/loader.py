"""The sources of properties, and which of them wins.

Highest first: a mapping given by code, the environment, system properties, the file
that ``PROMETHEUS_CONFIG`` names, and ``prometheus.properties`` beside the program.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pushgate.errors import ConfigurationError
from pushgate.log import log
from pushgate.properties import grammar
from pushgate.properties.files import FilePath, read_file
from pushgate.properties.schema import (
    METRICS,
    OWN,
    PUSH_PROPERTIES,
    READERS,
    SECTIONS,
    ExemplarProperties,
    FilterProperties,
    MetricProperties,
    OwnProperties,
    PushgatewayProperties,
    check,
)

FILE_NAME = "prometheus.properties"
_JAVAS = ("io.prometheus", "io_prometheus")
# Variables of ours that are no properties.
_OTHER_VARIABLES = {"pushgate_strict", "pushgate_metrics_file"}
# Variables are taken for misspelled from this ratio of difflib's on. PUSHGATE_PORT and the like,
# which Kubernetes sets for a service called pushgate, are below it.
_NEAR_MISS = 0.7


class Name(NamedTuple):
    """Which setting a key means: section prefix, metric (or empty), setting."""

    section: str
    metric: str
    setting: str

    @property
    def prefix(self) -> str:
        """The key without the setting."""
        return f"{self.section}.{self.metric}" if self.metric else self.section

    @property
    def key(self) -> str:
        """The key in full, as a file writes it."""
        return f"{self.prefix}.{self.setting}"


# Every key, with the separator of files and that of variables.
_KNOWN = {
    separator: {
        f"{section}.{setting}".replace(".", separator): Name(section, "", setting)
        for section, settings in READERS.items()
        for setting in settings
    }
    for separator in "._"
}


class PrometheusProperties(NamedTuple):
    """All properties, typed and checked. Those that are not set are None.

    Attributes:
        origins: For each key that was found, where: ``file:line``, a variable.
    """

    pushgateway: PushgatewayProperties = PushgatewayProperties()
    filter: FilterProperties = FilterProperties()
    metrics: MetricProperties = MetricProperties()
    exemplars: ExemplarProperties = ExemplarProperties()
    own: OwnProperties = OwnProperties()
    per_metric: Mapping[str, MetricProperties] = MappingProxyType({})
    origins: Mapping[str, str] = MappingProxyType({})

    def metric(self, name: str) -> MetricProperties:
        """Return what is set for one metric: *name* has its unit, and is without ``_total``."""
        return self.per_metric.get(self._spelling(name), MetricProperties())

    def origin(self, metric: str, *settings: str) -> str:
        """Return where the first of *settings* that was found for *metric* alone comes from."""
        keys = [f"{METRICS}.{self._spelling(metric)}.{setting}" for setting in settings]
        return next((self.origins[key] for key in keys if key in self.origins), "properties")

    def _spelling(self, name: str) -> str:
        # Names from variables have no capitals, and files may write them in camelCase.
        plain, snake = _metric_name(name), _metric_name(_snake(name))
        return plain if plain in self.per_metric else snake


def load(
    external: Mapping[str, str] | None = None,
    *,
    env: Mapping[str, str] | None = None,
    config_file: FilePath | None = None,
    system: Mapping[str, str] | None = None,
    strict: bool = True,
    external_origin: str = "the properties given by code",
) -> PrometheusProperties:
    """Return the properties of all sources, merged.

    Args:
        external: Given by code; wins over every other source.
        env: The environment; ``os.environ`` unless given.
        config_file: A properties file, instead of the one the environment names.
        system: System properties, instead of those set by :func:`set_system_property`.
        strict: Whether an unknown ``io.prometheus`` key is an error, not a warning.
            ``PUSHGATE_STRICT=false`` in the environment has the same effect.
        external_origin: What messages call the source of *external*.

    Raises:
        ConfigurationError: A value is illegal, a key unknown, a file unreadable.

    Example:
        >>> load({"io.prometheus.exporter.pushgateway.job": "nightly"}, env={}).pushgateway.job
        'nightly'
    """
    env = os.environ if env is None else env
    system = dict(_system) if system is None else system
    strict = strict and env.get("PUSHGATE_STRICT", "").lower() != "false"
    found: dict[Name, tuple[str, str]] = {}
    for key, value, origin in _all(external or {}, external_origin, env, config_file, system):
        # Variables have one separator for sections and words; only the table knows which is which.
        separator = "_" if origin.startswith("$") else "."
        name = _KNOWN[separator].get(key)
        prefix = METRICS.replace(".", separator) + separator
        if name is None and key.startswith(prefix):  # perhaps a setting of a single metric
            for setting in READERS[METRICS]:
                metric = key.removeprefix(prefix).removesuffix(f"{separator}{setting}")
                if metric and f"{prefix}{metric}{separator}{setting}" == key:
                    name = Name(METRICS, _metric_name(metric), setting)
        if name is None:
            _refuse_unknown(key, origin, strict=strict)
        else:
            found[name] = value, origin
    return _build(found)


def _all(
    external: Mapping[Any, Any],  # a program may give what is no text
    external_origin: str,
    env: Mapping[str, str],
    config_file: FilePath | None,
    system: Mapping[str, str],
) -> Iterator[tuple[str, str, str]]:
    """Yield key, value and origin from every source, the weakest source first."""
    # An empty value means no file at all, not even the one beside the program.
    named = env.get("PROMETHEUS_CONFIG", system.get("prometheus.config"))
    for path in (None if named == "" else _beside_program(), config_file or named):
        if path:
            try:
                for key, value, line in grammar.entries(read_file(path)):
                    yield _snake(key), value, f"{os.fspath(path)}:{line}"
            except (OSError, ValueError) as error:
                message = str(error)
                if isinstance(error, OSError):
                    message = f"Failed to read Prometheus properties file: {error.strerror}."
                raise ConfigurationError(message, source=os.fspath(path)) from error
    for key, value in system.items():
        yield _snake(key), value, f"the system property {key}"
    for variable, value in env.items():
        if variable.startswith(("IO_PROMETHEUS", "PUSHGATE_")):
            yield variable.lower(), value, f"${variable}"
    for key, value in external.items():
        if not isinstance(key, str) or not isinstance(value, str):
            message = f"{key}: expecting text, found {type(value).__name__}"
            raise ConfigurationError(message, key=str(key), source=external_origin)
        yield _snake(key), value, external_origin


def _beside_program() -> str | None:
    """Return the properties file in the script's directory, if there is one.

    Only absolute entries of ``sys.path`` count: an address and credentials must not come from
    whatever the current directory is.
    """
    for entry in sys.path:
        if os.path.isabs(entry) and "site-packages" not in entry:
            candidate = os.path.join(entry, FILE_NAME)
            if os.path.isfile(candidate):
                return candidate
    return None


def _snake(key: str) -> str:
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", key).lower()


def _metric_name(raw: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", raw.lower())


def _refuse_unknown(key: str, origin: str, *, strict: bool) -> None:
    from difflib import get_close_matches  # slow to import, and rarely needed

    is_variable = origin.startswith("$")
    separator = "_" if is_variable else "."
    if key.startswith(f"{OWN}{separator}") and key not in _OTHER_VARIABLES:
        setting = key.removeprefix(f"{OWN}{separator}")
        # A word of a name, or its beginning, is a near miss, too: ``token``, ``timeout``. Short
        # ones fit too much.
        parts = [
            name
            for name in PUSH_PROPERTIES
            if len(setting) > 4 and (name.startswith(setting) or setting in name.split("_"))
        ]
        near = [*get_close_matches(setting, PUSH_PROPERTIES, n=1, cutoff=_NEAR_MISS), *parts]
        meant = PUSH_PROPERTIES[near[0]] if near else ""
        if is_variable and not meant:
            return  # variables of other programs may begin with PUSHGATE_, too
    elif key.startswith(_JAVAS):
        # The long prefix makes all keys alike, so that only a close match is worth a hint.
        meant = next(iter(get_close_matches(key, _KNOWN[separator], n=1, cutoff=0.94)), "")
    else:
        return  # another program's
    if is_variable:
        key, meant = origin.removeprefix("$"), meant.replace(".", "_").upper()
    message = f"{key}: Unknown property" + (f", did you mean {meant}?" if meant else "")
    if strict:
        raise ConfigurationError(message, key=key, source=origin)
    log("warning", "%s (from %s)", message, origin, logger="pushgate.properties")


def _build(found: Mapping[Name, tuple[str, str]]) -> PrometheusProperties:
    """Return the typed properties of *found*: for each name its text, and where it was found."""
    values: dict[str, dict[str, Any]] = {}
    for name, (raw, origin) in found.items():
        read = READERS[name.section][name.setting]
        if read is None:
            continue
        try:
            values.setdefault(name.prefix, {})[name.setting] = read(raw)
        except ValueError as error:
            raise ConfigurationError(f"{name.key}: {error}", key=name.key, source=origin) from None
    sections: dict[str, Any] = {
        prefix: make(**values.get(prefix, {})) for prefix, make in SECTIONS.items()
    }
    per_metric = {
        name.metric: MetricProperties(**values[name.prefix])
        for name in found
        if name.metric and name.prefix in values
    }
    # Kept, so that an error or a warning about a value can say where it was set.
    origins = {name.key: origin for name, (_, origin) in found.items()}
    try:
        for prefix in (METRICS, "io.prometheus.exemplars"):
            check(prefix, sections[prefix])
        for metric, section in per_metric.items():
            check(f"{METRICS}.{metric}", section)
    except ConfigurationError as error:
        error.comes_from(origins[error.key])
        raise
    parts: list[Any] = [*sections.values(), per_metric, origins]
    return PrometheusProperties(*parts)


# What set_system_property() has set.
_system: dict[str, str] = {}


@cache
def default() -> PrometheusProperties:
    """Return the properties of this process, loaded once, at first use.

    Raises:
        ConfigurationError: As :func:`load`; the next call tries again.
    """
    return load()


def resolve(
    properties: PrometheusProperties | Mapping[str, str] | Literal[False] | None,
) -> PrometheusProperties:
    """Return what the argument ``properties=`` of our classes means.

    None: the properties of this process; a mapping: these on top; False: none at all.
    """
    if properties is None:
        return default()
    if properties is False:
        return PrometheusProperties()
    return properties if isinstance(properties, PrometheusProperties) else load(properties)


def reload() -> None:
    """Forget the properties of this process; the next use loads them again."""
    default.cache_clear()


def set_system_property(key: str, value: str) -> None:
    """Set what ``-Dkey=value`` sets in Java; the next use sees it.

    Args:
        key: Such as ``io.prometheus.exporter.pushgateway.address``.
        value: Its text.
    """
    _system[key] = value
    reload()
