"""Adds what is pushed to what a group holds, where a rule asks for it.

Sums are those of float64, in the order of the pushes: the numbers of a group are canonical
text, which loses nothing of a float64.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from typing import Final, NamedTuple, TypeAlias

from pushgate.errors import InconsistentPush
from pushgate.formats.protobuf.addition import added_detail, has_native_buckets
from pushgate.formats.protobuf.values import encoded, packed
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.layout import sanitised
from pushgate.model.numbers import go_float
from pushgate.model.quoting import go_quote
from pushgate.model.shape import Pushed, interning
from pushgate.model.slices import PER_SLICE, Sliced, listing, releasing
from pushgate.server.store.group import Group


class Operation(StrEnum):
    """What becomes of the stored and the pushed value of a series."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """Which operation is for which families: by name, else by the word of the type, else LAST."""

    operations: Mapping[str, Operation] = field(default_factory=dict)

    def of(self, family: FamilyShape) -> Operation:
        """Return the operation for *family*."""
        by_type = self.operations.get(family.type.word, Operation.LAST)
        return self.operations.get(family.name, by_type)


REPLACE_SERIES: Final = Aggregation()
"""A pushed series takes the place of the stored one."""


class _Metric(NamedTuple):
    """The value of a metric: buckets or quantiles, a text for each slot, the wire's bytes if any.

    ``detail`` is as in :class:`Pushed`.
    """

    bounds: tuple[str, ...]
    numbers: Sequence[bytes]
    detail: bytes

    @property
    def floats(self) -> list[float]:
        """The numbers."""
        return [*map(float, self.numbers)]

    def value(self, kind: MetricType) -> bytes:
        """Return the value as bytes of a ``Metric`` message."""
        return self.detail or encoded(kind, packed(self.bounds), self.floats)


# From this part of a block on, its families are walked instead of looked up.
_MANY = 4

_Metrics: TypeAlias = dict[Labels, _Metric]
_Content: TypeAlias = dict[str, tuple[FamilyShape, _Metrics]]


def aggregated(group: Group, pushed: Pushed, aggregation: Aggregation) -> Sliced[Pushed]:
    """Return what the families of *pushed* are in *group* once they are added to it.

    Series that the group does not have are added. Costs time in proportion to the families
    of *pushed* in the group.

    Args:
        group: what is stored.
        pushed: the push; no label set of a family comes twice.
        aggregation: what the rule of the group says.

    Raises:
        InconsistentPush: a metric can't be added to the stored one; with the reason.
    """
    names = pushed.shape.name_set
    stored: _Content = {}
    for block in group.blocks:
        stored |= yield from _contents(block.pushed, names - block.dropped)
    more = yield from _contents(pushed, names)
    families: list[FamilyShape] = []
    numbers: list[bytes] = []
    details: list[bytes] = []
    own = {*group.key.names, "instance"}
    held = (pushed, *(block.pushed for block in group.blocks))
    is_plain = all(own.isdisjoint(each.shape.label_schema.label_names) for each in held)
    for family, metrics in more.values():
        old, out = stored.get(family.name, (family, {}))
        if old.type is not family.type:
            raise _refusal(family, f"it is stored as a {old.type.word}, not a {family.type.word}")
        operation = aggregation.of(family)
        known = {} if is_plain else (yield from _places(out, group.key.labels))
        for number, (labels, metric) in enumerate(metrics.items()):
            if number % PER_SLICE == 0:
                yield
            place = known.get(sanitised(labels, group.key.labels), labels) if known else labels
            before = out.get(place)
            out[place] = metric if before is None else _combined(family, operation, before, metric)
        yield
        families.append(_shape(family, old, out))
        yield
        numbers += [number for metric in out.values() for number in metric.numbers]
        details += [metric.detail for metric in out.values()]
        yield
        yield from releasing(metrics)
        yield from releasing(out)
    for content in (stored, more):
        yield from releasing(content)
    return pushed._replace(
        shape=(yield from interning(tuple(families))),
        numbers=b" ".join(numbers),
        details=tuple(details) if any(details) else (),
    )


def _contents(pushed: Pushed, names: frozenset[str]) -> Sliced[_Content]:
    """Return the families of *pushed* that are called one of *names*, with their metrics."""
    shape, positions = pushed.shape, pushed.shape.label_schema.positions
    if len(names) * _MANY < len(shape.families):
        places = sorted([positions[name] for name in names if name in positions])
    else:  # in order, because to sort so many is one long call into C
        places = yield from listing(
            at for at, family in enumerate(shape.families) if family.name in names
        )
    tokens = pushed.numbers.split(b" ") if places else []
    firsts: Sequence[int] = ()  # metrics before each family
    if pushed.details:
        lengths = (len(family.labels) for family in shape.families)
        firsts = yield from listing(accumulate(lengths, initial=0))
    out: _Content = {}
    for at in places:
        family, start = shape.families[at], shape.starts[at]
        metrics: _Metrics = {}
        for number, (labels, slots) in enumerate(
            zip(family.labels, family.metric_slots(), strict=True)
        ):
            if number % PER_SLICE == 0:
                yield
            metrics[labels] = _Metric(
                family.bounds[number] if family.bounds else (),
                tokens[start + slots.start : start + slots.stop],
                pushed.details[firsts[at] + number] if firsts else b"",
            )
        out[family.name] = family, metrics
    return out


def _places(metrics: _Metrics, grouping: Labels) -> Sliced[dict[Labels, Labels]]:
    """Return the labels in *metrics* by those that the series have in the group.

    Labels that an exposition replaces or adds do not tell series apart.
    """
    places: dict[Labels, Labels] = {}
    for number, labels in enumerate(metrics):
        if number % PER_SLICE == 0:
            yield
        places[sanitised(labels, grouping)] = labels
    return places


def _shape(family: FamilyShape, old: FamilyShape, metrics: _Metrics) -> FamilyShape:
    """Return the shape of *family* with *metrics*; what it does not say is as in *old*."""
    bounds = () if family.type.is_simple else tuple(metric.bounds for metric in metrics.values())
    return family._replace(
        help=old.help if family.help is None else family.help,
        labels=tuple(metrics),
        bounds=bounds,
        untyped_as_text=family.untyped_as_text and old.untyped_as_text,
    )


def _combined(family: FamilyShape, operation: Operation, before: _Metric, more: _Metric) -> _Metric:
    match operation:
        case Operation.LAST:
            return more
        case Operation.SUM:
            return _sum(family, before, more)
        case Operation.MAX | Operation.MIN:
            if not family.type.is_simple:
                raise _refusal(
                    family, f"the {operation} of a {family.type.word} is not defined; use sum"
                )
            old, new = before.floats[0], more.floats[0]
            wins = math.isnan(old) or (new > old if operation is Operation.MAX else new < old)
            return more if wins else before


def _sum(family: FamilyShape, before: _Metric, more: _Metric) -> _Metric:
    kind = family.type
    bounds, totals = more.bounds, [b"%b" % _added(*pair) for pair in _tails(kind, before, more)]
    if kind.is_histogram:
        bounds, counts = _shared_buckets(family, before, more)
    else:
        counts = [*more.numbers[: len(bounds)]]  # quantiles can't be added
    numbers = [*counts, *totals]
    if not (before.detail or more.detail):
        return _Metric(bounds, numbers, b"")
    try:
        floats = [*map(float, numbers)]
        detail = added_detail(kind, before.value(kind), more.value(kind), bounds, floats)
    except ValueError:
        raise _refusal(family, "a count becomes too large for 64 bits") from None
    return _Metric(bounds, numbers, detail)


def _tails(kind: MetricType, before: _Metric, more: _Metric) -> Iterator[tuple[bytes, bytes]]:
    """Yield pairs of numbers to add up that stand behind buckets and quantiles."""
    count = 1 if kind.is_simple else 2
    return zip(before.numbers[-count:], more.numbers[-count:], strict=True)


def _added(one: bytes, other: bytes) -> bytes:
    return go_float(float(one) + float(other)).encode()


def _shared_buckets(
    family: FamilyShape, before: _Metric, more: _Metric
) -> tuple[tuple[str, ...], list[bytes]]:
    """Return the bounds that both histograms have, and the sums of the counts below them.

    Every histogram has the bound infinity, even unwritten: its count.
    """
    below, more_below = _by_bound(before), _by_bound(more)
    shared = tuple(bound for bound in below if bound in more_below)
    if not any(map(math.isfinite, shared)) and not (
        all(has_native_buckets(family.type, metric.detail) for metric in (before, more))
        or _have_no_buckets(family, before, more)
    ):
        raise _refusal(family, "its buckets have no bound in common with those stored")
    written = {float(bound): bound for bound in (*before.bounds, *more.bounds)}
    kept = [bound for bound in shared if bound in written]
    counts = [_added(below[bound], more_below[bound]) for bound in kept]
    return tuple(written[bound] for bound in kept), counts


def _have_no_buckets(family: FamilyShape, *metrics: _Metric) -> bool:
    return not any(
        math.isfinite(float(bound)) for metric in metrics for bound in metric.bounds
    ) and not any(has_native_buckets(family.type, metric.detail) for metric in metrics)


def _by_bound(metric: _Metric) -> dict[float, bytes]:
    below = dict(zip(map(float, metric.bounds), metric.numbers, strict=False))
    return {**below, math.inf: metric.numbers[-1]}


def _refusal(family: FamilyShape, reason: str) -> InconsistentPush:
    return InconsistentPush(
        f"metric {go_quote(family.name)} can't be added to what is stored: {reason}",
        advice=("PUT the group to start anew, or change the rule if one asks for this.",),
    )
