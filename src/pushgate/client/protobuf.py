"""Families as ``io.prometheus.client.MetricFamily`` messages, each after its length.

The numbers are those of the fields in client_model's ``metrics.proto``. Messages are written
by hand because that needs no protobuf runtime and is several times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from pushgate.client.families import Family, Kind, Labels, Point
from pushgate.formats.protobuf.wire import (
    append_bytes,
    append_delimited,
    append_double,
    append_sint,
    append_text,
    append_uint,
)

if TYPE_CHECKING:
    from prometheus_client.samples import Exemplar, NativeHistogram

CONTENT_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)


def encode(family: Family) -> bytearray:
    """Return *family* as a delimited protobuf message."""
    # MetricFamily: name 1, help 2, type 3, metric 4. Metric: label 1, and a field by type.
    out = bytearray()
    field, write = _WRITERS[family.kind]
    append_text(out, 1, family.name)
    if family.help:
        append_text(out, 2, family.help)
    append_uint(out, 3, family.kind.value[1])
    for point in family.points.values():
        metric = bytearray(_labels(point.labels))
        append_bytes(metric, field, write(point))
        append_bytes(out, 4, metric)
    delimited = bytearray()
    append_delimited(delimited, out)
    return delimited


@lru_cache(maxsize=8192)  # the same series are pushed again and again
def _labels(labels: Labels) -> bytes:
    # LabelPair: name 1, value 2.
    out = bytearray()
    for name, value in labels:
        pair = bytearray()
        append_text(pair, 1, name)
        append_text(pair, 2, value)
        append_bytes(out, 1, pair)
    return bytes(out)


def _value(point: Point) -> bytearray:
    out = bytearray()
    append_double(out, 1, point.value)
    return out


def _counter(point: Point) -> bytearray:
    out = _value(point)
    if point.exemplar is not None:
        append_bytes(out, 2, _exemplar(point.exemplar))
    _append_created(out, 3, point.created)
    return out


def _summary(point: Point) -> bytearray:
    # Summary: sample_count 1, sample_sum 2, quantile 3 (quantile 1, value 2), created 4.
    out = bytearray()
    append_uint(out, 1, int(point.count))
    append_double(out, 2, point.sum)
    for quantile, value in point.quantiles:
        entry = bytearray()
        append_double(entry, 1, quantile)
        append_double(entry, 2, value)
        append_bytes(out, 3, entry)
    _append_created(out, 4, point.created)
    return out


def _histogram(point: Point) -> bytearray:
    # Histogram: sample_count 1 or 4, sample_sum 2, bucket 3 (count 1 or 4, bound 2, exemplar
    # 3), created 15, exemplars 16 of the native part, whose other fields are 5 to 14.
    out = bytearray()
    native = point.native
    # One message for both kinds of buckets, so that both count the same observations.
    count = native.count_value if native else point.count
    _append_count(out, 1, 4, count)
    append_double(out, 2, native.sum_value if native else point.sum)
    if not point.native_only:
        # In ascending order, which the format requires and collectors need not keep.
        for bucket in sorted(point.buckets):
            entry = bytearray()
            _append_count(entry, 1, 4, bucket.total)
            append_double(entry, 2, bucket.bound)
            if bucket.exemplar is not None:
                append_bytes(entry, 3, _exemplar(bucket.exemplar))
            append_bytes(out, 3, entry)
    if native:
        _append_native(out, native)
    _append_created(out, 15, point.created)
    for exemplar in (native.nh_exemplars or ()) if native else ():
        append_bytes(out, 16, _exemplar(exemplar))
    return out


def _append_native(out: bytearray, native: NativeHistogram) -> None:
    # schema 5, zero_threshold 6, zero_count 7 or 8; spans and deltas: negative 9 and 10,
    # positive 12 and 13.
    append_sint(out, 5, native.schema)
    append_double(out, 6, native.zero_threshold)
    _append_count(out, 7, 8, native.zero_count)
    _append_side(out, 9, native.neg_spans, native.neg_deltas)
    _append_side(out, 12, native.pos_spans, native.pos_deltas)
    if not (native.zero_threshold or native.zero_count or native.neg_spans or native.pos_spans):
        # metrics.proto asks for a span that covers nothing: without it, readers would take an empty
        # native histogram for a classic one.
        _append_side(out, 12, ((0, 0),), ())


def _append_side(
    out: bytearray,
    field: int,
    spans: Sequence[tuple[int, int]] | None,
    deltas: Sequence[int] | None,
) -> None:
    """Append spans as *field* and deltas as the field after it."""
    for offset, length in spans or ():
        span = bytearray()
        append_sint(span, 1, offset)
        append_uint(span, 2, length)
        append_bytes(out, field, span)
    for delta in deltas or ():
        append_sint(out, field + 1, delta)


def _append_count(out: bytearray, whole: int, fraction: int, count: float) -> None:
    """Append *count* as the uint64 *whole*, or as the double *fraction* if it is none."""
    # Native histograms of floats have fields of their own for their counts, as doubles.
    if float(count).is_integer() and count >= 0:
        append_uint(out, whole, int(count))
    else:
        append_double(out, fraction, count)


def _append_created(out: bytearray, field: int, created: float | None) -> None:
    if created is not None:
        append_bytes(out, field, _timestamp(created))


def _timestamp(seconds: float) -> bytearray:
    # google.protobuf.Timestamp: seconds 1, nanos 2 (0 to 999,999,999, before 1970 too).
    out = bytearray()
    whole = math.floor(seconds)
    # Cut, not rounded: a whole second of nanoseconds is no valid timestamp.
    append_uint(out, 1, whole)
    append_uint(out, 2, min(int((seconds - whole) * 1e9), 999_999_999))
    return out


def _exemplar(exemplar: Exemplar) -> bytearray:
    # Exemplar: label 1, value 2, timestamp 3.
    out = bytearray(_labels(tuple(exemplar.labels.items())))
    append_double(out, 2, exemplar.value)
    if exemplar.timestamp is not None:
        append_bytes(out, 3, _timestamp(float(exemplar.timestamp)))
    return out


_WRITERS: Mapping[Kind, tuple[int, Callable[[Point], bytearray]]] = {
    Kind.COUNTER: (3, _counter),
    Kind.GAUGE: (2, _value),
    Kind.SUMMARY: (4, _summary),
    Kind.UNTYPED: (5, _value),
    Kind.HISTOGRAM: (7, _histogram),
    Kind.GAUGE_HISTOGRAM: (7, _histogram),
}
