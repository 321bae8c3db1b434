"""Shape and values: what a push says, split into the part that stays and the part that moves.

A *shape* is everything about a push but its numbers: families, types, help, label sets,
buckets, quantiles. It hardly ever changes from push to push, and it is shared by all
groups that push it, so everything expensive is computed once per shape. What remains of
a push are its numbers, one line of canonical texts (see :mod:`pushgate.model.numbers`).

The *slots* of a shape are its numbers in order: families as pushed, metrics as pushed;
a counter, gauge or untyped metric has one slot; a summary or histogram has one for each
quantile or bucket, then the sum, then the count.
"""

from collections.abc import Iterable
from enum import IntEnum
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple
from weakref import WeakValueDictionary

from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.layout import MOST_MARKED_NAMES, Layout, layout_of
from pushgate.model.names import is_plain
from pushgate.model.quoting import raw


class MetricType(IntEnum):
    """The type of a family, numbered as in ``io.prometheus.client.MetricType``."""

    COUNTER = 0
    GAUGE = 1
    SUMMARY = 2
    UNTYPED = 3
    HISTOGRAM = 4
    GAUGE_HISTOGRAM = 5

    @property
    def word(self) -> str:
        """The word of the text format; gauge histograms are written as histograms."""
        return "histogram" if self is MetricType.GAUGE_HISTOGRAM else self.name.lower()

    @property
    def is_simple(self) -> bool:
        """Whether a metric of this type is one number."""
        return self in _SIMPLE

    @property
    def is_histogram(self) -> bool:
        """Whether a metric of this type has buckets."""
        return self in _HISTOGRAMS


_SIMPLE = frozenset({MetricType.COUNTER, MetricType.GAUGE, MetricType.UNTYPED})
_HISTOGRAMS = frozenset({MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM})


class FamilyShape(NamedTuple):
    """A metric family without its numbers.

    ``labels`` holds the labels of each metric, sorted by name, without the grouping
    labels; ``bounds`` the buckets or quantiles of each metric as canonical text (empty
    for simple types). ``help`` is None when none was given.
    """

    name: str
    type: MetricType
    help: str | None
    labels: tuple[Labels, ...]
    bounds: tuple[tuple[str, ...], ...] = ()

    @property
    def slots(self) -> int:
        """How many numbers the family has."""
        return sum(map(len, self.bounds)) + len(self.labels) * (1 if self.type.is_simple else 2)

    def metric_slots(self) -> Iterable[range]:
        """Yield for each metric the range of its slots, counted from the family's first."""
        if self.type.is_simple:
            return (range(i, i + 1) for i in range(len(self.labels)))
        ends = list(accumulate((len(bounds) + 2 for bounds in self.bounds), initial=0))
        return (range(*pair) for pair in pairwise(ends))


class PushShape:
    """The shape of one push: its families, in the order pushed. Interned: compare by identity.

    Get one from :func:`interned`.
    """

    def __init__(self, families: tuple[FamilyShape, ...]) -> None:
        self.families = families
        self.names = tuple(family.name for family in families)
        self._layouts: dict[tuple[str, ...] | Labels, Layout] = {}

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first slot of each family, and at the end the number of slots."""
        return tuple(accumulate((family.slots for family in self.families), initial=0))

    @property
    def series(self) -> int:
        """How many series an exposition of this shape has, synthesised buckets left out."""
        return self.starts[-1]

    @cached_property
    def is_plain(self) -> bool:
        """Whether no escaping scheme touches any name of this shape."""
        return all(
            is_plain(family.name) and all(is_plain(n) for pairs in family.labels for n, _ in pairs)
            for family in self.families
        )

    @cached_property
    def _order_needs_values(self) -> bool:
        """Whether metrics of one family differ in label names.

        Then grouping labels stand at different places in them, and the values of the
        grouping labels decide about their order in an exposition.
        """
        return any(
            len({tuple(name for name, _ in labels) for labels in family.labels}) > 1
            for family in self.families
        )

    def layout(self, key: GroupingKey) -> Layout:
        """Return how this shape is laid out under *key*.

        One layout serves all keys with the same label names, unless the order of the
        metrics depends on the key's values.
        """
        own = self._order_needs_values or len(key.names) > MOST_MARKED_NAMES
        kind: tuple[str, ...] | Labels = key.labels if own else key.names
        layout = self._layouts.get(kind)
        if layout is None:
            if len(self._layouts) >= _MOST_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[kind] = layout_of(self.families, key, own_values=own)
        return layout

    @cached_property
    def name_set(self) -> frozenset[str]:
        """The family names."""
        return frozenset(self.names)

    @cached_property
    def extent(self) -> "Extent":
        """How large this shape is."""
        pairs = [pair for family in self.families for labels in family.labels for pair in labels]
        return Extent(
            series=self.starts[-1],
            labels=max((len(lb) for family in self.families for lb in family.labels), default=0),
            label_name_bytes=max((len(raw(name)) for name, _ in pairs), default=0),
            label_value_bytes=max((len(raw(value)) for _, value in pairs), default=0),
        )


class Extent(NamedTuple):
    """How large a shape is: series in all, and the largest of each other kind."""

    series: int
    labels: int
    label_name_bytes: int
    label_value_bytes: int


# Layouts that are kept per shape. Jobs agree on their label names, so there is nearly
# always one; a shape whose order needs the values has one per group.
_MOST_LAYOUTS = 64

_SHAPES: WeakValueDictionary[tuple[FamilyShape, ...], PushShape] = WeakValueDictionary()


def interned(families: tuple[FamilyShape, ...]) -> PushShape:
    """Return the one shape of *families*. It lives as long as somebody holds it."""
    shape = _SHAPES.get(families)
    if shape is None:
        shape = _SHAPES[families] = PushShape(families)
    return shape


class Misfit(NamedTuple):
    """A metric of a pushed family that lacks the value its type asks for.

    ``value`` is what it has instead, in protobuf's text format.
    """

    family: int
    metric: int
    value: str


class Pushed(NamedTuple):
    """The content of one push: a shape, and its numbers.

    ``numbers`` has a canonical text for each slot, one blank between. ``details`` is
    empty, or has for each metric the value part of its wire message where text numbers
    do not say everything (native histograms, exemplars, created timestamps).
    """

    shape: PushShape
    numbers: bytes
    details: tuple[bytes, ...] = ()
    timestamped: bool = False
    misfits: tuple[Misfit, ...] = ()

    def without(self, names: frozenset[str]) -> "Pushed | None":
        """Return this push less the families called *names*; None when nothing remains."""
        kept = [i for i, name in enumerate(self.shape.names) if name not in names]
        if not kept:
            return None
        families, starts = self.shape.families, self.shape.starts
        tokens = self.numbers.split(b" ") if self.numbers else []
        numbers = b" ".join(t for i in kept for t in tokens[starts[i] : starts[i + 1]])
        ends = list(accumulate((len(family.labels) for family in families), initial=0))
        details = tuple(d for i in kept for d in self.details[ends[i] : ends[i + 1]])
        shape = interned(tuple(families[i] for i in kept))
        misfits = tuple(
            misfit._replace(family=at)
            for at, i in enumerate(kept)
            for misfit in self.misfits
            if misfit.family == i
        )
        return self._replace(
            shape=shape,
            numbers=numbers,
            details=details if any(details) else (),
            misfits=misfits,
        )
