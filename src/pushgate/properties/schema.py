"""The properties: names, types and checks. Each field of a section is a property.

Names, types and messages of ``io.prometheus.*`` are client_java's, so that one file
serves programs in both languages. Ours are under ``pushgate.``, which Java ignores.
"""

import math
import re
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from pushgate.errors import ConfigurationError

Reader = Callable[[str], Any]
"""Turns the text of a property into its value; its ValueError says what was expected."""

# Not int() and float(): they take underscores, and digits of other scripts, which Java does not.
# Compiled at first use, because most programs set no such property.
_INTEGER = r"[+-]?[0-9]+"
_DECIMAL = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fFdD]?"
_HEXADECIMAL = r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+[fFdD]?"
_NAMED = {"Infinity": math.inf, "NaN": math.nan}
_BOOLEANS = {"true": True, "false": False}


def _boolean(raw: str) -> bool:
    try:
        return _BOOLEANS[raw.strip().lower()]
    except KeyError:
        raise ValueError("Expecting 'true' or 'false'.") from None


def _integer(kind: str, bits: int, lowest: int | None = None) -> Reader:
    def read(raw: str) -> int:
        text = raw.strip()
        if not re.fullmatch(_INTEGER, text) or not -(1 << bits - 1) <= int(text) < 1 << bits - 1:
            raise ValueError(f"Expecting {kind} value")
        if lowest is not None and int(text) < lowest:
            limit = ">= 0" if lowest == 0 else "> 0"
            raise ValueError(f"Expecting value {limit}. Found: {int(text)}")
        return int(text)

    return read


def _schema(raw: str) -> int:
    value: int = _integer("integer", 32)(raw)
    if not -4 <= value <= 8:  # what the native histograms of Prometheus have
        raise ValueError(f"Expecting number between -4 and +8. Found: {value}")
    return value


def _seconds(raw: str) -> float | None:
    """Read whole seconds as Java does, or a fraction, which Java does not.

    None for 0, by which client_java means that a timeout is not set.
    """
    if not re.fullmatch(r"\s*[+-]?[0-9]+(?:\.[0-9]+)?\s*", raw):
        raise ValueError("Expecting long value")
    value = float(raw)
    if value < 0:
        raise ValueError(f"Expecting value >= 0. Found: {raw.strip()}")
    return value or None


def _double(raw: str) -> float:
    text = raw.strip()
    sign, named = (text[0], text[1:]) if text[:1] in {"+", "-"} else ("", text)
    if named in _NAMED:
        return -_NAMED[named] if sign == "-" else _NAMED[named]
    # A trailing f or d is the suffix of a Java literal. In hexadecimal it comes after the exponent.
    if re.fullmatch(_HEXADECIMAL, text):
        return float.fromhex(text.rstrip("fFdD"))
    if re.fullmatch(_DECIMAL, text):
        return float(text.rstrip("fFdD"))
    raise ValueError("Expecting double value")


def _threshold(raw: str) -> float:
    value = _double(raw)
    if not value >= 0:  # NaN is none either
        raise ValueError(f"Expecting value >= 0. Found: {value}")
    return value


def _items(raw: str) -> list[str]:
    # As Java's String.split: empty parts count, but not at the end; an empty text is one part.
    items = re.split(r"\s*,\s*", raw.strip())
    if items == [""]:
        return items
    while items and not items[-1]:
        items.pop()
    return items


def _doubles(raw: str) -> tuple[float, ...]:
    try:
        # Java's own word is Infinity; client_java takes that of the exposition formats, too.
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
_Schema = Annotated[int, _schema]
_Threshold = Annotated[float, _threshold]
_Positive = Annotated[int, _integer("integer", 32, 1)]
_Natural = Annotated[int, _integer("integer", 32, 0)]
_NaturalLong = Annotated[int, _integer("long", 64, 0)]
_READERS: Mapping[Any, Reader] = {
    str: str,
    bool: _boolean,
    float: _seconds,
    tuple[str, ...]: lambda raw: tuple(_items(raw)),
    tuple[float, ...]: _doubles,
    Mapping[str, str]: _pairs,
}


def _reader(annotation: Any) -> Reader:
    """Return what reads the values of a property of type ``annotation``, which is ``… | None``."""
    [kind] = [part for part in get_args(annotation) if part is not NoneType]
    if get_origin(kind) is Literal:
        return _one_of(kind)
    read: Reader = kind.__metadata__[0] if get_origin(kind) is Annotated else _READERS[kind]
    return read


class PushgatewayProperties(NamedTuple):
    """``io.prometheus.exporter.pushgateway.*``: where and how to push."""

    address: str | None = None
    job: str | None = None
    scheme: Scheme | None = None
    escaping_scheme: EscapingScheme | None = None
    connect_timeout_seconds: float | None = None
    read_timeout_seconds: float | None = None


# What samples add to the name of their metric.
_SUFFIXES = ("", "_total", "_info", "_bucket", "_count", "_sum", "_created")


