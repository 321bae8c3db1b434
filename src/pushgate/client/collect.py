"""From a registry to the families that will be pushed.

Names become final here (suffixes, escaping), so that whatever the gateway would refuse
or silently overwrite is found before anything is sent.
"""

import os
import traceback
from collections.abc import (
    Callable,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Set as AbstractSet,
)
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import prometheus_client
from prometheus_client.core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY, CollectorRegistry
from prometheus_client.samples import Exemplar, NativeHistogram, Sample

from pushgate.client.escaping import escape_label_name, escape_metric_name
from pushgate.client.log import warn_once
from pushgate.errors import ConfigurationError, EncodingError, PushgatewayError
from pushgate.properties.schema import FilterProperties

Labels = tuple[tuple[str, str], ...]
LeftOut = Callable[[EncodingError], object]
"""What is told about a metric that cannot be pushed."""


Multiprocess = Literal["auto"] | bool


@runtime_checkable
class Collector(Protocol):
    """Anything that yields prometheus_client metrics: a registry, an instrument."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        ...


Collectors: TypeAlias = Collector | Iterable[Collector]


class Selection(NamedTuple):
    """What one push takes.

    Attributes:
        collectors: One or many, instead of the registry.
        names: Only metrics called so.
        exclude: None for whose name this is true.
        left_out: Called with the error of each metric that cannot be pushed, which is then
            left out. Without it the first such error is raised.
    """

    collectors: Collectors | None = None
    names: Iterable[str] | None = None
    exclude: Callable[[str], bool] | None = None
    left_out: LeftOut | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a gateway pushes unless a push names collectors."""

    registry: Collector | None
    include_default_collectors: bool
    multiprocess: Multiprocess
    filter: FilterProperties | None

    def metrics(self, selection: Selection) -> Iterator[Metric]:
        """Yield the metrics that *selection* takes.

        Raises:
            EncodingError: A collector failed; the message names it.
        """
        names, exclude = selection.names, selection.exclude
        wanted: Container[str] | None = None if names is None else frozenset(names)
        for metric in self._all(selection.collectors, selection.left_out):
            name = getattr(metric, "name", "")  # what has none is named by gather()
            if (
                (wanted is None or name in wanted or f"{name}_total" in wanted)
                and not (exclude and exclude(name))
                and (self.filter is None or self.filter.allows(name))
            ):
                yield metric

    def _all(self, collectors: Collectors | None, left_out: LeftOut | None) -> Iterator[Metric]:
        if collectors is not None:
            for collector in (collectors,) if isinstance(collectors, Collector) else collectors:
                yield from _collected(collector, left_out)
            return
        registry = REGISTRY if self.registry is None else self.registry
        if self._is_multiprocess(registry):
            yield from _of_all_processes()
            return
        hidden: frozenset[str] = frozenset()
        if registry is REGISTRY and not self.include_default_collectors:
            hidden = _built_in()
        for metric in _collected(registry, left_out):
            if not hidden or getattr(metric, "name", "") not in hidden:
                yield metric

    def _is_multiprocess(self, registry: Collector) -> bool:
        if self.multiprocess != "auto":
            return self.multiprocess
        return registry is REGISTRY and "PROMETHEUS_MULTIPROC_DIR" in os.environ


def _collected(collector: Collector, left_out: LeftOut | None) -> Iterator[Metric]:
    """Yield the metrics of *collector*, which may be a registry of many."""
    try:
        yield from collector.collect()
    except PushgatewayError:
        raise
    except Exception as error:  # noqa: BLE001  collectors are not our code
        failed = f"The collector {_failed_in(error)} failed: {described(error)}"
        report(EncodingError(failed), left_out, error)


