"""What the value part of a wire message says beyond the numbers that text knows."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any, NamedTuple

from pushgate.formats.protobuf.messages import message_class
from pushgate.model.native import (
    NativeBucket,
    NativeHistogram,
    Side,
    inconsistency,
    native_buckets,
)
from pushgate.model.numbers import go_float


class Described(NamedTuple):
    """The counts of a histogram or summary, exactly: whole ones in plain digits.

    ``total`` is that of all observations, ``buckets`` are those of the classic buckets;
    ``native`` are the populated native buckets, None if the histogram is not native. Both
    can be read once and are made while they are read, since there may be very many.
    """

    total: str
    buckets: Iterable[str] = ()
    native: Iterable[NativeBucket] | None = None


def describe(detail: bytes) -> Described | None:
    """Return what *detail* says of a histogram or summary; None if it is of neither."""
    metric = message_class("Metric").FromString(detail)
    if metric.HasField("histogram"):
        return _histogram(metric.histogram)
    if metric.HasField("summary"):
        return Described(str(metric.summary.sample_count))
    return None


def count_text(count: float) -> str:
    """Return *count*: an ``int`` in plain digits, a ``float`` as Go writes it."""
    return str(count) if isinstance(count, int) else go_float(count)


def _count(fraction: float, whole: int) -> str:
    return count_text(fraction if fraction > 0 else whole)


def _histogram(histogram: Any) -> Described:
    native = histogram.positive_span or histogram.negative_span
    return Described(
        _count(histogram.sample_count_float, histogram.sample_count),
        (_count(one.cumulative_count_float, one.cumulative_count) for one in histogram.bucket),
        native_buckets(native_histogram(histogram)) if native else None,
    )


def is_native(histogram: Any) -> bool:
    """Return whether Prometheus takes *histogram* for a native one."""
    return bool(
        histogram.positive_span
        or histogram.negative_span
        or histogram.zero_threshold > 0
        or histogram.zero_count
        or histogram.zero_count_float > 0
    )


def native_inconsistency(histogram: Any) -> str | None:
    """Return why a Prometheus would refuse the native *histogram*; None if it takes it."""
    if has_float_counts(histogram):
        count, signed = histogram.sample_count_float, native_histogram(histogram)
    else:
        count = histogram.sample_count
        signed = native_histogram(histogram)._replace(
            positive=Side(_spans(histogram.positive_span), [*accumulate(histogram.positive_delta)]),
            negative=Side(_spans(histogram.negative_span), [*accumulate(histogram.negative_delta)]),
        )
    is_whole = not has_float_counts(histogram)
    return inconsistency(signed, count, histogram.sample_sum, is_whole=is_whole)


def has_float_counts(histogram: Any) -> bool:
    """Return whether the counts of *histogram* are floats."""
    return bool(histogram.sample_count_float > 0 or histogram.zero_count_float > 0)


def _spans(spans: Any) -> list[tuple[int, int]]:
    return [(span.offset, span.length) for span in spans]


def native_histogram(histogram: Any) -> NativeHistogram:
    """Return *histogram* with absolute counts; float ones if it has any."""
    positive, negative = _spans(histogram.positive_span), _spans(histogram.negative_span)
    if has_float_counts(histogram):
        sides = Side(positive, histogram.positive_count), Side(negative, histogram.negative_count)
        zero = histogram.zero_count_float
    else:
        sides = (
            Side(positive, _absolute(histogram.positive_delta)),
            Side(negative, _absolute(histogram.negative_delta)),
        )
        zero = histogram.zero_count
    return NativeHistogram(histogram.schema, histogram.zero_threshold, zero, *sides)


def _absolute(deltas: Iterable[int]) -> list[int]:
    return [count % 2**64 for count in accumulate(deltas)]  # unsigned, as the reference's