class FilterProperties(NamedTuple):
    """``io.prometheus.exporter.filter.*``; honored with ``apply_filter=True``."""

    metric_name_must_be_equal_to: tuple[str, ...] | None = None
    metric_name_must_not_be_equal_to: tuple[str, ...] | None = None
    metric_name_must_start_with: tuple[str, ...] | None = None
    metric_name_must_not_start_with: tuple[str, ...] | None = None

    def allows(self, name: str) -> bool:
        """Return whether the metric called *name* passes.

        As in client_java, the names to be equal to may be those of its samples: ``rows_total``
        means the metric ``rows``.
        """
        own = {f"{name}{suffix}" for suffix in _SUFFIXES}
        equal, start = self.metric_name_must_be_equal_to, self.metric_name_must_start_with
        return (
            (not equal or not own.isdisjoint(equal))
            and (not start or name.startswith(start))
            and own.isdisjoint(self.metric_name_must_not_be_equal_to or ())
            and not name.startswith(self.metric_name_must_not_start_with or ())
        )


class MetricProperties(NamedTuple):
    """``io.prometheus.metrics.*``, or ``io.prometheus.metrics.<name>.*`` for one metric."""

    exemplars_enabled: bool | None = None
    histogram_native_only: bool | None = None
    histogram_classic_only: bool | None = None
    histogram_classic_upper_bounds: tuple[float, ...] | None = None
    histogram_native_initial_schema: _Schema | None = None
    histogram_native_min_zero_threshold: _Threshold | None = None
    histogram_native_max_zero_threshold: _Threshold | None = None
    histogram_native_max_number_of_buckets: _Natural | None = None
    histogram_native_reset_duration_seconds: _NaturalLong | None = None

    @property
    def histogram_mode(self) -> Literal["classic", "native", "both"] | None:
        """Which forms a histogram has; one of the two set implies the other's negation."""
        native, classic = self.histogram_native_only, self.histogram_classic_only
        if native is None and classic is None:
            return None
        if native or (native is None and not classic):
            return "native"
        return "classic" if classic or classic is None else "both"


class ExemplarProperties(NamedTuple):
    """``io.prometheus.exemplars.*``: limits of automatic sampling; 7 s, 70 s, 90 ms unless set."""

    min_retention_period_seconds: _Positive | None = None
    max_retention_period_seconds: _Positive | None = None
    sample_interval_milliseconds: _Positive | None = None


class OwnProperties(NamedTuple):
    """``pushgate.*``: what only this client knows."""

    format: Format | None = None
    grouping_key: Mapping[str, str] | None = None
    instance: str | None = None
    basic_auth_file: str | None = None
    bearer_token: str | None = None
    bearer_token_file: str | None = None
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    verify: bool | None = None
    proxy: str | None = None
    compression: Compression | None = None
    retries: _Natural | None = None
    deadline_seconds: float | None = None
    headers_file: str | None = None
    enabled: bool | None = None


METRICS = "io.prometheus.metrics"
PUSHGATEWAY = "io.prometheus.exporter.pushgateway"
OWN = "pushgate"
SECTIONS: Mapping[str, type] = {
    PUSHGATEWAY: PushgatewayProperties,
    "io.prometheus.exporter.filter": FilterProperties,
    METRICS: MetricProperties,
    "io.prometheus.exemplars": ExemplarProperties,
    OWN: OwnProperties,
}
# Properties of client_java that no push uses. They are accepted whatever they say, because one
# file serves programs in both languages.
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
    section: {
        **{
            name: _reader(annotation)
            for name, annotation in getattr(SECTIONS.get(section), "__annotations__", {}).items()
        },
        **dict.fromkeys(_UNUSED.get(section, "").split()),
    }
    for section in {**SECTIONS, **_UNUSED}
}
# The properties about pushing in full, by their last parts.
PUSH_PROPERTIES: Mapping[str, str] = {
    setting: f"{section}.{setting}"
    for section in (PUSHGATEWAY, OWN)
    for setting in READERS[section]
}
# Two settings of which the first must not be greater, and the words of client_java for it.
_ORDERED: Mapping[type, tuple[str, str, str]] = {
    MetricProperties: (
        "histogram_native_min_zero_threshold",
        "histogram_native_max_zero_threshold",
        "{low} cannot be greater than {high}",
    ),
    ExemplarProperties: (
        "min_retention_period_seconds",
        "max_retention_period_seconds",
        "{low} must not be greater than {high}.",
    ),
}


def check(prefix: str, section: MetricProperties | ExemplarProperties) -> None:
    """Raise ConfigurationError if settings of *section* contradict each other."""
    if isinstance(section, MetricProperties) and (
        section.histogram_native_only and section.histogram_classic_only
    ):
        key = f"{prefix}.histogram_native_only"
        message = f"{key} and {prefix}.histogram_classic_only cannot both be true"
        raise ConfigurationError(message, key=key)
    low, high, message = _ORDERED[type(section)]
    least, largest = getattr(section, low), getattr(section, high)
    if least is not None and largest is not None and least > largest:
        key = f"{prefix}.{low}"
        raise ConfigurationError(message.format(low=key, high=f"{prefix}.{high}"), key=key)
