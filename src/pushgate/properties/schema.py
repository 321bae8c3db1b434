"""The properties: names, types and checks. Each field of a section is a property.

Names, types and messages of ``io.prometheus.*`` are client_java's, so that one file
serves programs in both languages. Ours are under ``pushgate.``, which Java ignores.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from pushgate.errors import ConfigurationError

Reader = Callable[[str], Any]
"""Turns a property's text into its value; a ValueError says what was expected."""

_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fFdD]?")
_HEXADECIMAL = re.compile(
    r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+[fFdD]?"
)
_NAMED = {"Infinity": math.inf, "NaN": math.nan}
_BOOLEANS = {"true": True, "false": False}


def _text(raw: str) -> str:
    return raw


def _boolean(raw: str) -> bool:
    try:
        return _BOOLEANS[raw.strip().lower()]
    except KeyError:
        raise ValueError("Expecting 'true' or 'false'.") from None


def _integer(kind: str, bits: int, lowest: int | None = None) -> Reader:
    def read(raw: str) -> int:
        text = raw.strip()
        if not _INTEGER.fullmatch(text) or not -(1 << bits - 1) <= int(text) < 1 << bits - 1:
            raise ValueError(f"Expecting {kind} value")
        return _at_least(lowest, int(text))

    return read


def _at_least(lowest: int | None, value: int) -> int:
    if lowest is not None and value < lowest:
        limit = ">= 0" if lowest == 0 else "> 0"
        raise ValueError(f"Expecting value {limit}. Found: {value}")
    return value


def _schema(raw: str) -> int:
    value: int = _integer("integer", 32)(raw)
    if not -4 <= value <= 8:
        raise ValueError(f"Expecting number between -4 and +8. Found: {value}")
    return value


def _seconds(raw: str) -> float:
    """Read whole seconds as Java does, or a fraction, which Java does not."""
    if not re.fullmatch(r"\s*[+-]?[0-9]+(?:\.[0-9]+)?\s*", raw):
        raise ValueError("Expecting long value")
    value = float(raw)
    if value < 0:
        raise ValueError(f"Expecting value >= 0. Found: {raw.strip()}")
    return value


def _double(raw: str) -> float:
    text = raw.strip()
    sign, named = (text[0], text[1:]) if text[:1] in {"+", "-"} else ("", text)
    if named in _NAMED:
        return -_NAMED[named] if sign == "-" else _NAMED[named]
    if _HEXADECIMAL.fullmatch(text):
        return float.fromhex(text.rstrip("fFdD"))
    if _DECIMAL.fullmatch(text):
        return float(text.rstrip("fFdD"))
    raise ValueError("Expecting double value")


def _threshold(raw: str) -> float:
    value = _double(raw)
    if not value >= 0:
        raise ValueError(f"Expecting value >= 0. Found: {_java_double(value)}")
    return value


def _java_double(value: float) -> str:
    """Return *value* as ``Double.toString`` writes it."""
    if not math.isfinite(value):
        return {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), "NaN")
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    from decimal import Decimal

    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    first, rest = digits[0], "".join(map(str, digits[1:])) or "0"
    return f"{'-' * sign}{first}.{rest}E{len(digits) - 1 + int(exponent)}"


def _items(raw: str) -> list[str]:
    items = re.split(r"\s*,\s*", raw.strip())
    if items == [""]:
        return items
    while items and not items[-1]:
        items.pop()
    return items


def _texts(raw: str) -> tuple[str, ...]:
    return tuple(_items(raw))


def _doubles(raw: str) -> tuple[float, ...]:
    try:
        values = tuple(math.inf if text == "+Inf" else _double(text) for text in _items(raw))
    except ValueError:
        values = (math.nan,)
    if any(map(math.isnan, values)):
        raise ValueError("Expecting comma separated list of double values")
    return values


