"""A metric family without its numbers, and the types that families have."""

from collections.abc import Iterable
from enum import IntEnum
from itertools import accumulate, pairwise
from typing import NamedTuple

from pushgate.model.grouping import Labels


class MetricType(IntEnum):
    """The type of a family, numbered as in ``io.prometheus.client.MetricType``."""

    COUNTER = 0
    GAUGE = 1
    SUMMARY = 2
    UNTYPED = 3
    HISTOGRAM = 4
    GAUGE_HISTOGRAM = 5

    # Enum's own is written in Python, and shapes are looked up by it.
    __hash__ = int.__hash__

    @property
    def word(self) -> str:
        """The word of the text format; gauge histograms are written as histograms."""
        return "histogram" if self is MetricType.GAUGE_HISTOGRAM else self.name.lower()

    @property
    def in_words(self) -> str:
        """What people call it; the text format has no word for gauge histograms."""
        return self.name.lower().replace("_", " ")

    @property
    def is_simple(self) -> bool:
        """Whether a metric of this type is one number."""
        return self in _SIMPLE

    @property
    def own_label(self) -> str | None:
        """The label that an exposition adds to the samples of this type."""
        return _OWN_LABELS.get(self)

    @property
    def is_histogram(self) -> bool:
        """Whether a metric of this type has buckets."""
        return self in _HISTOGRAMS


_SIMPLE = frozenset({MetricType.COUNTER, MetricType.GAUGE, MetricType.UNTYPED})
_HISTOGRAMS = frozenset({MetricType.HISTOGRAM, MetricType.GAUGE_HISTOGRAM})
_OWN_LABELS = {MetricType.SUMMARY: "quantile", **dict.fromkeys(_HISTOGRAMS, "le")}


class FamilyShape(NamedTuple):
    """A metric family without its numbers.

    ``labels`` has the labels of each metric, sorted by name, without the grouping labels;
    ``bounds`` the buckets or quantiles of each metric as canonical text (empty for simple
    types). ``help`` is None if none was given. ``untyped_as_text`` marks an OpenMetrics counter,
    which agrees with both types: the Go server reads it as text, in which it is untyped.
    """

    name: str
    type: MetricType
    help: str | None
    labels: tuple[Labels, ...]
    bounds: tuple[tuple[str, ...], ...] = ()
    untyped_as_text: bool = False

    @property
    def slots(self) -> int:
        if not self.bounds:  # one for each metric: shapes have thousands of such families
            return len(self.labels)
        return sum(map(len, self.bounds)) + 2 * len(self.bounds)  # a sum and a count each

    def metric_slots(self) -> Iterable[range]:
        """Yield the range of slots of each metric, counted from the family's first slot."""
        # Lazily: a family may have 100,000 metrics.
        if self.type.is_simple:
            return (range(i, i + 1) for i in range(len(self.labels)))
        ends = accumulate((len(bounds) + 2 for bounds in self.bounds), initial=0)
        return (range(*pair) for pair in pairwise(ends))
