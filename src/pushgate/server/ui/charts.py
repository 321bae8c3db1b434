"""Charts, as the templates draw them in SVG.

Positions along the x axis are percentages, so a drawing is as wide as the page and its text is
not stretched. Heights are pixels.
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

HEIGHT = 180
"""How high the bars of a histogram are at most."""

_MAX_BARS = 160
_MAX_TICKS = 6
# How many percent of the width a text needs.
_ROOM = 8
_RANKS = (0.5, 0.9, 0.99)


class Bucket(NamedTuple):
    """How many observations there are between ``lower`` and ``upper``."""

    lower: float
    upper: float
    observed: float


class Bar(NamedTuple):
    """One bar of a histogram, and its tooltip."""

    x: str
    width: str
    y: str
    height: str
    title: str


class Mark(NamedTuple):
    """A label on the x axis; ``anchor`` is SVG's ``text-anchor``."""

    x: str
    text: str
    anchor: str


class Chart(NamedTuple):
    """A histogram. ``quantiles`` are marked in it and listed beside it."""

    bars: list[Bar]
    ticks: list[Mark]
    marks: list[Mark]
    quantiles: list[tuple[str, str]]
    label: str


def classic_buckets(bounds: Sequence[float], cumulative: Sequence[float]) -> list[Bucket]:
    """Return the buckets of a classic histogram, ascending; of equal bounds the last counts."""
    pairs = sorted(dict(zip(bounds, cumulative, strict=True)).items())
    start = 0.0 if pairs and pairs[0][0] > 0 else -math.inf
    lowers = [start, *(bound for bound, _ in pairs)]
    counts = [0.0, *(count for _, count in pairs)]
    return [
        Bucket(lower, upper, after - before)
        for (lower, upper), (before, after) in zip(pairwise(lowers), pairwise(counts), strict=True)
    ]


def histogram(
    buckets: Sequence[Bucket], read: Callable[[float], str], *, is_native: bool
) -> Chart | None:
    """Return the chart of ascending *buckets*; None if there is nothing to draw.

    *read* formats bounds in the unit of the family. Native buckets grow exponentially, and may
    leave gaps.
    """
    total = sum(bucket.observed for bucket in buckets)
    counts = [bucket.observed for bucket in buckets]
    finite = [b for bucket in buckets for b in bucket[:2] if math.isfinite(b)]
    # Cumulative counts that were pushed out of order make negative ones.
    if not (0 < total < math.inf and min(counts) >= 0):
        return None
    if not any(math.isfinite(bucket.upper) for bucket in buckets):
        return None
    is_log = is_native or _is_exponential(buckets)
    place = _scale(finite, is_log=is_log)
    # Empty native buckets are gaps. Empty classic ones show where their bounds are.
    drawn = _merged([bucket for bucket in buckets if bucket.observed or not is_native])
    spans = _spans(drawn, place, is_log=is_log)
    lowest, highest = min(low for low, _ in spans), max(high for _, high in spans)

    if not math.isfinite(highest - lowest):
        return None

    def percent(position: float) -> float:
        return min(100.0, max(0.0, 100 * (position - lowest) / (highest - lowest or 1)))

    most = max(bucket.observed for bucket in drawn)
    bars = [
        _bar(bucket, percent(low), percent(high), bucket.observed / most, read)
        for bucket, (low, high) in zip(drawn, spans, strict=True)
    ]
    quantiles = [(rank, quantile(buckets, rank, is_log=is_native)) for rank in _RANKS]
    ticks = [_mark(percent(place(at)), read(at)) for at in _ticks(finite, is_log=is_log)]
    marks = _marks([(percent(place(at)), f"p{rank * 100:g}") for rank, at in quantiles])
    listed = [(f"p{rank * 100:g}", read(at)) for rank, at in quantiles]
    said = ", ".join(f"{name} {value}" for name, value in listed)
    label = f"Histogram of {total:,.6g} observations in {len(buckets)} buckets: {said}"
    return Chart(bars, ticks, marks, listed, label)


def _bar(
    bucket: Bucket, start: float, end: float, share: float, read: Callable[[float], str]
) -> Bar:
    """Return the bar of *bucket* from *start* to *end* percent, *share* of the height tall."""
    return Bar(
        f"{start:.2f}%",
        # Even the thinnest bar is wide enough to be seen and pointed at.
        f"{max(0.2, end - start):.2f}%",
        f"{HEIGHT - HEIGHT * share:.1f}",
        f"{HEIGHT * share:.1f}",
        f"{read(bucket.lower)} to {read(bucket.upper)}: {bucket.observed:,.6g}",
    )


def quantile(buckets: Sequence[Bucket], rank: float, *, is_log: bool) -> float:
    """Return the estimate of a quantile, interpolated within its bucket as Prometheus does it."""
    wanted = rank * sum(bucket.observed for bucket in buckets)
    found, before = buckets[-1], 0.0
    for bucket, upto in zip(buckets, accumulate(b.observed for b in buckets), strict=True):
        if upto >= wanted and bucket.observed:
            found = bucket
            break
        before = upto
    lower, upper, count = found
    # At an open end, the other bound is all that is known.
    if math.isinf(upper):
        return lower
    if math.isinf(lower) or not count:
        return upper
    share = (wanted - before) / count
    if is_log and lower > 0:
        return math.exp(math.log(lower) * (1 - share) + math.log(upper) * share)
    return lower * (1 - share) + upper * share


