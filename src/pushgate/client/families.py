"""Metrics as the families to push.

Names become final here (suffixes, escaping), so that whatever the gateway would refuse
or silently overwrite is found before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set as AbstractSet
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from pushgate.client.collect import LeftOut, described, report
from pushgate.client.escaping import escape_name
from pushgate.errors import EncodingError
from pushgate.model.family import MetricType
from pushgate.model.grouping import Labels

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.samples import Exemplar, NativeHistogram, Sample


class Bucket(NamedTuple):
    """A classic bucket: upper bound, cumulative count."""

    bound: float
    total: float
    exemplar: Exemplar | None


# Not dataclasses: these take a hundredth of the time of a script that pushes once to define.
class Point:
    """One metric of a family. Which fields count depends on the family's kind."""

    def __init__(self, labels: Labels, value: float = 0.0) -> None:
        self.labels, self.value = labels, value
        self.count = self.sum = 0.0
        self.buckets: list[Bucket] = []
        self.quantiles: list[tuple[float, float]] = []
        self.created: float | None = None
        self.exemplar: Exemplar | None = None
        self.native: NativeHistogram | None = None
        self.native_only = False


class Family:
    """A metric family under its final name, with its points by their labels."""

    def __init__(self, name: str, documentation: str, kind: MetricType) -> None:
        self.name, self.help, self.kind = name, documentation, kind
        self.points: dict[Labels, Point] = {}


class Rules(NamedTuple):
    """What a gateway pushes and how it writes names.

    Attributes:
        forbidden_labels: Those of the group: the gateway would overwrite the metric's.
    """

    escaping: str = "underscores"
    include_created: bool = False
    timestamps: Literal["error", "strip"] = "error"
    forbidden_labels: AbstractSet[str] = frozenset()


# By prometheus_client's type: the kind, and the suffix that the exposition adds to the name.
_KINDS: Mapping[str, tuple[MetricType, str]] = {
    "counter": (MetricType.COUNTER, "_total"),
    "gauge": (MetricType.GAUGE, ""),
    "summary": (MetricType.SUMMARY, ""),
    "histogram": (MetricType.HISTOGRAM, ""),
    "gaugehistogram": (MetricType.GAUGE_HISTOGRAM, ""),
    "info": (MetricType.GAUGE, "_info"),
    "stateset": (MetricType.GAUGE, ""),
    "unknown": (MetricType.UNTYPED, ""),
    "untyped": (MetricType.UNTYPED, ""),
}


Part = Literal["value", "count", "sum", "bucket", "quantile", "created", "native"]
# What a sample says about its point, by the kind of the family and the suffix of its name.
_HISTOGRAM: Mapping[str, Part] = {
    "": "native",
    "_bucket": "bucket",
    "_count": "count",
    "_sum": "sum",
    "_gcount": "count",
    "_gsum": "sum",
    "_created": "created",
}
_PARTS: Mapping[MetricType, Mapping[str, Part]] = {
    MetricType.COUNTER: {"_total": "value", "": "value", "_created": "created"},
    MetricType.GAUGE: {"": "value", "_info": "value"},
    MetricType.UNTYPED: {"": "value"},
    MetricType.SUMMARY: {"": "quantile", "_count": "count", "_sum": "sum", "_created": "created"},
    MetricType.HISTOGRAM: _HISTOGRAM,
    MetricType.GAUGE_HISTOGRAM: _HISTOGRAM,
}


def gather(
    metrics: Iterable[Metric],
    rules: Rules = Rules(),  # noqa: B008  immutable
    left_out: LeftOut | None = None,
) -> list[Family]:
    """Return the families to push for *metrics*, sorted by name, without empty ones.

    Families with one final name are merged. *left_out* is called with the error of each metric that
    cannot be pushed, which is then left out. Without it the first such error is raised.

    Raises:
        EncodingError: Two families or two series have become one, a label belongs to
            the group, a sample has a timestamp, a name cannot be written, or a sample is
            not what its type promises.
    """
    families: dict[str, Family] = {}
    for metric in metrics:
        try:
            for family in _families_of(metric, rules):
                if family.points:
                    _merge(families, family)
        except Exception as error:  # noqa: BLE001  collectors yield whatever they like
            name = getattr(metric, "name", None) or f"a {type(metric).__name__}"
            reason = str(error) if isinstance(error, EncodingError) else described(error)
            report(EncodingError(f"{name} cannot be pushed: {reason}"), left_out, error)
    return [family for _, family in sorted(families.items())]


def _merge(families: dict[str, Family], family: Family) -> None:
    known = families.setdefault(family.name, family)
    if known is family:
        return
    if known.kind is not family.kind:
        kinds = f"{known.kind.word} and as {family.kind.word}"
        raise EncodingError(f"two metrics are pushed as {family.name}: as {kinds}; rename one")
    twice = known.points.keys() & family.points.keys()
    if twice:
        raise _duplicate(family.name, twice.pop())
    known.points.update(family.points)