def _pairs(raw: str) -> Mapping[str, str]:
    pairs = [item.partition("=") for item in _items(raw) if item]
    if any(not separator for _, separator, _ in pairs):
        raise ValueError("Expecting a list of key=value pairs, separated by commas")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _one_of(literal: Any) -> Reader:
    *words, last = (repr(word) for word in get_args(literal))
    expected = f"{', '.join(words)}{',' * (len(words) > 1)} or {last}"

    def read(raw: str) -> str:
        if raw not in get_args(literal):
            raise ValueError(f"Illegal value. Expecting {expected}.")
        return raw

    return read


Format = Literal["auto", "protobuf", "text"]
Scheme = Literal["http", "https"]
EscapingScheme = Literal["allow-utf-8", "values", "underscores", "dots"]
Compression = Literal["gzip", "snappy"]
_scheme, _escaping = _one_of(Scheme), _one_of(EscapingScheme)
_format, _compression = _one_of(Format), _one_of(Compression)
_positive_int = _integer("integer", 32, 1)
_natural_int = _integer("integer", 32, 0)
_natural_long = _integer("long", 64, 0)


def _property(read: Reader) -> Any:
    return field(default=None, metadata={"read": read})


@dataclass(frozen=True, slots=True)
class PushgatewayProperties:
    """``io.prometheus.exporter.pushgateway.*``: where and how to push."""

    address: str | None = _property(_text)
    job: str | None = _property(_text)
    scheme: str | None = _property(_scheme)
    escaping_scheme: str | None = _property(_escaping)
    connect_timeout_seconds: float | None = _property(_seconds)
    read_timeout_seconds: float | None = _property(_seconds)


@dataclass(frozen=True, slots=True)
class FilterProperties:
    """``io.prometheus.exporter.filter.*``; honoured with ``apply_filter=True``."""

    metric_name_must_be_equal_to: tuple[str, ...] | None = _property(_texts)
    metric_name_must_not_be_equal_to: tuple[str, ...] | None = _property(_texts)
    metric_name_must_start_with: tuple[str, ...] | None = _property(_texts)
    metric_name_must_not_start_with: tuple[str, ...] | None = _property(_texts)

    def allows(self, name: str) -> bool:
        """Return whether the metric called *name* passes."""
        equal, start = self.metric_name_must_be_equal_to, self.metric_name_must_start_with
        return (
            (not equal or name in equal)
            and (not start or name.startswith(start))
            and name not in (self.metric_name_must_not_be_equal_to or ())
            and not name.startswith(self.metric_name_must_not_start_with or ())
        )


@dataclass(frozen=True, slots=True)
class MetricProperties:
    """``io.prometheus.metrics.*``, or ``io.prometheus.metrics.<name>.*`` for one metric."""

    exemplars_enabled: bool | None = _property(_boolean)
    histogram_native_only: bool | None = _property(_boolean)
    histogram_classic_only: bool | None = _property(_boolean)
    histogram_classic_upper_bounds: tuple[float, ...] | None = _property(_doubles)
    histogram_native_initial_schema: int | None = _property(_schema)
    histogram_native_min_zero_threshold: float | None = _property(_threshold)
    histogram_native_max_zero_threshold: float | None = _property(_threshold)
    histogram_native_max_number_of_buckets: int | None = _property(_natural_int)
    histogram_native_reset_duration_seconds: int | None = _property(_natural_long)

    @property
    def histogram_mode(self) -> Literal["classic", "native", "both"] | None:
        """Which forms a histogram has; one of the two set implies the other's negation."""
        native, classic = self.histogram_native_only, self.histogram_classic_only
        if native is None and classic is None:
            return None
        if native or (native is None and not classic):
            return "native"
        return "classic" if classic or classic is None else "both"


@dataclass(frozen=True, slots=True)
class ExemplarProperties:
    """``io.prometheus.exemplars.*``: limits of automatic sampling; 7 s, 70 s, 90 ms unless set."""

    min_retention_period_seconds: int | None = _property(_positive_int)
    max_retention_period_seconds: int | None = _property(_positive_int)
    sample_interval_milliseconds: int | None = _property(_positive_int)


