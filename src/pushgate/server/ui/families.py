"""The metric families of a group, prepared for the templates, which escape them."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from pushgate.formats.protobuf.description import count_text
from pushgate.model.family import MetricType
from pushgate.model.names import LEGACY_METRIC
from pushgate.model.native import NativeBucket
from pushgate.model.numbers import go_float
from pushgate.model.quoting import go_quote, raw
from pushgate.model.slices import Sliced
from pushgate.server.http.families import Family, Metric, families as families_of, sorted_in_steps
from pushgate.server.settings import Settings
from pushgate.server.store.group import TIME_FAMILIES, Group
from pushgate.server.ui.charts import Bucket, Chart, bar_share, classic_buckets, histogram
from pushgate.server.ui.groups import Chip, chip, selector
from pushgate.server.ui.values import Moment, Value, digits, moment, plain, reader

MAX_ROWS = 500
"""How many metrics of a family are shown unless all are asked for."""

_MAX_CHARTS = 20
_MAX_DRAWN = 2000
# Populated buckets of a native histogram: more would hold up other requests for too long.
_MAX_NATIVE_SHOWN = 5000
_UNITS = ("bytes", "seconds", "ratio", "celsius", "meters", "volts", "amperes", "joules", "grams")
# By the boundaries of a native bucket.
_BRACKETS = (("(", "]"), ("[", ")"), ("(", ")"), ("[", "]"))


class Row(NamedTuple):
    """One metric, without the labels of its group.

    ``value`` is that of a simple one. Others have ``totals``, maybe a ``chart``, and as text
    ``points`` and ``native``. ``points`` can be read once: a histogram may have 100,000 buckets.
    ``quantiles`` are those of a summary: rank, value and length of the bar.
    """

    chips: list[Chip]
    value: Value | None = None
    totals: list[tuple[str, Value]] = []  # noqa: RUF012 - never changed
    chart: Chart | None = None
    quantiles: list[tuple[str, Value, str]] = []  # noqa: RUF012 - never changed
    points: Iterator[tuple[str, str]] | None = None
    native: str = ""


class FamilyCard(NamedTuple):
    """A metric family.

    ``query`` asks Prometheus for it. ``rows`` can be read once; ``more`` counts the rows left out.
    """

    name: str
    type: str
    unit: str
    help: str
    pushed: Moment
    query: str
    rows: Iterator[Row]
    more: int


def family_cards(
    group: Group, settings: Settings, now: int, *, max_rows: int | None
) -> Sliced[Iterator[FamilyCard]]:
    """Return the families of *group* with at most *max_rows* metrics of each.

    They are ordered by name, except that the push times come last.
    """

    def order(family: Family) -> tuple[bool, bytes]:
        return family.shape.name in TIME_FAMILIES, raw(family.shape.name)

    families = yield from sorted_in_steps(families_of(group), order)
    own, chosen = frozenset(group.key.names), selector(group.key)
    return (
        FamilyCard(
            family.shape.name,
            kind,
            next((unit for unit in _UNITS if stem.endswith(f"_{unit}")), ""),
            family.shape.help or "",
            moment(family.received, now),
            _query(family, kind, chosen),
            islice(_rows(family, own, settings, now), max_rows),
            max(0, len(family.shape.labels) - (max_rows or len(family.shape.labels))),
        )
        for family in families
        for stem, kind in [(family.shape.name.removesuffix("_total"), _type(family))]
    )


def _type(family: Family) -> str:
    """Return the type as a word. Whether a histogram is native shows in its first metric."""
    kind = family.shape.type.in_words
    first = next(family.metrics(), None) if family.shape.type.is_histogram else None
    return f"native {kind}" if first and first.native is not None else kind


def _query(family: Family, kind: str, chosen: str) -> str:
    """Return a query for *family* in the groups that the selector *chosen* selects."""
    name = family.shape.name
    # No series has the name of these families itself.
    if kind in ("histogram", "gauge histogram"):
        name += "_bucket"
    elif kind == "summary" and not any(family.shape.bounds):
        name += "_sum"
    return name + chosen if LEGACY_METRIC(name) else f"{{{go_quote(name)},{chosen[1:]}"


def _rows(family: Family, grouping: frozenset[str], settings: Settings, now: int) -> Iterator[Row]:
    shape = family.shape
    read = reader(shape.name, now)
    for index, metric in enumerate(family.metrics()):
        chips = [
            chip(name, value, settings) for name, value in metric.labels if name not in grouping
        ]
        if shape.type.is_simple:
            [number] = metric.values
            yield Row(chips, Value(read(float(number)), digits(number)))
        elif shape.type is MetricType.SUMMARY:
            yield _summary(metric, chips, read)
        else:
            yield _histogram(metric, chips, read, is_drawn=index < _MAX_CHARTS)


_Read = Callable[[float], str]


def _summary(metric: Metric, chips: list[Chip], read: _Read) -> Row:
    bounds, values = metric.bounds, [*metric.values]
    count, total = metric.observations, metric.total
    texts = (
        (f"Quantile {digits(bound)}", digits(value))
        for bound, value in zip(bounds, values, strict=True)
    )
    most = max((abs(float(value)) for value in values if math.isfinite(float(value))), default=0.0)
    bars = [
        (
            f"p{100 * float(bound):g}",
            Value(read(float(value)), digits(value)),
            bar_share(float(value), most),
        )
        for bound, value in islice(zip(bounds, values, strict=True), _MAX_CHARTS)
    ]
    points = chain(texts, [("Count", count), ("Sum", digits(total))])
    return Row(chips, totals=_totals(count, total, read), quantiles=bars, points=points)


def _histogram(metric: Metric, chips: list[Chip], read: _Read, *, is_drawn: bool) -> Row:
    bounds, counts = metric.bounds, [*metric.values]
    count, total = metric.observations, metric.total
    native = None if metric.native is None else [*islice(metric.native, _MAX_NATIVE_SHOWN)]
    classic = (
        (f"≤ {digits(bound)}", digits(value)) for bound, value in zip(bounds, counts, strict=True)
    )
    totals = _totals(count, total, read)
    chart = _chart(bounds, counts, native, read) if is_drawn else None
    if chart:
        totals += [(name, Value(shown, "")) for name, shown in chart.quantiles]
    if native is not None:
        totals.append(("buckets", Value(f"{len(native):,}", "")))
        text = native_text(native, count, total)
        return Row(chips, None, totals, chart, [], classic if bounds else None, text)
    points = chain(classic, [("Count", digits(count)), ("Sum", digits(total))])
    return Row(chips, None, totals, chart, [], points)


def _chart(
    bounds: Sequence[str], counts: Sequence[str], native: Sequence[NativeBucket] | None, read: _Read
) -> Chart | None:
    """Return the chart of a histogram; None if it would take too long to draw."""
    if len(native or bounds) > _MAX_DRAWN:
        return None
    if native is not None:
        buckets = [Bucket(b.lower, b.upper, float(b.population)) for b in native]
    else:
        buckets = classic_buckets([*map(float, bounds)], [*map(float, counts)])
    return histogram(buckets, read, is_native=native is not None)


def _totals(count: str, total: str, read: _Read) -> list[tuple[str, Value]]:
    number, sum_ = float(count), float(total)
    totals = [
        ("count", Value(plain(number), digits(count))),
        # A sum of ratios is not a ratio.
        ("sum", Value(plain(sum_) if "%" in read(sum_) else read(sum_), digits(total))),
    ]
    if number > 0 and math.isfinite(sum_):
        totals.append(("mean", Value(read(sum_ / number), go_float(sum_ / number))))
    return totals


def native_text(buckets: Iterable[NativeBucket], count: str, total: str) -> str:
    """Return a native histogram on one line: ``{count:3, sum:9.5, [-2,-1):2, (8,16]:1}``."""
    parts = [f"count:{count}", f"sum:{total}"]
    for boundaries, lower, upper, population in buckets:
        left, right = _BRACKETS[boundaries]
        parts.append(f"{left}{go_float(lower)},{go_float(upper)}{right}:{count_text(population)}")
    return f"{{{', '.join(parts)}}}"