def _failed_in(error: Exception) -> str:
    """Return the function of the collector in which *error* was raised, such as ``X.collect``."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__") not in {__name__, "prometheus_client.registry"}:
            return frame.f_code.co_qualname
    return "of the registry"


def _of_all_processes() -> Iterator[Metric]:
    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise ConfigurationError(
            "PROMETHEUS_MULTIPROC_DIR must name a directory that exists.", key="multiprocess"
        ) from error
    try:
        metrics = list(registry.collect())
    except Exception as error:
        # A worker that is killed at the wrong moment leaves an empty or a torn file.
        raise EncodingError(
            f"The multiprocess file {_unreadable_file() or 'of a worker'} cannot be read"
            f" ({type(error).__name__}: {error}); delete it if its process is gone"
        ) from error
    for metric in metrics:
        if any("pid" in sample.labels for sample in metric.samples):
            warn_once(
                f"The gauge {metric.name} has a series per process, forever;"
                " give it a multiprocess_mode such as 'max' or 'livesum'."
            )
        yield metric


def _unreadable_file() -> str | None:
    """Return the first file of the multiprocess directory that prometheus_client cannot read."""
    for path in sorted(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("*.db")):
        try:
            for _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
                pass
        except Exception:  # noqa: BLE001  whatever it is, it is this file
            return str(path)
    return None


@lru_cache(maxsize=1)
def _built_in() -> frozenset[str]:
    """Return what prometheus_client registers by itself: about this process, soon gone."""
    collectors = (
        prometheus_client.PROCESS_COLLECTOR,
        prometheus_client.PLATFORM_COLLECTOR,
        prometheus_client.GC_COLLECTOR,
    )
    return frozenset(metric.name for collector in collectors for metric in collector.collect())


class Kind(Enum):
    """The type of a family: its word in the text format, its number in protobuf."""

    COUNTER = ("counter", 0)
    GAUGE = ("gauge", 1)
    SUMMARY = ("summary", 2)
    UNTYPED = ("untyped", 3)
    HISTOGRAM = ("histogram", 4)
    GAUGE_HISTOGRAM = ("histogram", 5)


class Bucket(NamedTuple):
    """A classic bucket: upper bound, cumulative count."""

    bound: float
    total: float
    exemplar: Exemplar | None


@dataclass(slots=True)
class Point:
    """One metric of a family. Which fields count depends on the family's kind."""

    labels: Labels
    value: float = 0.0
    count: float = 0.0
    sum: float = 0.0
    buckets: list[Bucket] = field(default_factory=list)
    quantiles: list[tuple[float, float]] = field(default_factory=list)
    created: float | None = None
    exemplar: Exemplar | None = None
    native: NativeHistogram | None = None
    native_only: bool = False


