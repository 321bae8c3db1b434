"""Reads and writes durations as Go does: ``1h30m``, ``90s``, ``1.5h``."""

import re

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # micro sign
    "μs": 10**3,  # greek letter mu
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 24 * 3600 * 10**9,
    "w": 7 * 24 * 3600 * 10**9,
}
_MAX = 2**63 - 1  # Go's time.Duration is an int64
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_FRACTION_DIGITS = 18  # more can't change a nanosecond
_FRACTION_SCALE = 10**18


def parse_duration(text: str) -> int:
    """Return the nanoseconds in *text*.

    The grammar is that of the Go server's flags: an optional sign, then decimal numbers
    with the units ``ns us µs ms s m h d w``; ``0`` needs no unit.

    Raises:
        ValueError: *text* is no duration, or is longer than 292 years; the message is Go's.
    """
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0
    total = position = 0
    while position < len(unsigned) or not position:
        part = _PART.match(unsigned, position)
        assert part is not None  # each of its three parts may be empty
        whole, fraction, unit = part[1], part[2] or "", part[3]
        if not whole and not fraction:
            raise ValueError(f'time: invalid duration "{text}"')
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _NANOSECONDS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        # Cut, because int() refuses thousands of digits; 20 are already too large.
        digits = whole.lstrip("0")[:20] or "0"
        parts = int(fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, "0"))
        total += int(digits) * _NANOSECONDS[unit] + parts * _NANOSECONDS[unit] // _FRACTION_SCALE
        if total > _MAX:
            raise ValueError(f'time: invalid duration "{text}"')
        position = part.end()
    return -total if text[0] == "-" else total


def format_duration(nanoseconds: int) -> str:
    """Return *nanoseconds* the way Go prints a duration: ``1m30s``, ``1.5ms``, ``0s``."""
    sign = "-" if nanoseconds < 0 else ""
    size = abs(nanoseconds)
    # Below a second Go uses the unit in which the number is at least 1, and from it on h, m and s.
    if size == 0:
        return "0s"
    if size < 10**9:
        unit = next(unit for unit in ("ms", "µs", "ns") if size >= _NANOSECONDS[unit])
        return f"{sign}{_decimal(size, _NANOSECONDS[unit])}{unit}"
    minutes, rest = divmod(size, _NANOSECONDS["m"])
    hours, minutes = divmod(minutes, 60)
    seconds = _decimal(rest, 10**9)
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}s"
    return f"{sign}{minutes}m{seconds}s" if minutes else f"{sign}{seconds}s"


def _decimal(size: int, unit: int) -> str:
    whole, rest = divmod(size, unit)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(unit)) - 1).rstrip('0')}"
