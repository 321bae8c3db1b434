"""Reads from the value part of a wire message what the text format cannot express."""

from collections.abc import Iterable
from itertools import accumulate
from typing import Any, NamedTuple

from pushgate.formats.protobuf.messages import message_class
from pushgate.model.family import MetricType
from pushgate.model.native import NativeBucket, NativeHistogram, Side, inconsistency, native_buckets
from pushgate.model.numbers import go_float


class Described(NamedTuple):
    """The exact counts of a histogram or summary; whole ones in plain digits.

    ``total`` counts all observations, ``buckets`` has the counts of the classic buckets, and
    ``native`` the populated native buckets, None if the histogram is not native. ``buckets`` and
    ``native`` are computed while they are read, and can be read once: there may be very many.
    """

    total: str
    buckets: Iterable[str] = ()
    native: Iterable[NativeBucket] | None = None


def describe(detail: bytes, kind: MetricType) -> Described | None:
    """Return what *detail* says of a histogram or summary; None if it holds neither.

    It may hold both. Then *kind*, the type of the family, tells which one is meant.
    """
    metric = message_class("Metric").FromString(detail)
    if kind is MetricType.SUMMARY and metric.HasField("summary"):
        return Described(str(metric.summary.sample_count))
    if not metric.HasField("histogram"):
        return None
    histogram = metric.histogram
    native = histogram.positive_span or histogram.negative_span
    return Described(
        _count(histogram.sample_count_float, histogram.sample_count),
        (_count(one.cumulative_count_float, one.cumulative_count) for one in histogram.bucket),
        native_buckets(native_histogram(histogram)) if native else None,
    )


def count_text(count: float) -> str:
    """Return *count*: an ``int`` in plain digits, a ``float`` as Go writes it."""
    return str(count) if isinstance(count, int) else go_float(count)


def _count(fraction: float, whole: int) -> str:
    # A float count that is set takes precedence (metrics.proto, sample_count_float).
    return count_text(fraction if fraction > 0 else whole)


def is_native(histogram: Any) -> bool:
    """Return whether Prometheus takes *histogram* for a native one."""
    # prometheus: model/textparse/protobufparse.go, isNativeHistogram; up to 2.42 with the deltas
    return bool(
        histogram.positive_span
        or histogram.negative_span
        or histogram.positive_delta
        or histogram.negative_delta
        or histogram.zero_threshold > 0
        or histogram.zero_count
        or histogram.zero_count_float > 0
    )


def native_inconsistency(histogram: Any) -> str | None:
    """Return why a Prometheus would refuse the native *histogram*; None if it takes it."""
    is_whole = not has_float_counts(histogram)
    count = histogram.sample_count if is_whole else histogram.sample_count_float
    signed = native_histogram(histogram)
    if is_whole:  # without the wrap to 64 bits, which would hide that a count is negative
        signed = signed._replace(
            positive=Side(signed.positive.spans, [*accumulate(histogram.positive_delta)]),
            negative=Side(signed.negative.spans, [*accumulate(histogram.negative_delta)]),
        )
    return inconsistency(signed, count, histogram.sample_sum, is_whole=is_whole)


def has_float_counts(histogram: Any) -> bool:
    """Return whether the counts of *histogram* are floats."""
    # As Prometheus tells the two apart: no field says it.
    return bool(histogram.sample_count_float > 0 or histogram.zero_count_float > 0)


def native_histogram(histogram: Any) -> NativeHistogram:
    """Return *histogram* with absolute counts; float ones if it has any.

    Its spans and counts are iterators: what they yield is read then.
    """
    is_float = has_float_counts(histogram)
    sides = []
    for spans, counts, deltas in (
        (histogram.positive_span, histogram.positive_count, histogram.positive_delta),
        (histogram.negative_span, histogram.negative_count, histogram.negative_delta),
    ):
        # Integer counts are unsigned and wrap around, as the reference's do.
        absolute = counts if is_float else (count % 2**64 for count in accumulate(deltas))
        sides.append(Side(((span.offset, span.length) for span in spans), iter(absolute)))
    zero = histogram.zero_count_float if is_float else histogram.zero_count
    return NativeHistogram(histogram.schema, histogram.zero_threshold, zero, *sides)
