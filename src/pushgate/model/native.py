"""Native histograms: the bounds of their buckets, and how spans and counts encode them.

With schema ``n`` and ``base = 2 ** (2 ** -n)``, bucket ``i`` counts the values with
``base ** (i - 1) < |value| <= base ** i``; positive and negative values have buckets of their own.
"""

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Final, NamedTuple

from pushgate.model.slices import PER_SLICE, Sliced, listing, sorting

MIN_SCHEMA: Final = -4
MAX_SCHEMA: Final = 8
"""Prometheus reads no others (metrics.proto, Histogram.schema)."""
MAX_BUCKET: Final = 2**63 - 1
"""Prometheus adds up the deltas of integer buckets with 64 bits and a sign."""
_LARGEST = sys.float_info.max


@cache
def bounds(schema: int) -> Sequence[float]:
    """Return the ``2 ** schema`` bounds within [0.5, 1), bit for bit those of Prometheus."""
    if schema == 0:
        return (0.5,)
    coarse = bounds(schema - 1)
    # Prometheus' tables are constants. One of them, sqrt(1/2), is rounded down, and every finer
    # table contains it (prometheus: model/histogram, exponentialBounds).
    base = math.nextafter(math.sqrt(2), 0) if schema == 1 else 2.0 ** (2.0**-schema)
    return tuple(factor for bound in coarse for factor in (bound, bound * base))


def bound(index: int, schema: int) -> float:
    """Return the largest absolute value in bucket *index*.

    That is the largest float for the bucket that ends where the floats do, and infinity beyond.
    """
    if schema < 0:
        fraction, exponent = 0.5, (index << -schema) + 1
    else:
        fraction = bounds(schema)[index & (1 << schema) - 1]
        exponent = (index >> schema) + 1
    if fraction == 0.5 and exponent == sys.float_info.max_exp + 1:
        return _LARGEST
    try:
        return math.ldexp(fraction, exponent)
    except OverflowError:
        return math.inf


class Side(NamedTuple):
    """The buckets of one sign. A span is (offset, length); counts are absolute.

    Offsets count from bucket 0 for the first span, from the end of the span before for the others.

    Both may be iterators, to be read once and no further than needed.
    """

    spans: Iterable[tuple[int, int]]
    counts: Iterable[float]

    def buckets(self) -> Iterator[tuple[int, float]]:
        """Yield (index, count) of each bucket, until spans or counts run out."""
        counts, index = iter(self.counts), 0
        for offset, length in self.spans:
            index += offset
            for _, count in zip(range(length), counts, strict=False):
                yield index, count
                index += 1


class NativeHistogram(NamedTuple):
    """A native histogram; ``schema`` is from :data:`MIN_SCHEMA` to :data:`MAX_SCHEMA`."""

    schema: int
    zero_threshold: float
    zero_count: float
    positive: Side
    negative: Side


def inconsistency(
    histogram: NativeHistogram, count: float, total: float, *, is_whole: bool
) -> str | None:
    """Return why a Prometheus would refuse *histogram*, and with it the whole scrape; or None.

    Prometheus up to 2.42 panics if there are fewer buckets than the spans say
    (prometheus: model/histogram, Validate and Compact).

    *count* and *total* are the number and the sum of all observations. Counts may be negative here;
    *is_whole* says that they are integers, which have to add up.
    """
    sides = {"positive": histogram.positive, "negative": histogram.negative}
    counts = [histogram.zero_count]
    for name, side in sides.items():
        spans, its = [*side.spans], [*side.counts]
        if any(offset < 0 for offset, _ in spans[1:]):
            return f"has {name} spans that overlap"
        expected = sum(length for _, length in spans)
        if expected != len(its):
            return f"has {name} spans for {expected} buckets, but {len(its)} buckets"
        counts += its
    if count < 0 or any(its < 0 for its in counts):  # min() may overlook one beside NaN
        return "has a negative count"
    if is_whole and max(counts[1:], default=0) > MAX_BUCKET:
        return f"has a bucket that counts more than {MAX_BUCKET}"
    # NaN observations are counted but are in no bucket; the sum is NaN then. Float counts may
    # differ by rounding; up to 2.42, the buckets besides that of zero must not count more.
    found = sum(counts) if is_whole else sum(counts[1:])
    if not is_whole and not found > count * (1 + 1e-9):
        found = count
    if found > count or (found < count and not math.isnan(total)):
        return f"has the count {count}, but its buckets hold {found}"
    return None