def _is_exponential(buckets: Sequence[Bucket]) -> bool:
    """Return whether a linear axis would crowd most bounds at its start.

    It would with the default bounds of client libraries, which reach from 0.005 to 10.
    """
    bounds = [bucket.upper for bucket in buckets if math.isfinite(bucket.upper)]
    return len(bounds) > 2 and bounds[0] > 0 and bounds[-1] / bounds[0] >= 20


def _scale(finite: Iterable[float], *, is_log: bool) -> Callable[[float], float]:
    """Return a function from numbers to places on the axis, logarithmic if *is_log*.

    A logarithmic axis extends to both sides of zero.
    """
    sizes = [abs(bound) for bound in finite if bound]
    if not is_log or not sizes:
        return lambda number: number
    # Below it, the axis is linear. A bound next to zero would leave no room for the others.
    smallest = min(size for size in sizes if size > 1e-100 or size == max(sizes))

    def place(number: float) -> float:
        if abs(number) <= smallest:
            return number / smallest
        return math.copysign(1 + math.log10(abs(number) / smallest), number)

    return place


def _spans(
    buckets: Sequence[Bucket], place: Callable[[float], float], *, is_log: bool
) -> list[tuple[float, float]]:
    """Return the spans of *buckets* on the axis. An open end is as wide as its neighbor.

    On a logarithmic axis, a bucket that starts at zero has an open end.
    """
    spans = [(place(lower), place(upper)) for lower, upper, _ in buckets]
    widths = [high - low for low, high in spans if math.isfinite(high - low)]
    first, last = buckets[0], buckets[-1]
    if math.isinf(first.lower) or (is_log and first.lower == 0 and len(widths) > 1):
        spans[0] = (spans[0][1] - (widths[1] if len(widths) > 1 else 1.0), spans[0][1])
    if math.isinf(last.upper):
        spans[-1] = (spans[-1][0], spans[-1][0] + (widths[-1] if len(widths) > 1 else 1.0))
    return spans


def _merged(buckets: list[Bucket]) -> list[Bucket]:
    """Return *buckets* with neighbors joined until there is room for a bar for each."""
    step = -(-len(buckets) // _MAX_BARS)
    return [
        Bucket(some[0].lower, some[-1].upper, sum(bucket.observed for bucket in some))
        for at in range(0, len(buckets), step)
        if (some := buckets[at : at + step])
    ]


def _ticks(finite: Sequence[float], *, is_log: bool) -> list[float]:
    low, high = min(finite), max(finite)
    sizes = [abs(bound) for bound in finite if abs(bound) > 1e-100]
    if not is_log or not sizes:
        # Divided first: the difference of two large numbers may overflow.
        step = _round_step(high / (_MAX_TICKS - 1) - low / (_MAX_TICKS - 1) or 1.0)
        first = math.ceil(low / step)
        return [step * at for at in range(first, first + _MAX_TICKS) if step * at <= high]
    first = math.floor(math.log10(min(sizes)))
    last = min(math.ceil(math.log10(max(sizes))), sys.float_info.max_10_exp)
    if last - first <= 2 and low > 0:
        powers = [m * 10.0**at for at in range(first, last + 1) for m in (1, 2, 5)]
    else:
        decades = -(-(last - first + 1) // _MAX_TICKS)
        powers = [10.0**at for at in range(first, last + 1, decades)]
    both = [*(-power for power in reversed(powers)), 0.0, *powers] if low < 0 else powers
    return [power for power in both if low <= power <= high]


def _round_step(step: float) -> float:
    power = float(10 ** math.floor(math.log10(step)))
    return next((m * power for m in (1, 2, 5) if m * power >= step), 10 * power)


def _marks(places: Sequence[tuple[float, str]]) -> list[Mark]:
    """Return the marks of quantiles, with the text left of the first line and right of the last.

    A mark in between has no text if it is too close to another one.
    """
    (first, name), *between, (last, last_name) = places
    inner = [
        Mark(f"{at:.2f}%", text if min(at - first, last - at) > _ROOM else "", "start")
        for at, text in between
    ]
    return [Mark(f"{first:.2f}%", name, "end"), *inner, Mark(f"{last:.2f}%", last_name, "start")]


def _mark(percent: float, text: str) -> Mark:
    anchor = "start" if percent < 4 else "end" if percent > 96 else "middle"
    return Mark(f"{percent:.2f}%", text, anchor)


def bar_share(value: float, most: float) -> str:
    """Return the length of a bar for *value* in percent, if *most* is the full length."""
    is_drawn = 0 < value < math.inf and 0 < most < math.inf
    return f"{max(0.5, min(100.0, 100 * value / most)):.1f}%" if is_drawn else "0%"


def top(values: Iterable[float]) -> float:
    """Return the upper end of an axis for *values*: 1, 2 or 5 times a power of 10."""
    most = max((value for value in values if math.isfinite(value)), default=0.0)
    return _round_step(most) if most > 0 else 1.0


def line(values: Sequence[float], *, top: float, width: int, height: int) -> str:
    """Return the path of a line through *values*, from left to right; NaN interrupts it.

    Each value is in the middle of its share of *width*; *top* is at the height of 0.
    """
    step = width / len(values)
    parts, command = [], "M"
    for at, value in enumerate(values):
        if math.isfinite(value):
            parts.append(f"{command}{(at + 0.5) * step:.1f} {height - height * value / top:.1f}")
        command = "L" if math.isfinite(value) else "M"
    return "".join(parts)