@dataclass(frozen=True, slots=True)
class OwnProperties:
    """``pushgate.*``: what only this client knows."""

    format: str | None = _property(_format)
    grouping_key: Mapping[str, str] | None = _property(_pairs)
    instance: str | None = _property(_text)
    basic_auth_file: str | None = _property(_text)
    bearer_token: str | None = _property(_text)
    bearer_token_file: str | None = _property(_text)
    ca_file: str | None = _property(_text)
    client_cert: str | None = _property(_text)
    client_key: str | None = _property(_text)
    verify: bool | None = _property(_boolean)
    proxy: str | None = _property(_text)
    compression: str | None = _property(_compression)
    retries: int | None = _property(_natural_int)
    deadline_seconds: float | None = _property(_seconds)
    headers_file: str | None = _property(_text)
    enabled: bool | None = _property(_boolean)


@dataclass(frozen=True, slots=True)
class _Empty:
    """A section of which no setting is used."""


METRICS = "io.prometheus.metrics"
OWN = "pushgate"
SECTIONS: Mapping[str, type] = {
    "io.prometheus.exporter.pushgateway": PushgatewayProperties,
    "io.prometheus.exporter.filter": FilterProperties,
    METRICS: MetricProperties,
    "io.prometheus.exemplars": ExemplarProperties,
    OWN: OwnProperties,
}
# What client_java has and a push does not use: accepted whatever it says, because one file
# serves programs in both languages.
_UNUSED: Mapping[str, str] = {
    "io.prometheus.exporter": "include_created_timestamps exemplars_on_all_metric_types"
    " prometheus_timestamps_in_ms",
    "io.prometheus.exporter.http_server": "port prefer_uncompressed_response",
    "io.prometheus.exporter.opentelemetry": "protocol endpoint headers service_name"
    " service_namespace service_instance_id service_version resource_attributes interval_seconds"
    " timeout_seconds preserve_names",
    "io.prometheus.openmetrics2": "enabled content_negotiation composite_values"
    " exemplar_compliance native_histograms",
    METRICS: "summary_quantiles summary_quantile_errors summary_max_age_seconds"
    " summary_number_of_age_buckets",
}
# Section, name, and what reads the value; None for one that is not used.
READERS: Mapping[str, Mapping[str, Reader | None]] = {
    prefix: {
        **{entry.name: entry.metadata["read"] for entry in fields(SECTIONS.get(prefix, _Empty))},
        **dict.fromkeys(_UNUSED.get(prefix, "").split()),
    }
    for prefix in {**SECTIONS, **_UNUSED}
}


def check_metric(prefix: str, section: MetricProperties) -> None:
    """Raise ConfigurationError if settings of *section* contradict each other."""
    if section.histogram_native_only and section.histogram_classic_only:
        raise ConfigurationError(
            f"{prefix}.histogram_native_only and {prefix}.histogram_classic_only"
            " cannot both be true",
            key=f"{prefix}.histogram_native_only",
        )
    low = section.histogram_native_min_zero_threshold
    high = section.histogram_native_max_zero_threshold
    if low is not None and high is not None and low > high:
        key = f"{prefix}.histogram_native_min_zero_threshold"
        raise ConfigurationError(
            f"{key} cannot be greater than {prefix}.histogram_native_max_zero_threshold", key=key
        )


def check_exemplars(prefix: str, section: ExemplarProperties) -> None:
    """Raise ConfigurationError if the shortest retention is longer than the longest."""
    low, high = section.min_retention_period_seconds, section.max_retention_period_seconds
    if low is not None and high is not None and low > high:
        key = f"{prefix}.min_retention_period_seconds"
        raise ConfigurationError(
            f"{key} must not be greater than {prefix}.max_retention_period_seconds.", key=key
        )