class NativeBucket(NamedTuple):
    """A populated bucket. ``boundaries``: 0 (lower, upper], 1 [lower, upper), 2 open, 3 closed."""

    boundaries: int
    lower: float
    upper: float
    population: float


def native_buckets(histogram: NativeHistogram) -> Iterator[NativeBucket]:
    """Yield the populated buckets of *histogram*, ascending."""
    schema = histogram.schema
    negative = (
        _bucket(-bound(index, schema), -bound(index - 1, schema), count)
        for index, count in reversed([*histogram.negative.buckets()])
    )
    width = histogram.zero_threshold
    zero = NativeBucket(3, -width, width, histogram.zero_count)
    positive = (
        _bucket(bound(index - 1, schema), bound(index, schema), count)
        for index, count in histogram.positive.buckets()
    )
    return (one for one in chain(negative, [zero], positive) if one.population)


def _bucket(lower: float, upper: float, count: float) -> NativeBucket:
    return NativeBucket(_BOUNDARIES[lower < 0, upper > 0], lower, upper, count)


# By whether the lower bound is negative and the upper one positive: the bound that is farther from
# zero belongs to the bucket.
_BOUNDARIES = {(False, True): 0, (True, False): 1, (False, False): 2, (True, True): 3}


def adding(one: NativeHistogram, other: NativeHistogram) -> Sliced[NativeHistogram]:
    """Return the sum of two native histograms, at the coarser schema of the two, in slices.

    Zero buckets of different widths become as wide as the wider one, or wider, if that would cut
    a populated bucket in two (prometheus: FloatHistogram.Add, reconcileZeroBuckets).
    """
    one, other = (yield from _read(one)), (yield from _read(other))
    schema = min(one.schema, other.schema)
    width = yield from _common_width(one, other)
    zero_count = one.zero_count + other.zero_count
    positive: dict[int, float] = {}
    negative: dict[int, float] = {}
    for histogram in (one, other):
        for side, counts in ((histogram.positive, positive), (histogram.negative, negative)):
            for number, (index, count) in enumerate(side.buckets()):
                if number % PER_SLICE == 0:
                    yield
                upper = bound(index, histogram.schema)
                if histogram.zero_threshold < width and upper <= width:
                    zero_count += count
                else:
                    # Rounds up: a bucket includes its upper bound.
                    coarse = ((index - 1) >> histogram.schema - schema) + 1
                    counts[coarse] = counts.get(coarse, 0) + count
    sides = (yield from _side(positive)), (yield from _side(negative))
    return NativeHistogram(schema, width, zero_count, *sides)


def _read(histogram: NativeHistogram) -> Sliced[NativeHistogram]:
    """Return *histogram* with lists, which can be read again."""
    sides = []
    for spans, counts in (histogram.positive, histogram.negative):
        sides.append(Side((yield from listing(spans)), (yield from listing(counts))))
    return histogram._replace(positive=sides[0], negative=sides[1])


def _common_width(one: NativeHistogram, other: NativeHistogram) -> Sliced[float]:
    # Widening may reach into another populated bucket, so it is repeated until nothing changes.
    width, before = max(one.zero_threshold, other.zero_threshold), -1.0
    while width > before:  # also ends where one is NaN
        before = width
        for histogram in (one, other):
            if histogram.zero_threshold == width:
                continue
            buckets = chain(histogram.positive.buckets(), histogram.negative.buckets())
            for number, (index, count) in enumerate(buckets):
                if number % PER_SLICE == 0:
                    yield
                lower, upper = bound(index - 1, histogram.schema), bound(index, histogram.schema)
                if count and lower < width < upper:
                    width = upper
    return width


def _side(counts: dict[int, float]) -> Sliced[Side]:
    """Return *counts*, by index, with a span for each run of adjacent buckets."""
    spans: list[tuple[int, int]] = []
    end = 0
    populated = yield from listing(index for index, count in counts.items() if count)
    indexes = yield from sorting(populated, lambda index: index)
    for number, index in enumerate(indexes):
        if number % PER_SLICE == 0:
            yield
        if spans and index == end:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((index - end, 1))
        end = index + 1
    return Side(spans, [counts[index] for index in indexes])
