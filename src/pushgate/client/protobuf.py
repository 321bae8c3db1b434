"""Families as ``io.prometheus.client.MetricFamily`` messages, each after its length.

The numbers are those of the fields in client_model's ``metrics.proto``. Messages are written
by hand because that needs no protobuf runtime and is several times as fast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from pushgate.client.families import Bucket, Family, Point
from pushgate.formats.protobuf.wire import delimited, double_field, field, sint_field, uint_field
from pushgate.model.family import MetricType
from pushgate.model.grouping import Labels

if TYPE_CHECKING:
    from prometheus_client.samples import Exemplar, NativeHistogram

CONTENT_TYPE = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)


def encode(family: Family) -> bytes:
    """Return *family* as a delimited protobuf message."""
    # MetricFamily: name 1, help 2, type 3, metric 4. Metric: label 1, and a field by type.
    number, write = _WRITERS[family.kind]
    help_ = field(2, family.help.encode()) if family.help else b""
    metrics = [
        field(4, _labels(point.labels) + field(number, write(point)))
        for point in family.points.values()
    ]
    kind = uint_field(3, family.kind)
    return delimited(b"".join([field(1, family.name.encode()), help_, kind, *metrics]))


@lru_cache(maxsize=8192)  # the same series are pushed again and again
def _labels(labels: Labels) -> bytes:
    # LabelPair: name 1, value 2.
    return b"".join(
        field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in labels
    )


def _value(point: Point) -> bytes:
    return double_field(1, point.value)


def _counter(point: Point) -> bytes:
    exemplar = b"" if point.exemplar is None else field(2, _exemplar(point.exemplar))
    return _value(point) + exemplar + _created(3, point)


def _summary(point: Point) -> bytes:
    # Summary: sample_count 1, sample_sum 2, quantile 3 (quantile 1, value 2), created 4.
    quantiles = [
        field(3, double_field(1, quantile) + double_field(2, value))
        for quantile, value in point.quantiles
    ]
    count, total = uint_field(1, int(point.count)), double_field(2, point.sum)
    return b"".join([count, total, *quantiles, _created(4, point)])


def _histogram(point: Point) -> bytes:
    # Histogram: sample_count 1 or 4, sample_sum 2, bucket 3, created 15, exemplars 16 of the native
    # part, whose other fields are 5 to 14.
    native = point.native
    # One message for both kinds of buckets, so that both count the same observations.
    out = [
        _count(1, 4, native.count_value if native else point.count),
        double_field(2, native.sum_value if native else point.sum),
    ]
    if not point.native_only:
        # In ascending order, which the format requires and collectors need not keep.
        out += [field(3, _bucket(bucket)) for bucket in sorted(point.buckets)]
    if native:
        out += _native(native)
    out.append(_created(15, point))
    if native:
        out += [field(16, _exemplar(exemplar)) for exemplar in native.nh_exemplars or ()]
    return b"".join(out)


def _bucket(bucket: Bucket) -> bytes:
    # Bucket: cumulative_count 1 or 4, upper_bound 2, exemplar 3.
    exemplar = b"" if bucket.exemplar is None else field(3, _exemplar(bucket.exemplar))
    return _count(1, 4, bucket.total) + double_field(2, bucket.bound) + exemplar


def _native(native: NativeHistogram) -> Iterator[bytes]:
    # schema 5, zero_threshold 6, zero_count 7 or 8; spans and deltas: negative 9 and 10,
    # positive 12 and 13.
    yield sint_field(5, native.schema)
    yield double_field(6, native.zero_threshold)
    yield _count(7, 8, native.zero_count)
    yield from _side(9, native.neg_spans, native.neg_deltas)
    yield from _side(12, native.pos_spans, native.pos_deltas)
    if not (native.zero_threshold or native.zero_count or native.neg_spans or native.pos_spans):
        # metrics.proto asks for a span that covers nothing: without it, readers would take an empty
        # native histogram for a classic one.
        yield from _side(12, ((0, 0),), ())


def _side(
    number: int, spans: Sequence[tuple[int, int]] | None, deltas: Sequence[int] | None
) -> Iterator[bytes]:
    """Yield spans as the field *number* and deltas as the field after it."""
    for offset, length in spans or ():
        yield field(number, sint_field(1, offset) + uint_field(2, length))
    for delta in deltas or ():
        yield sint_field(number + 1, delta)


def _count(whole: int, fraction: int, count: float) -> bytes:
    """Return *count* as the uint64 *whole*, or as the double *fraction* if it is none."""
    # Native histograms of floats have fields of their own for their counts, as doubles.
    if float(count).is_integer() and count >= 0:
        return uint_field(whole, int(count))
    return double_field(fraction, count)


def _created(number: int, point: Point) -> bytes:
    return b"" if point.created is None else field(number, _timestamp(point.created))


def _timestamp(seconds: float) -> bytes:
    # google.protobuf.Timestamp: seconds 1, nanos 2 (0 to 999,999,999, before 1970 too).
    whole = math.floor(seconds)
    # Cut, not rounded: a whole second of nanoseconds is no valid timestamp.
    nanos = min(int((seconds - whole) * 1e9), 999_999_999)
    return uint_field(1, whole) + uint_field(2, nanos)


def _exemplar(exemplar: Exemplar) -> bytes:
    # Exemplar: label 1, value 2, timestamp 3.
    time = exemplar.timestamp
    when = b"" if time is None else field(3, _timestamp(float(time)))
    return _labels(tuple(exemplar.labels.items())) + double_field(2, exemplar.value) + when


_WRITERS: Mapping[MetricType, tuple[int, Callable[[Point], bytes]]] = {
    MetricType.COUNTER: (3, _counter),
    MetricType.GAUGE: (2, _value),
    MetricType.SUMMARY: (4, _summary),
    MetricType.UNTYPED: (5, _value),
    MetricType.HISTOGRAM: (7, _histogram),
    MetricType.GAUGE_HISTOGRAM: (7, _histogram),
}
