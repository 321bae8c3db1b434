"""The value of a metric as bytes of its ``Metric`` message: everything but labels and timestamp.

Field numbers are those of ``io/prometheus/client/metrics.proto``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from pushgate.formats.protobuf.wire import double, field, varint
from pushgate.model.family import MetricType
from pushgate.model.numbers import is_whole_count
from pushgate.model.slices import PER_SLICE, Sliced

_LARGEST_COUNT = 2**64 - 1

SIMPLE_PREFIX: Final = {
    MetricType.COUNTER: b"\x1a\x09\x09",
    MetricType.GAUGE: b"\x12\x09\x09",
    MetricType.UNTYPED: b"\x2a\x09\x09",
}
"""What precedes the eight bytes of a number: field, length, and the tag of ``value``."""


def packed(bounds: Iterable[str]) -> Iterator[bytes]:
    """Yield buckets or quantiles, written as canonical text, as eight bytes each."""
    return (double(float(bound)) for bound in bounds)


def encoded(kind: MetricType, bounds: Sequence[bytes], numbers: Sequence[float]) -> bytes:
    """Return the value with these *numbers*; all fields are present, in ascending order.

    *bounds* are the buckets or quantiles from :func:`packed`.
    """
    if kind.is_simple:
        return SIMPLE_PREFIX[kind] + double(numbers[0])
    *points, total, count = numbers
    form = _form(kind, numbers)
    return form.whole(form.points(bounds, points), total, count)


def encoding(kind: MetricType, bounds: Sequence[bytes], numbers: Sequence[float]) -> Sliced[bytes]:
    """Do what :func:`encoded` does for a metric with many *bounds*, in slices."""
    *points, total, count = numbers
    form = _form(kind, numbers)
    parts = []
    for start in range(0, len(bounds), PER_SLICE):
        yield
        some = slice(start, start + PER_SLICE)
        parts.append(form.points(bounds[some], points[some]))
    return form.whole(b"".join(parts), total, count)


class _Form(NamedTuple):
    """How the message of a distribution is written: its points, and all of it around them."""

    points: Callable[[Sequence[bytes], Sequence[float]], bytes]
    whole: Callable[[bytes, float, float], bytes]


def _form(kind: MetricType, numbers: Sequence[float]) -> _Form:
    """Return the form of a distribution; a histogram's depends on its counts."""
    if kind is MetricType.SUMMARY:
        return _SUMMARY
    *counts, _, count = numbers
    # One count that is not whole makes all of them doubles: a reader looks at one kind only.
    is_whole = is_whole_count(count) and all(map(is_whole_count, counts))
    return _HISTOGRAM if is_whole else _FLOAT_HISTOGRAM


def _doubles(
    first: bytes, second: bytes, bounds: Sequence[bytes], points: Sequence[float]
) -> bytes:
    """Return points that are messages of two doubles: *first*, a bound, *second*, a number."""
    parts: list[bytes] = []
    for bound, point in zip(bounds, points, strict=True):
        parts += (first, bound, second, double(point))
    return b"".join(parts)


def _summary(points: bytes, total: float, count: float) -> bytes:
    # sample_count 1 is a uint64, but the text format lets a summary count anything.
    said = varint(min(int(count), _LARGEST_COUNT))
    return field(4, b"\x08%b\x11%b%b" % (said, double(total), points))


_BUCKET_SIZES: Final = [varint(10 + size) for size in range(11)]


def _buckets(bounds: Sequence[bytes], counts: Sequence[float]) -> bytes:
    parts: list[bytes] = []
    for bound, below in zip(bounds, counts, strict=True):
        number = varint(int(below))
        # cumulative_count 1, upper_bound 2: ten bytes around the varint.
        parts += (b"\x1a", _BUCKET_SIZES[len(number)], b"\x08", number, b"\x11", bound)
    return b"".join(parts)


def _histogram(buckets: bytes, total: float, count: float) -> bytes:
    return field(7, b"\x08%b\x11%b%b" % (varint(int(count)), double(total), buckets))


def _float_histogram(buckets: bytes, total: float, count: float) -> bytes:
    # sample_count_float is field 4, so it follows the buckets.
    return field(7, b"\x11%b%b\x21%b" % (double(total), buckets, double(count)))


# Field 3 of a summary: quantile 1, value 2. Field 3 of a histogram: upper_bound 2,
# cumulative_count_float 4. Both are 18 bytes long.
_SUMMARY: Final = _Form(partial(_doubles, b"\x1a\x12\x09", b"\x11"), _summary)
_HISTOGRAM: Final = _Form(_buckets, _histogram)
_FLOAT_HISTOGRAM: Final = _Form(partial(_doubles, b"\x1a\x12\x11", b"\x21"), _float_histogram)
