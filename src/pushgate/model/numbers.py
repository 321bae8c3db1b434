"""Reads and writes numbers as the text format does (Go's ``strconv``).

A number is stored as its *canonical text*: the shortest digits that round-trip, in Go's ``%g``
form. An exposition prints just that, so a scrape formats nothing; any other use calls ``float``
on it. Stored, negative zero keeps its sign.
"""

import math
import re

# Go float syntax minus hexadecimal and underscores; NaN carries no sign.
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?(?:inf|infinity)|nan",
    re.IGNORECASE | re.ASCII,
)
_NAMED = {"inf", "infinity"}


def parse_float(text: str) -> float:
    """Return the number in *text*.

    Raises:
        ValueError: *text* is no number of the text format, or too large for a double.
    """
    if not _FLOAT.fullmatch(text):
        raise ValueError(text)
    value = float(text)
    # Go reports a number that is too large; Python returns infinity.
    if math.isinf(value) and text.lstrip("+-").lower() not in _NAMED:
        raise ValueError(text)
    return value


def go_float(value: float) -> str:
    """Return *value* as Go writes it: ``1e+06``, ``0.5``, ``NaN``, ``+Inf``, ``-0``.

    Exponent form from 1e+06 on and below 1e-04 (Go ``FormatFloat(v, 'g', -1, 64)``).
    """
    if value.is_integer() and -1e6 < value < 1e6 and value:
        return "%d" % value  # noqa: UP031 - twice as fast as int() and str()
    # Both print the shortest digits that round-trip, but change to exponents at other sizes.
    text = repr(value)
    if 1e-4 <= abs(value) < 1e6:
        return text
    return _SPECIAL.get(text) or _with_exponent(text)


_SPECIAL = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf", "0.0": "0", "-0.0": "-0"}


def _with_exponent(text: str) -> str:
    """Return the ``repr`` *text* of a very large or very small number in Go's exponent form."""
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    power = int(exponent or 0) + len(whole) - 1
    leading = len(digits) - len(digits.lstrip("0"))
    digits, power = digits[leading:].rstrip("0"), power - leading
    point = "." if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{point}{digits[1:]}e{'-' if power < 0 else '+'}{abs(power):02d}"


def exposed(token: bytes) -> bytes:
    """Return canonical *token* as an exposition prints it: negative zero is ``0``."""
    return b"0" if token == b"-0" else token


def is_whole_count(value: float) -> bool:
    """Return whether *value* is an integer count: whole and in [0, 2**64)."""
    return 0 <= value < 2.0**64 and value.is_integer()