@dataclass(slots=True)
class Family:
    """A family under its final name, its points by their labels."""

    name: str
    help: str
    kind: Kind
    points: dict[Labels, Point] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is allowed in a payload, and how names are written."""

    escaping: str = "underscores"
    include_created: bool = False
    timestamps: Literal["error", "strip"] = "error"
    forbidden_labels: AbstractSet[str] = frozenset()
    """Labels that the gateway would overwrite: those of the group."""


# prometheus_client's type: the kind, and what its name gets appended.
_KINDS: Mapping[str, tuple[Kind, str]] = {
    "counter": (Kind.COUNTER, "_total"),
    "gauge": (Kind.GAUGE, ""),
    "summary": (Kind.SUMMARY, ""),
    "histogram": (Kind.HISTOGRAM, ""),
    "gaugehistogram": (Kind.GAUGE_HISTOGRAM, ""),
    "info": (Kind.GAUGE, "_info"),
    "stateset": (Kind.GAUGE, ""),
    "unknown": (Kind.UNTYPED, ""),
    "untyped": (Kind.UNTYPED, ""),
}


# float() refuses what is no number here, where the metric can still be named.
def _set_value(point: Point, sample: Sample) -> None:
    point.value, point.exemplar = float(sample.value), sample.exemplar


def _set_count(point: Point, sample: Sample) -> None:
    point.count = float(sample.value)


def _set_whole_count(point: Point, sample: Sample) -> None:
    point.count = float(sample.value)
    if point.count < 0 or not point.count.is_integer():
        raise ValueError(f"the count of a summary is {sample.value}")


def _set_sum(point: Point, sample: Sample) -> None:
    point.sum = float(sample.value)


def _set_created(point: Point, sample: Sample) -> None:
    point.created = float(sample.value)


def _add_bucket(point: Point, sample: Sample) -> None:
    bound = float(sample.labels["le"])
    point.buckets.append(Bucket(bound, float(sample.value), sample.exemplar))


def _add_quantile(point: Point, sample: Sample) -> None:
    point.quantiles.append((float(sample.labels["quantile"]), float(sample.value)))


def _set_native(point: Point, sample: Sample) -> None:
    point.native = sample.native_histogram
    point.native_only = not point.buckets


_Take = Callable[[Point, Sample], None]
_HISTOGRAM: Mapping[str, _Take] = {
    "": _set_native,
    "_bucket": _add_bucket,
    "_count": _set_count,
    "_sum": _set_sum,
    "_gcount": _set_count,
    "_gsum": _set_sum,
    "_created": _set_created,
}
_TAKES: Mapping[Kind, Mapping[str, _Take]] = {
    Kind.COUNTER: {"_total": _set_value, "": _set_value, "_created": _set_created},
    Kind.GAUGE: {"": _set_value, "_info": _set_value},
    Kind.UNTYPED: {"": _set_value},
    Kind.SUMMARY: {
        "": _add_quantile,
        "_count": _set_whole_count,
        "_sum": _set_sum,
        "_created": _set_created,
    },
    Kind.HISTOGRAM: _HISTOGRAM,
    Kind.GAUGE_HISTOGRAM: _HISTOGRAM,
}
_OWN_LABEL = {
    Kind.HISTOGRAM: "le",
    Kind.GAUGE_HISTOGRAM: "le",
    Kind.SUMMARY: "quantile",
}


def gather(
    metrics: Iterable[Metric],
    rules: Rules = Rules(),
    left_out: LeftOut | None = None,
) -> list[Family]:
    """Return what *metrics* will be pushed as, sorted by name; empty families are left out.

    Families with one final name are merged.

    Args:
        metrics: As a registry collects them.
        rules: What is allowed, and how names are written.
        left_out: Called with the error of each metric that cannot be pushed, which is then
            left out. Without it the first such error is raised.

    Raises:
        EncodingError: Two families or two series have become one, a label belongs to
            the group, a sample has a timestamp, a name cannot be written, or a sample is
            not what its type promises.
    """
    families: dict[str, Family] = {}
    for metric in metrics:
        try:
            for family in _families_of(metric, rules):
                _merge(families, family)
        except Exception as error:  # noqa: BLE001  collectors yield whatever they like
            name = getattr(metric, "name", None) or f"a {type(metric).__name__}"
            reason = str(error) if isinstance(error, EncodingError) else described(error)
            report(EncodingError(f"{name} cannot be pushed: {reason}"), left_out, error)
    return [family for _, family in sorted(families.items())]


def described(error: Exception) -> str:
    """Return what foreign code raised, with its type: many messages are no sentences."""
    return f"{type(error).__name__}: {error}"


def report(error: EncodingError, left_out: LeftOut | None, cause: Exception) -> None:
    """Give *error* to *left_out*, or raise it."""
    if left_out is None:
        raise error from cause
    left_out(error)


def _merge(families: dict[str, Family], family: Family) -> None:
    if not family.points:
        return
    known = families.setdefault(family.name, family)
    if known is family:
        return
    if known.kind is not family.kind:
        kinds = f"{known.kind.value[0]} and as {family.kind.value[0]}"
        raise EncodingError(f"two metrics are pushed as {family.name}: as {kinds}; rename one")
    twice = known.points.keys() & family.points.keys()
    if twice:
        raise _duplicate(family.name, twice.pop())
    known.points.update(family.points)


def _duplicate(name: str, labels: Labels) -> EncodingError:
    shown = ",".join(f'{label}="{value}"' for label, value in labels)
    return EncodingError(f"the series {name}{{{shown}}} would be pushed twice; drop one")


def _families_of(metric: Metric, rules: Rules) -> list[Family]:
    kind, suffix = _KINDS.get(metric.type, (Kind.UNTYPED, ""))
    name = escape_metric_name(metric.name + suffix, rules.escaping)
    family = Family(name, metric.documentation, kind)
    strays: dict[str, Family] = {}
    seen: set[tuple[_Take, Labels, str | None]] = set()
    takes, own_label, cut = _TAKES[kind], _OWN_LABEL.get(kind), len(metric.name)
    for sample in metric.samples:
        if sample.timestamp is not None and rules.timestamps == "error":
            raise EncodingError(
                "it has a timestamp, which a gateway refuses; timestamps='strip' leaves it out"
            )
        take = takes.get(sample.name[cut:]) if sample.name.startswith(metric.name) else None
        if take is None:
            _add_stray(strays, sample, rules)
            continue
        labels = _labels_of(sample.labels, own_label, rules)
        point = family.points.get(labels)
        if point is None:
            point = family.points[labels] = Point(labels)
        part = (take, labels, sample.labels.get(own_label) if own_label else None)
        if part in seen:
            raise _duplicate(name, labels)
        seen.add(part)
        take(point, sample)
    _attach_native(family, metric, rules)
    created = [_created_family(family, metric, rules)] if rules.include_created else []
    return [family, *strays.values(), *created]


def _labels_of(labels: Mapping[str, str], own_label: str | None, rules: Rules) -> Labels:
    if not labels:
        return ()
    plan = _label_plan(tuple(labels), own_label, rules.escaping, rules.forbidden_labels)
    return tuple([(written, labels[name]) for written, name in plan])


@lru_cache(maxsize=1024)  # of the thousands of series of a family, all have the same names
def _label_plan(
    names: tuple[str, ...], own_label: str | None, escaping: str, forbidden: AbstractSet[str]
) -> tuple[tuple[str, str], ...]:
    """Return each label name as it is written and as it is, in order, or raise."""
    plan = tuple(
        (escape_label_name(name, escaping), name) for name in sorted(names) if name != own_label
    )
    written = {name for name, _ in plan}
    clash = written & forbidden
    if clash:
        raise EncodingError(
            f"the label {min(clash)!r} is also a label of the group, which would overwrite it;"
            " rename it, or say on_label_clash='allow'"
        )
    if len(written) < len(plan):
        raise EncodingError(f"two labels get the same name when escaped: {sorted(names)}")
    return plan


def _add_stray(strays: dict[str, Family], sample: Sample, rules: Rules) -> None:
    """Keep a sample that does not fit its family's type as a family of its own."""
    name = escape_metric_name(sample.name, rules.escaping)
    family = strays.setdefault(name, Family(name, "", Kind.UNTYPED))
    labels = _labels_of(sample.labels, None, rules)
    if labels in family.points:
        raise _duplicate(name, labels)
    family.points[labels] = Point(labels, sample.value)


def _attach_native(family: Family, metric: Metric, rules: Rules) -> None:
    """Add what our own Histogram knows beyond its samples."""
    for labels, native in getattr(metric, "native", ()):
        point = family.points.get(_labels_of(labels, None, rules))
        if point is not None:
            point.native = native
            point.native_only = getattr(metric, "native_only", False)


def _created_family(family: Family, metric: Metric, rules: Rules) -> Family:
    name = escape_metric_name(f"{metric.name}_created", rules.escaping)
    points = {
        labels: Point(labels, point.created)
        for labels, point in family.points.items()
        if point.created is not None
    }
    return Family(name, metric.documentation, Kind.GAUGE, points)