def _duplicate(name: str, labels: Labels) -> EncodingError:
    shown = ",".join(f'{label}="{value}"' for label, value in labels)
    return EncodingError(f"the series {name}{{{shown}}} would be pushed twice; drop one")


def _families_of(metric: Metric, rules: Rules) -> list[Family]:
    kind, suffix = _KINDS.get(metric.type, (MetricType.UNTYPED, ""))
    name = escape_name("metric", metric.name + suffix, rules.escaping)
    family = Family(name, metric.documentation, kind)
    strays: dict[str, Family] = {}
    seen: set[tuple[Part, Labels, str | None]] = set()
    # The label that tells the samples of one point apart is no label of the series.
    parts, own_label, cut = _PARTS[kind], kind.own_label, len(metric.name)
    for sample in metric.samples:
        if sample.timestamp is not None and rules.timestamps == "error":
            raise EncodingError(
                "it has a timestamp, which a gateway refuses; timestamps='strip' leaves it out"
            )
        part = parts.get(sample.name[cut:]) if sample.name.startswith(metric.name) else None
        if part is None:
            # Its name does not fit the type of its family, so it gets an untyped family.
            stray = escape_name("metric", sample.name, rules.escaping)
            other = strays.setdefault(stray, Family(stray, "", MetricType.UNTYPED))
            labels = _labels_of(sample.labels, None, rules)
            if labels in other.points:
                raise _duplicate(stray, labels)
            other.points[labels] = Point(labels, float(sample.value))
            continue
        labels = _labels_of(sample.labels, own_label, rules)
        point = family.points.get(labels)
        if point is None:
            point = family.points[labels] = Point(labels)
        # Of two equal samples, a gateway would silently keep the last.
        place = (part, labels, sample.labels.get(own_label) if own_label else None)
        if place in seen:
            raise _duplicate(name, labels)
        seen.add(place)
        _take(point, part, sample, kind)
    # pushgate.Histogram has its native buckets beside its samples, so that text writers, which
    # know samples only, see a complete classic histogram.
    for names, native in getattr(metric, "native", ()):
        if point := family.points.get(_labels_of(names, None, rules)):
            point.native, point.native_only = native, getattr(metric, "native_only", False)
    families = [family, *strays.values()]
    if rules.include_created:
        name = escape_name("metric", f"{metric.name}_created", rules.escaping)
        created = Family(name, metric.documentation, MetricType.GAUGE)
        for labels, point in family.points.items():
            if point.created is not None:
                created.points[labels] = Point(labels, point.created)
        families.append(created)
    return families


def _take(point: Point, part: Part, sample: Sample, kind: MetricType) -> None:
    if part == "native":
        point.native, point.native_only = sample.native_histogram, not point.buckets
        return
    value = float(sample.value)  # refuses what is no number here, where the metric can be named
    match part:
        case "bucket":
            point.buckets.append(Bucket(float(sample.labels["le"]), value, sample.exemplar))
        case "quantile":
            point.quantiles.append((float(sample.labels["quantile"]), value))
        case "value":
            point.value, point.exemplar = value, sample.exemplar
        case "count":
            if kind is MetricType.SUMMARY and (value < 0 or not value.is_integer()):
                raise ValueError(f"the count of a summary is {sample.value}")
            point.count = value
        case "sum":
            point.sum = value
        case "created":
            point.created = value


def _labels_of(labels: Mapping[str, str], own_label: str | None, rules: Rules) -> Labels:
    if not labels:
        return ()
    plan = _label_plan(tuple(labels), own_label, rules.escaping, rules.forbidden_labels)
    return tuple([(written, labels[name]) for written, name in plan])


@lru_cache(maxsize=1024)  # all series of a family have the same label names
def _label_plan(
    names: tuple[str, ...], own_label: str | None, escaping: str, forbidden: AbstractSet[str]
) -> tuple[tuple[str, str], ...]:
    """Return each label name as it is written and as it was, sorted.

    Raises:
        EncodingError: A label belongs to the group, or two of them become one.
    """
    plan = tuple(
        (escape_name("label", name, escaping), name) for name in sorted(names) if name != own_label
    )
    written = {name for name, _ in plan}
    clash = written & forbidden
    if clash:
        raise EncodingError(
            f"the label {min(clash)!r} is also a label of the group, which would overwrite it;"
            " rename it, or say on_label_clash='allow'"
        )
    # As a.b and a_b do, and no series can have a label twice.
    if len(written) < len(plan):
        raise EncodingError(f"two labels get the same name when escaped: {sorted(names)}")
    return plan


def label_without_text(family: Family) -> str:
    """Return what is wrong with the first label of *family* that is no text; empty if all are."""
    for labels in family.points:
        for name, value in labels:
            kind: type = type(value)  # collectors yield whatever they like
            if not issubclass(kind, str):
                return f"the label {name!r} is {kind.__name__} instead of text"
    return ""
