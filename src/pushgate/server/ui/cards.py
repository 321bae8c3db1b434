"""Groups and metric families as the templates show them: plain text, not yet escaped."""

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import chain, islice
from typing import Final, NamedTuple
from urllib.parse import quote

from pushgate.errors import InvalidGroupingKey
from pushgate.formats.protobuf.description import Described, count_text, describe
from pushgate.model.family import MetricType
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.layout import sanitised
from pushgate.model.names import LEGACY_LABEL, NameRule
from pushgate.model.native import NativeBucket
from pushgate.model.numbers import go_float
from pushgate.model.quoting import go_quote, raw, text
from pushgate.server.http.families import Family, Steps, local_time, sorted_families
from pushgate.server.http.push_path import grouping_key
from pushgate.server.settings import Settings
from pushgate.server.store.group import Group

MAX_ROWS = 500
"""How many metrics of a family are shown unless all are asked for."""

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
# By the boundaries of a native bucket.
_BRACKETS = (("(", "]"), ("[", ")"), ("(", ")"), ("[", "]"))


class Badge(NamedTuple):
    """One label. ``kind`` is its CSS class."""

    name: str
    value: str
    kind: str


class Moment(NamedTuple):
    """A time: ``6 min ago``, and in full."""

    full: str
    ago: str


class GroupCard(NamedTuple):
    """A group by its grouping key. ``pushed`` is None if no push has succeeded yet.

    ``delete_path`` is its push path below the route prefix, without the first slash;
    empty if no path can name it.
    """

    id: str
    badges: list[Badge]
    pushed: Moment | None
    failed: Moment | None
    delete_path: str


class Row(NamedTuple):
    """One metric: ``value`` of a simple one; ``points`` of others; ``native`` buckets.

    ``points`` can be read once: a histogram may have 100,000 buckets.
    """

    badges: list[Badge]
    value: str = ""
    points: Iterator[tuple[str, str]] | None = None
    native: str = ""


class FamilyCard(NamedTuple):
    """A metric family. ``rows`` can be read once; ``more`` is how many rows are not in it."""

    name: str
    type: str
    help: str
    pushed: str
    rows: Iterator[Row]
    more: int


def group_card(group: Group, settings: Settings, now: int) -> GroupCard:
    """Return the card of *group* at time *now*, in Unix nanoseconds."""
    return GroupCard(
        group_id(group.key),
        _grouping_badges(group.key, _name_rule(settings)),
        _moment(group.pushed_at, now) if group.pushed_at else None,
        None if group.last_push_successful else _moment(group.failed_at, now),
        delete_path(group.key, settings),
    )


def family_cards(
    group: Group, settings: Settings, *, max_rows: int | None
) -> Steps[Iterator[FamilyCard]]:
    """Return the families of *group* by name, with at most *max_rows* metrics of each."""
    rule = _name_rule(settings)
    families = yield from sorted_families(group)
    return (
        FamilyCard(
            family.shape.name,
            family.shape.type.name,
            family.shape.help or "",
            local_time(_whole_seconds(family.received)),
            islice(_rows(family, group.key.labels, rule), max_rows),
            max(0, len(family.shape.labels) - (max_rows or len(family.shape.labels))),
        )
        for family in families
    )


def group_id(key: GroupingKey) -> str:
    """Return *key* as one segment of a path."""
    return base64.urlsafe_b64encode(key.packed).decode().rstrip("=")


def key_of(group_id: str) -> GroupingKey | None:
    """Return the key that :func:`group_id` wrote, or None if it did not write this."""
    try:
        parts = base64.b64decode(group_id + "==", b"-_", validate=False).split(b"\xff")
    except ValueError:
        return None
    if len(parts) % 2:
        return None
    return GroupingKey(zip(map(text, parts[::2]), map(text, parts[1::2]), strict=True))


def delete_path(key: GroupingKey, settings: Settings) -> str:
    """Return the path that names *key*, see :class:`GroupCard`."""
    rule, labels = _name_rule(settings), dict(key.labels)
    pairs = [("job", labels.pop("job")), *labels.items()]
    path = "/".join(f"{_path_name(name, rule)}@base64/{_base64(value)}" for name, value in pairs)
    path = f"metrics/{path}"
    if all(map(_is_plain, key.names)) or _names(path, key, settings):
        return path
    return ""


def _names(path: str, key: GroupingKey, settings: Settings) -> bool:
    try:
        return grouping_key(f"{settings.route_prefix}/{path}".encode(), settings) == key
    except InvalidGroupingKey:
        return False


def _is_plain(name: str) -> bool:
    return LEGACY_LABEL(name) is not None and not name.startswith("U__")


