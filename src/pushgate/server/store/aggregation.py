"""Adds pushes to the contents of a group, where a rule asks for it.

Sums are those of float64, in the order of the pushes. The numbers of a group are stored as
canonical text, which represents a float64 exactly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate, chain
from typing import Final, NamedTuple, TypeAlias

from pushgate.errors import InconsistentPush
from pushgate.formats.protobuf.addition import added_detail, has_native_buckets
from pushgate.formats.protobuf.values import encoded, encoding, packed
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.layout import sanitised
from pushgate.model.numbers import go_float
from pushgate.model.quoting import go_quote
from pushgate.model.shape import Pushed, PushShape, interning
from pushgate.model.slices import PER_SLICE, Sliced, listing, mapping, releasing
from pushgate.server.store.group import Group


class Operation(StrEnum):
    """How the stored and the pushed value of a series are combined."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """The operation for each family: by its name, else by the word of its type, else LAST."""

    operations: Mapping[str, Operation] = field(default_factory=dict)

    def of(self, family: FamilyShape) -> Operation:
        by_type = self.operations.get(family.type.word, Operation.LAST)
        return self.operations.get(family.name, by_type)


REPLACE_SERIES: Final = Aggregation()
"""A pushed series replaces the stored one."""


class _Metric(NamedTuple):
    """The value of a metric: its buckets or quantiles, and a text for each slot.

    ``detail`` is as in :class:`Pushed`.
    """

    bounds: tuple[str, ...]
    numbers: Sequence[bytes]
    detail: bytes

    def value(self, kind: MetricType) -> Sliced[bytes]:
        """Return the value as bytes of a ``Metric`` message."""
        if self.detail:
            return self.detail
        numbers = yield from listing(map(float, self.numbers))
        if kind.is_simple:
            return encoded(kind, (), numbers)
        return (yield from encoding(kind, (yield from listing(packed(self.bounds))), numbers))


_Metrics: TypeAlias = dict[Labels, _Metric]

# How many families have their numbers joined at once.
_CHUNK = 512


class _Content(NamedTuple):
    """A push whose families are looked up by name.

    While the garbage collector walks a young list of 100,000 items, which takes milliseconds, all
    threads wait. So nothing here has that many items, except for the tuple of numbers, which it
    walks only once. ``firsts`` has the number of metrics before each family, if there are
    ``details``.
    """

    shape: PushShape
    tokens: tuple[bytes, ...]
    details: tuple[bytes, ...]
    firsts: Sequence[int]

    @classmethod
    def of(cls, pushed: Pushed) -> Sliced["_Content"]:
        tokens = tuple(pushed.numbers.split(b" "))
        yield
        firsts: Sequence[int] = ()
        if pushed.details:
            lengths = (len(family.labels) for family in pushed.shape.families)
            firsts = yield from listing(accumulate(lengths, initial=0))
        return cls(pushed.shape, tokens, pushed.details, firsts)

    def family(self, name: str) -> FamilyShape:
        """Return the family called *name*, which must be present."""
        return self.shape.families[self.shape.label_schema.positions[name]]

    def metrics(self, family: FamilyShape) -> Sliced[_Metrics]:
        """Return the metrics of *family*, which must be present, by their labels."""
        at = self.shape.label_schema.positions[family.name]
        start = self.shape.starts[at]
        metrics: _Metrics = {}
        for number, (labels, slots) in enumerate(
            zip(family.labels, family.metric_slots(), strict=True)
        ):
            if number and number % PER_SLICE == 0:
                yield
            metrics[labels] = _Metric(
                family.bounds[number] if family.bounds else (),
                self.tokens[start + slots.start : start + slots.stop],
                self.details[self.firsts[at] + number] if self.firsts else b"",
            )
        return metrics


def aggregated(group: Group, pushed: Pushed, aggregation: Aggregation) -> Sliced[Pushed]:
    """Return the families of *pushed* as they are in *group* after the push is added to it.

    No family of the push has a label set twice. Series that the group does not have yet are
    appended. Takes time in proportion to the sizes of these families in the group.

    Raises:
        InconsistentPush: a metric can't be added to the stored one; with the reason.
    """
    names = pushed.shape.name_set
    stored: dict[str, _Content] = {}
    for block in group.blocks:
        if held := block.held(names):
            content = yield from _Content.of(block.pushed)
            for number, name in enumerate(held):
                if number % PER_SLICE == 0:
                    yield
                stored[name] = content
    more = yield from _Content.of(pushed)
    # Unless a metric has one of these labels itself, equal labels say that series are the same.
    own = {*group.key.names, "instance"}
    sources = (pushed, *(block.pushed for block in group.blocks))
    is_plain = all(own.isdisjoint(each.shape.label_schema.label_names) for each in sources)
    result = _Result()
    for number, family in enumerate(pushed.shape.families):
        if number % (PER_SLICE // 8) == 0:
            yield
        metrics = yield from more.metrics(family)
        old, out = family, _Metrics()
        if held_by := stored.get(family.name):
            old = held_by.family(family.name)
            out = yield from held_by.metrics(old)
        if old.type is not family.type:
            kinds = f"it is stored as a {old.type.in_words}, not a {family.type.in_words}"
            raise _refusal(family, kinds)
        operation = aggregation.of(family)
        # The labels of a metric by those that its series have: some an exposition replaces or adds.
        known: dict[Labels, Labels] = {}
        if not is_plain:
            known = yield from mapping((sanitised(its, group.key.labels), its) for its in out)
        for count, (labels, metric) in enumerate(metrics.items()):
            if count and count % PER_SLICE == 0:
                yield
            place = known.get(sanitised(labels, group.key.labels), labels) if known else labels
            before = out.get(place)
            if before is None or operation is Operation.LAST:
                out[place] = metric
            else:
                out[place] = yield from _combined(family, operation, before, metric)
        yield from result.add(_shape(family, old, out), out)
        yield from releasing(metrics)
        yield from releasing(out)
    return (yield from result.pushed(pushed))


class _Result:
    """Collects the resulting families in their order."""

    def __init__(self) -> None:
        self._families: list[FamilyShape] = []
        self._numbers: list[bytes] = []
        self._waiting: list[bytes] = []
        self._details: list[bytes] = []
        self._metrics = 0

    def add(self, family: FamilyShape, metrics: _Metrics) -> Sliced[None]:
        self._families.append(family)
        for number, metric in enumerate(metrics.values()):
            if number and number % PER_SLICE == 0:
                yield
            self._waiting += metric.numbers
            if metric.detail or self._details:
                # The first detail of the push: all metrics before it get an empty one.
                missing = self._metrics + number - len(self._details)
                self._details += [b""] * missing
                self._details.append(metric.detail)
            if len(self._waiting) >= _CHUNK:
                self._join()
        self._metrics += len(metrics)

    def _join(self) -> None:
        if self._waiting:
            self._numbers.append(b" ".join(self._waiting))
            self._waiting.clear()

    def pushed(self, template: Pushed) -> Sliced[Pushed]:
        """Return *template* with the families."""
        self._join()
        return template._replace(
            shape=(yield from interning(tuple(self._families))),
            numbers=b" ".join(self._numbers),
            details=tuple(self._details),
        )


def _shape(family: FamilyShape, old: FamilyShape, metrics: _Metrics) -> FamilyShape:
    """Return the shape of *family* with *metrics*; a missing help text is that of *old*."""
    bounds = () if family.type.is_simple else tuple(metric.bounds for metric in metrics.values())
    return family._replace(
        help=old.help if family.help is None else family.help,
        labels=tuple(metrics),
        bounds=bounds,
        untyped_as_text=family.untyped_as_text and old.untyped_as_text,
    )


def _combined(
    family: FamilyShape, operation: Operation, before: _Metric, more: _Metric
) -> Sliced[_Metric]:
    match operation:
        case Operation.LAST:
            return more
        case Operation.SUM:
            return (yield from _sum(family, before, more))
        case Operation.MAX | Operation.MIN:
            if not family.type.is_simple:
                raise _refusal(
                    family, f"the {operation} of a {family.type.word} is not defined; use sum"
                )
            old, new = float(before.numbers[0]), float(more.numbers[0])
            wins = math.isnan(old) or (new > old if operation is Operation.MAX else new < old)
            return more if wins else before


def _sum(family: FamilyShape, before: _Metric, more: _Metric) -> Sliced[_Metric]:
    kind = family.type
    tail = 1 if kind.is_simple else 2  # sum and count follow the buckets or quantiles
    pairs = zip(before.numbers[-tail:], more.numbers[-tail:], strict=True)
    bounds, totals = more.bounds, [_added(*pair) for pair in pairs]
    if kind.is_histogram:
        bounds, counts = yield from _shared_buckets(family, before, more)
    else:
        counts = [*more.numbers[: len(bounds)]]  # quantiles can't be added: the pushed ones stay
    numbers = [*counts, *totals]
    if not (before.detail or more.detail):
        return _Metric(bounds, numbers, b"")
    try:
        stored, pushed = (yield from before.value(kind)), (yield from more.value(kind))
        floats = yield from listing(map(float, numbers))
        detail = yield from added_detail(kind, stored, pushed, bounds, floats)
    except ValueError:
        raise _refusal(family, "a count becomes too large for 64 bits") from None
    return _Metric(bounds, numbers, detail)


def _added(one: bytes, other: bytes) -> bytes:
    return go_float(float(one) + float(other)).encode()


def _shared_buckets(
    family: FamilyShape, before: _Metric, more: _Metric
) -> Sliced[tuple[tuple[str, ...], list[bytes]]]:
    """Return the bounds that both histograms have, and the sums of the counts below them.

    Every histogram has the bound infinity; where it is not written, with its count.
    """
    below = yield from _by_bound(before)
    more_below = yield from _by_bound(more)
    shared = yield from listing(bound for bound in below if bound in more_below)
    if not any(map(math.isfinite, shared)):
        # Fine if both have native buckets, or if neither has buckets at all.
        native = [has_native_buckets(family.type, one.detail) for one in (before, more)]
        has_classic = any(math.isfinite(bound) for each in (below, more_below) for bound in each)
        if not all(native) and (any(native) or has_classic):
            raise _refusal(family, "its buckets have no bound in common with those stored")
    # Bounds are compared as numbers, and written as one of the two was.
    texts = chain(before.bounds, more.bounds)
    written = yield from mapping((float(text), text) for text in texts)
    shared = yield from listing(bound for bound in shared if bound in written)
    bounds = yield from listing(written[bound] for bound in shared)
    counts = yield from listing(_added(below[bound], more_below[bound]) for bound in shared)
    for each in (below, more_below, written):
        yield from releasing(each)
    return tuple(bounds), counts


def _by_bound(metric: _Metric) -> Sliced[dict[float, bytes]]:
    below = yield from mapping(zip(map(float, metric.bounds), metric.numbers, strict=False))
    below.setdefault(math.inf, metric.numbers[-1])
    return below


def _refusal(family: FamilyShape, reason: str) -> InconsistentPush:
    return InconsistentPush(
        f"metric {go_quote(family.name)} can't be added to what is stored: {reason}",
        advice=("PUT the group to start anew, or change the rule if one asks for this.",),
    )
