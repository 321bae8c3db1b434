"""Formats numbers for people, by the unit in the name of a family."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NamedTuple


class Value(NamedTuple):
    """A number: ``835 GB``, and ``raw`` in plain digits, as it was pushed."""

    shown: str
    raw: str


class Moment(NamedTuple):
    """A time: ``6 min ago``, in full to the second, and as HTML writes it."""

    ago: str
    full: str
    iso: str


_AGES: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SUBSECONDS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_LARGE: Final = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))
# Numbers that can be a time of ours: from 2001 on, for a hundred years.
_TIMES: Final = (1e9, 4.1e9)


def moment(time: int, now: int) -> Moment:
    """Return *time* as of *now*, both in Unix nanoseconds."""
    local = datetime.fromtimestamp(time // 10**9, UTC).astimezone()
    return Moment(f"{age(now - time)} ago", f"{local:%Y-%m-%d %H:%M:%S %Z}", local.isoformat())


def age(nanoseconds: int) -> str:
    """Return a length of time in its largest unit, rounded down: ``6 min``."""
    seconds = max(0, nanoseconds) // 10**9
    scale, unit = next(((s, u) for s, u in _AGES if seconds >= s), (1, "s"))
    return f"{seconds // scale} {unit}"


def digits(number: str) -> str:
    """Return canonical *number* without an exponent."""
    return format(Decimal(number), "f") if "e" in number else number


def reader(family: str, now: int) -> Callable[[float], str]:
    """Return a function that formats numbers of *family*; *now* is in Unix nanoseconds."""
    name = family.removesuffix("_total")
    if name.endswith("_bytes"):
        return size
    if name.endswith("_ratio"):
        return lambda number: f"{plain(100 * number)} %"
    if name.endswith(("time_seconds", "timestamp_seconds", "timestamp", "_created")):
        return lambda number: _time_or(number, now, name)
    return duration if name.endswith("_seconds") else plain


def _time_or(number: float, now: int, name: str) -> str:
    if _TIMES[0] <= number < _TIMES[1]:
        local = datetime.fromtimestamp(number, UTC).astimezone()
        seconds = now / 1e9 - number
        when = (
            f"{age(int(seconds * 1e9))} ago" if seconds >= 0 else f"in {age(int(-seconds * 1e9))}"
        )
        return f"{local:%Y-%m-%d %H:%M}, {when}"
    if number == 0:
        return "never"
    return duration(number) if name.endswith("_seconds") else plain(number)


def duration(seconds: float) -> str:
    """Return ``12.4 s``, ``112 ms``, ``1 h 12 min``."""
    if not math.isfinite(seconds) or seconds == 0:
        return plain(seconds) + (" s" if seconds == 0 else "")
    size_ = abs(seconds)
    if size_ < 60:
        scale, unit = next((pair for pair in _SUBSECONDS if size_ >= pair[0]), _SUBSECONDS[-1])
        return f"{_digits(seconds / scale)} {unit}"
    sign = "-" if seconds < 0 else ""
    whole = round(size_)
    if whole >= 86_400 * 1000:
        return f"{sign}{plain(whole // 86_400)} d"
    parts: list[str] = []
    for scale, unit in _AGES:
        if whole >= scale and len(parts) < 2:
            parts.append(f"{whole // scale} {unit}")
            whole %= scale
        elif parts:
            break
    return sign + " ".join(parts)


def size(number: float) -> str:
    """Return a number of bytes: ``835 GB``."""
    for scale, prefix in (*_LARGE, (1e3, "k")):
        if abs(number) >= scale and math.isfinite(number):
            return f"{_digits(number / scale)} {prefix}B"
    return f"{plain(number)} B"


def plain(number: float) -> str:
    """Return a number without a unit: ``121,108``, ``1.2 M``, ``0.0123``."""
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    if math.isnan(number):
        return "NaN"
    if abs(number) < 1e6 and number == int(number):
        return f"{int(number):,}"
    if abs(number) >= 1e18 or 0 < abs(number) < 1e-4:
        return f"{number:.3g}"
    for scale, prefix in _LARGE:
        if abs(number) >= scale:
            return f"{_digits(number / scale)} {prefix}"
    return _digits(number)


def _digits(number: float) -> str:
    """Return about three digits of *number*, in plain digits."""
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.2g}" if abs(number) < 0.01 else f"{float(f'{number:.3g}'):g}"