def _path_name(name: str, rule: NameRule) -> str:
    if rule is NameRule.LEGACY or _is_plain(name):
        return quote(name, safe="", errors="surrogateescape")
    return "U__" + "".join(
        "__" if c == "_" else c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name
    )


def _base64(value: str) -> str:
    return base64.urlsafe_b64encode(raw(value)).decode() or "="


def _name_rule(settings: Settings) -> NameRule:
    return NameRule.UTF8 if settings.push_enable_utf8_names else NameRule.LEGACY


def _grouping_badges(key: GroupingKey, rule: NameRule) -> list[Badge]:
    labels = sorted(key.labels, key=lambda pair: pair[0] != "job")
    kinds = {"job": "job", "instance": "instance"}
    return [_badge(name, value, kinds.get(name, "other"), rule) for name, value in labels]


def _badge(name: str, value: str, kind: str, rule: NameRule) -> Badge:
    return Badge(name if rule.label(name) else go_quote(name), value, kind)


def _moment(time: int, now: int) -> Moment:
    seconds = max(0, now - time) // 10**9
    scale, unit = next(((s, u) for s, u in _UNITS if seconds >= s), (1, "s"))
    return Moment(local_time(_whole_seconds(time)), f"{seconds // scale} {unit} ago")


def _whole_seconds(nanoseconds: int) -> int:
    return nanoseconds // 10**9 * 10**9


def _rows(family: Family, grouping: Labels, rule: NameRule) -> Iterator[Row]:
    """Yield the metrics of *family* in the order pushed."""
    shape = family.shape
    show = _SHOWN.get(shape.type, _simple)
    for index, (labels, at) in enumerate(zip(shape.labels, shape.metric_slots(), strict=True)):
        badges = _metric_badges(labels, grouping, rule)
        yield show(family, index, badges, family.numbers[at.start : at.stop])


def _metric_badges(labels: Labels, grouping: Labels, rule: NameRule) -> list[Badge]:
    """Return the badges of a metric in its group: first the labels that are its own."""
    own = {name for name, _ in labels} - {name for name, _ in grouping}
    badges = [
        _badge(name, value, "own" if name in own else "grouping", rule)
        for name, value in sanitised(labels, grouping)
    ]
    return sorted(badges, key=lambda badge: badge.kind != "own")


def _simple(_family: Family, _index: int, badges: list[Badge], numbers: Sequence[str]) -> Row:
    return Row(badges, plain(numbers[0]))


def _summary(family: Family, index: int, badges: list[Badge], numbers: Sequence[str]) -> Row:
    *values, total, count = numbers
    described = _described(family, index)
    quantiles = zip(family.shape.bounds[index], values, strict=True)
    shown = ((f"Quantile {plain(bound)}", plain(value)) for bound, value in quantiles)
    totals = _totals("Sample", described.total if described else plain(count), plain(total))
    return Row(badges, points=chain(shown, totals))


def _histogram(family: Family, index: int, badges: list[Badge], numbers: Sequence[str]) -> Row:
    *pushed, total, count = numbers
    bounds, counts = family.shape.bounds[index], iter(pushed)
    described = _described(family, index)
    if described:
        counts, count = iter(described.buckets), described.total
    buckets = zip(bounds, counts, strict=True)
    classic = ((f"Sample values ≤ {plain(bound)}", plain(value)) for bound, value in buckets)
    if described and described.native is not None:
        native = native_text(described.native, count, total)
        return Row(badges, points=classic if bounds else None, native=native)
    return Row(badges, points=chain(classic, _totals("Total sample", plain(count), plain(total))))


def _described(family: Family, index: int) -> Described | None:
    return describe(family.details[index]) if family.details else None


def _totals(what: str, count: str, total: str) -> list[tuple[str, str]]:
    return [(f"{what} Count", count), ("Sample Sum", total)]


_SHOWN: Final[Mapping[MetricType, Callable[[Family, int, list[Badge], Sequence[str]], Row]]] = {
    MetricType.SUMMARY: _summary,
    MetricType.HISTOGRAM: _histogram,
    MetricType.GAUGE_HISTOGRAM: _histogram,
}


def native_text(buckets: Iterable[NativeBucket], count: str, total: str) -> str:
    """Return a native histogram on one line: ``{count:3, sum:9.5, [-2,-1):2, (8,16]:1}``."""
    parts = [f"count:{count}", f"sum:{total}", *map(_interval, buckets)]
    return f"{{{', '.join(parts)}}}"


def _interval(bucket: NativeBucket) -> str:
    boundaries, lower, upper, count = bucket
    left, right = _BRACKETS[boundaries]
    return f"{left}{go_float(lower)},{go_float(upper)}{right}:{count_text(count)}"


def plain(number: str) -> str:
    """Return canonical *number* without an exponent."""
    return format(Decimal(number), "f") if "e" in number else number
