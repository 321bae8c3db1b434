"""Numbers as the text format reads and writes them (Go's ``strconv``).

A stored number is its *canonical text*: the shortest digits that round-trip, in Go's
``%g`` form. It is what an exposition prints, so a scrape formats nothing; everybody
else calls ``float`` on it. Negative zero keeps its sign in store.
"""

import math
import re
from collections.abc import Sequence

# Go float syntax minus hexadecimal and underscores; NaN carries no sign.
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?(?:inf|infinity)|nan",
    re.IGNORECASE | re.ASCII,
)
_NAMED = {"inf", "infinity"}

# At most 15 significant digits: such a decimal is always its own shortest form.
_ONE = (
    rb"(?:-?(?:0(?!\.0000)(?:\.\d{0,14}[1-9])?|[1-9]\d{0,5}(?:\.\d{0,8}[1-9])?"
    rb"|[1-9]\.\d{0,13}[1-9]|[1-9]\d\.\d{0,12}[1-9])"
    rb"|-?[1-9](?:\.\d{0,13}[1-9])?e(?:\+0[6-9]|\+[1-9]\d|-0[5-9]|-[1-9]\d)"
    rb"|NaN|[+-]Inf)"
)
_is_canonical = re.compile(_ONE).fullmatch
all_canonical = re.compile(rb"(?:" + _ONE + rb"(?: |$))*").fullmatch
"""Match a line of numbers, one blank between them, if each certainly is canonical text."""

FIRST_INEXACT_COUNT = 2**53
"""Counts from here on may lose digits as floats."""


def parse_float(text: str) -> float:
    """Return the number that *text* writes.

    Raises:
        ValueError: *text* is no number of the text format, or too large for a double.
    """
    if not _FLOAT.fullmatch(text):
        raise ValueError(text)
    value = float(text)
    if math.isinf(value) and text.lstrip("+-").lower() not in _NAMED:
        raise ValueError(text)
    return value


def go_float(value: float) -> str:
    """Return *value* as Go writes it: ``1e+06``, ``0.5``, ``NaN``, ``+Inf``, ``-0``.

    Exponent form from 1e+06 on and below 1e-04 (Go ``FormatFloat(v, 'g', -1, 64)``).
    """
    if value.is_integer() and -1e6 < value < 1e6 and value:
        return "%d" % value  # noqa: UP031 - twice as fast as int() and str()
    text = repr(value)
    if 1e-4 <= abs(value) < 1e6:
        return text
    return _SPECIAL.get(text) or _with_exponent(text)


def go_floats(values: Sequence[float]) -> str:
    """Return each of *values*, at least one, as :func:`go_float` does; one blank between."""
    line = repr(list(values))[1:-1] + ","
    if "e" in line or "n" in line or max(values) >= 1e6 or min(values) <= -1e6:
        return " ".join(map(go_float, values))
    return line.replace(".0,", ",").replace(",", "")  # ordinary sizes: repr's digits are Go's


_SPECIAL = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf", "0.0": "0", "-0.0": "-0"}


def _with_exponent(text: str) -> str:
    """Return ``repr`` *text* of a very large or very small number in Go's exponent form."""
    sign, text = ("-", text[1:]) if text[0] == "-" else ("", text)
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    power = int(exponent or 0) + len(whole) - 1
    leading = len(digits) - len(digits.lstrip("0"))
    digits, power = digits[leading:].rstrip("0"), power - leading
    point = "." if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{point}{digits[1:]}e{'-' if power < 0 else '+'}{abs(power):02d}"


def canonical_line(values: Sequence[bytes]) -> bytes:
    """Return the canonical texts of *values*, one blank between.

    Costs about 0.1 µs a value where they are canonical but for idle zeros, as most
    clients write them; 1 µs for each that is not.

    Raises:
        ValueError: as :func:`parse_float`.
    """
    line = b" ".join(values)
    if b".0" in line:  # clients written in Python send 42.0
        line = (line + b" ").replace(b".0 ", b" ")[:-1]
    for _ in range(2):
        if line[-1:] not in {b"", b" "} and all_canonical(line):
            return line
        line = b" ".join([_without_idle_zeros(value) for value in values])
    return b" ".join([v if _is_canonical(v) else canonical(v) for v in values])


def _without_idle_zeros(token: bytes) -> bytes:
    """Return 0.12 for 0.120 and 42 for 42.0; at worst what is no number any more."""
    if token[-1:] != b"0" or b"." not in token or b"e" in token:
        return token
    return token.rstrip(b"0").removesuffix(b".")


def canonical(token: bytes) -> bytes:
    """Return the canonical text of the number that *token* writes.

    Raises:
        ValueError: as :func:`parse_float`.
    """
    if 6 < len(token) < 16 and token.isdigit() and token[0] != 0x30:
        digits = token.rstrip(b"0")
        point = b"." if len(digits) > 1 else b""
        return b"%b%b%be+%02d" % (digits[:1], point, digits[1:], len(token) - 1)
    return go_float(parse_float(token.decode("ascii"))).encode()


def exposed(token: bytes) -> bytes:
    """Return canonical *token* as an exposition prints it: negative zero is ``0``."""
    return b"0" if token == b"-0" else token


def is_whole_count(value: float) -> bool:
    """Return whether *value* is an integer count: whole and in [0, 2**64)."""
    return 0 <= value < 2.0**64 and value.is_integer()
