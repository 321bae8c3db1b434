"""Adds values that text cannot express: native histograms, exemplars, created timestamps."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pushgate.formats.protobuf.description import has_float_counts, is_native, native_histogram
from pushgate.formats.protobuf.messages import VALUE_FIELDS, message_class
from pushgate.model.family import MetricType
from pushgate.model.native import MAX_BUCKET, NativeHistogram, adding
from pushgate.model.slices import PER_SLICE, Sliced


def read_value(kind: MetricType, detail: bytes) -> Any:
    """Return the message in *detail* that holds the value of a metric of type *kind*."""
    return getattr(message_class("Metric").FromString(detail), VALUE_FIELDS[kind])


def has_native_buckets(kind: MetricType, detail: bytes) -> bool:
    """Return whether *detail* holds a native histogram."""
    return bool(detail) and kind.is_histogram and is_native(read_value(kind, detail))


def added_detail(
    kind: MetricType, stored: bytes, pushed: bytes, bounds: Sequence[str], numbers: Sequence[float]
) -> Sliced[bytes]:
    """Return the sum of *stored* and *pushed* as bytes of a ``Metric`` message, in slices.

    Both are the value part of a metric, and *bounds* and *numbers* are those of the sum. Exemplars
    come from *pushed* where it has any, the created timestamp from *stored*.

    Raises:
        ValueError: a count becomes too large for 64 bits.
    """
    before = read_value(kind, stored)
    yield
    more = read_value(kind, pushed)
    yield
    metric = message_class("Metric")()
    out = getattr(metric, VALUE_FIELDS[kind])
    if kind.is_simple:
        out.value = numbers[0]
    elif kind is MetricType.SUMMARY:
        # The integer counts are added, because those in *numbers* are floats: exact below 2**53.
        # Beyond 64 bits, protobuf raises the ValueError.
        out.sample_count, out.sample_sum = before.sample_count + more.sample_count, numbers[-2]
        for rank, value in zip(bounds, numbers, strict=False):
            out.quantile.add(quantile=float(rank), value=value)
    else:
        yield from _add_histogram(out, before, more, bounds, numbers)
    if kind is MetricType.COUNTER:
        for value in (more, before):
            if value.HasField("exemplar") and not out.HasField("exemplar"):
                out.exemplar.CopyFrom(value.exemplar)
    if "created_timestamp" in out.DESCRIPTOR.fields_by_name:  # gauges have none
        for value in (before, more):
            if value.HasField("created_timestamp") and not out.HasField("created_timestamp"):
                out.created_timestamp.CopyFrom(value.created_timestamp)
    return bytes(metric.SerializeToString())


def _add_histogram(
    out: Any, before: Any, more: Any, bounds: Sequence[str], numbers: Sequence[float]
) -> Sliced[None]:
    *counts, total, count = numbers
    is_float = has_float_counts(before) or has_float_counts(more)
    # Text may add counts that are not whole to a histogram of integers.
    is_float = is_float or not all(number.is_integer() for number in (*counts, count))
    out.sample_sum = total
    if is_float:
        out.sample_count_float = count
    else:
        out.sample_count = before.sample_count + more.sample_count
    # By upper bound, because the sum keeps only the buckets that both have.
    exemplars: dict[float, Any] = {}
    for value in (before, more):
        for number, bucket in enumerate(value.bucket):
            if number % PER_SLICE == 0:
                yield
            if bucket.HasField("exemplar"):
                exemplars[bucket.upper_bound] = bucket.exemplar
    for number, (bound, below) in enumerate(zip(map(float, bounds), counts, strict=True)):
        if number % PER_SLICE == 0:
            yield
        if is_float:
            bucket = out.bucket.add(upper_bound=bound, cumulative_count_float=below)
        else:
            bucket = out.bucket.add(upper_bound=bound, cumulative_count=int(below))
        if bound in exemplars:
            bucket.exemplar.CopyFrom(exemplars[bound])
    if is_native(before) and is_native(more):
        both = yield from adding(native_histogram(before), native_histogram(more))
        yield from _write_native(out, both, is_float=is_float)
        out.exemplars.extend(more.exemplars or before.exemplars)


def _write_native(out: Any, histogram: NativeHistogram, *, is_float: bool) -> Sliced[None]:
    out.schema, out.zero_threshold = histogram.schema, histogram.zero_threshold
    if is_float:
        out.zero_count_float = histogram.zero_count
    else:
        out.zero_count = int(histogram.zero_count)
    for name, side in (("positive", histogram.positive), ("negative", histogram.negative)):
        spans = getattr(out, f"{name}_span")
        for number, (offset, length) in enumerate(side.spans):
            if number % PER_SLICE == 0:
                yield
            spans.add(offset=offset, length=length)
        if is_float:
            getattr(out, f"{name}_count").extend(map(float, side.counts))
        else:  # integer counts are written as differences to the bucket before
            if max(side.counts, default=0) > MAX_BUCKET:
                raise ValueError("a bucket becomes too large")
            counts = pairwise([0, *map(int, side.counts)])
            getattr(out, f"{name}_delta").extend(after - before for before, after in counts)
    # A native histogram without observations is marked by an empty span (metrics.proto,
    # positive_span), or readers would take it for a classic one.
    if not is_native(out):
        out.positive_span.add(offset=0, length=0)
