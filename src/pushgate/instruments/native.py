"""The buckets of native histograms: sparse and exponential. No locks, no clock.

Their bounds are in :mod:`pushgate.model.native`.
"""

import math
import sys
from bisect import bisect_left
from collections.abc import Mapping

from prometheus_client.samples import BucketSpan, NativeHistogram

from pushgate.errors import ConfigurationError
from pushgate.model.native import MAX_SCHEMA, MIN_SCHEMA, bound, bounds

# As in client_golang and client_java.
DEFAULT_ZERO_THRESHOLD = 2.0**-128
_LARGEST = sys.float_info.max
# A gap of empty buckets up to this long is written as zeros, not as a new span.
_SHORT_GAP = 2


def index_of(value: float, schema: int) -> int:
    """Return the bucket of *value*, which is positive; infinity has one of its own."""
    # frexp() knows no exponent of infinity.
    if math.isinf(value):
        return index_of(_LARGEST, schema) + 1
    # value = fraction * 2**exponent, with a fraction from 0.5 on and below 1.
    fraction, exponent = math.frexp(value)
    if schema > 0:
        return bisect_left(bounds(schema), fraction) + (exponent - 1 << schema)
    # Upper bounds are inclusive: a power of two belongs to the bucket that it ends.
    whole = exponent - 1 if fraction == 0.5 else exponent
    return (whole + (1 << -schema) - 1) >> -schema


def schema_for(factor: float) -> int:
    """Return the coarsest schema whose buckets grow by at most *factor* (above 1)."""
    if not factor > 1:
        raise ConfigurationError(
            f"bucket_factor must be greater than 1, not {factor}", key="bucket_factor"
        )
    # The bounds of schema s grow by 2 ** 2 ** -s.
    return max(MIN_SCHEMA, min(MAX_SCHEMA, -math.floor(math.log2(math.log2(factor)))))


class NativeBuckets:
    """The buckets of one series. Not thread-safe: its owner has a lock.

    Args:
        schema: Resolution, -4 to 8; each step halves the width of the buckets.
        max_buckets: How many populated buckets there may be before resolution is reduced; 0
            is no limit.
        min_zero_threshold: Width of the zero bucket to begin with.
        max_zero_threshold: How far it may grow to save buckets.
    """

    def __init__(
        self, schema: int, max_buckets: int, min_zero_threshold: float, max_zero_threshold: float
    ) -> None:
        self._initial = (schema, min_zero_threshold)
        self._max_buckets = max_buckets
        self._max_threshold = max_zero_threshold
        self.clear()

    def clear(self) -> None:
        """Forget every observation and go back to the initial resolution."""
        self.schema, self.zero_threshold = self._initial
        self.zero_count = 0
        self.positive: dict[int, int] = {}
        self.negative: dict[int, int] = {}

    @property
    def is_degraded(self) -> bool:
        """Whether the limit has reduced the resolution."""
        return (self.schema, self.zero_threshold) != self._initial

    def observe(self, value: float) -> bool:
        """Count *value*, which is not NaN. Return whether there now are too many buckets."""
        size = abs(value)
        if size <= self.zero_threshold:
            self.zero_count += 1
            return False
        side = self.positive if value > 0 else self.negative
        index = index_of(size, self.schema)
        if index in side:
            side[index] += 1
            return False
        side[index] = 1
        # At the coarsest schema the limit no longer applies, as in client_java.
        return self.schema > MIN_SCHEMA and 0 < self._max_buckets < len(self.positive) + len(
            self.negative
        )

    def shrink(self) -> None:
        """Take one step towards fewer buckets: widen the zero bucket, or halve the schema."""
        # Growing the zero bucket costs the least: it loses only values near zero.
        smallest = min((*self.positive, *self.negative))
        width = bound(smallest, self.schema)
        if width <= self._max_threshold:
            self.zero_threshold = width
            self.zero_count += self.positive.pop(smallest, 0) + self.negative.pop(smallest, 0)
        else:
            self.schema -= 1
            self.positive, self.negative = _halved(self.positive), _halved(self.negative)

    def snapshot(self, count: int, total: float) -> NativeHistogram:
        """Return the buckets as spans and deltas, with *count* and sum *total*."""
        positive, negative = _spelled(self.positive), _spelled(self.negative)
        return NativeHistogram(
            count_value=count,
            sum_value=total,
            schema=self.schema,
            zero_threshold=self.zero_threshold,
            zero_count=self.zero_count,
            pos_spans=positive[0],
            neg_spans=negative[0],
            pos_deltas=positive[1],
            neg_deltas=negative[1],
        )


def _halved(side: Mapping[int, int]) -> dict[int, int]:
    halved: dict[int, int] = {}
    for index, count in side.items():
        # Each pair of buckets becomes one. The bound that stays is that of the even index.
        coarse = (index + 1) >> 1
        halved[coarse] = halved.get(coarse, 0) + count
    return halved


def _spelled(side: Mapping[int, int]) -> tuple[list[BucketSpan], list[int]]:
    """Return the spans of a side, and its counts, each as the difference to the one before."""
    spans: list[BucketSpan] = []
    deltas: list[int] = []
    end = before = 0  # one past the bucket before; the first offset is absolute
    for index in sorted(side):
        gap = index - end
        # A span costs two numbers, a zero one delta: up to two zeros are shorter than a new span.
        if spans and gap <= _SHORT_GAP:
            counts = [0] * gap + [side[index]]
            spans[-1] = BucketSpan(spans[-1].offset, spans[-1].length + len(counts))
        else:
            counts = [side[index]]
            spans.append(BucketSpan(gap, 1))
        for count in counts:
            deltas.append(count - before)
            before = count
        end = index + 1
    return spans, deltas
