"""Turns the numbers of a body into those of its shape: canonical texts in the order of slots.

orjson reads and writes the numbers that JSON and Go write alike: about 0.1 µs each, ten times as
fast as one by one. A base install has no orjson; its command line reads few numbers.
"""

import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from operator import eq, itemgetter
from typing import NamedTuple, TypeVar

from pushgate.model.numbers import go_float, is_whole_count, parse_float
from pushgate.model.slices import Sliced

try:
    import orjson

    _HAS_ORJSON = True
except ModuleNotFoundError:
    _HAS_ORJSON = False

T = TypeVar("T")

MISSING = -1
"""The index of a sample that a slot lacks; such a slot is zero."""
# Small whole numbers, as counts nearly always are: nothing has to be done to them.
_all_small_counts = re.compile(rb"(?:(?:0|[1-9]\d{0,5})(?: |$))*").fullmatch
# Numbers that Go writes with the same digits: none is superfluous, and there is no exponent. A few
# are looked at in a fifth of the time it takes to read and write them, ten in the same time.
_are_canonical = re.compile(
    rb"(?:(?!-0(?: |\Z))-?(?:0|[1-9]\d{0,5})(?:\.(?!0000)\d{0,7}[1-9])?(?: (?!\Z)|\Z))++"
).fullmatch
_FEW = 4
_AT_ONCE = 8192  # all other threads wait during one call into C
_BYTES_AT_ONCE = 1 << 20  # of numbers as they were written
_MAX_COUNT = math.nextafter(2.0**64, 0)


class SlotMapping(NamedTuple):
    """How the samples of a body fill the slots of its shape.

    ``pick`` gets the values of the samples and a final zero, which :data:`MISSING` selects; it is
    None if samples and slots have the same order. ``counts`` are the slots of the counts in
    histograms, ``summary_counts`` those in summaries.
    """

    pick: Callable[[Sequence[bytes]], tuple[bytes, ...]] | None
    counts: tuple[int, ...]
    summary_counts: tuple[int, ...]

    def numbers(self, values: Sequence[bytes]) -> bytes:
        """Return the numbers of the shape from the *values* of the samples.

        Raises:
            ValueError: a value is no number of the text format, or the count of a histogram is
                negative.
        """
        line = canonical_line(values)
        if self.pick:
            line = b" ".join(self.pick([*line.split(b" "), b"0"]))
        if not (self.counts or self.summary_counts):
            return line
        tokens = line.split(b" ")
        counts = [tokens[slot] for slot in (*self.counts, *self.summary_counts)]
        if _all_small_counts(b" ".join(counts)):
            return line
        for slot in self.counts:
            count = float(tokens[slot])
            if count < 0:
                raise ValueError(tokens[slot])
            if count == 0:
                tokens[slot] = b"0"  # it may have been negative zero
        for slot in self.summary_counts:
            tokens[slot] = go_float(whole_count(float(tokens[slot]))).encode()
        return b" ".join(tokens)


def slot_mapping(
    order: list[int], samples: int, counts: list[int], summary_counts: list[int]
) -> SlotMapping:
    """Return the mapping that fills slot *i* with sample ``order[i]``, or :data:`MISSING`."""
    is_in_order = len(order) == samples and all(map(eq, order, range(samples)))
    # A sample has a slot, or is of a distribution, which has two. So a single slot is in order, and
    # itemgetter() gets several, for which it returns a tuple.
    pick = None if is_in_order else itemgetter(*order)
    return SlotMapping(pick, tuple(counts), tuple(summary_counts))


def whole_count(value: float) -> float:
    """Return *value* as a summary counts: cut to a whole number in [0, 2**64)."""
    # The reference converts it to a uint64, which in Go is not defined for other numbers.
    whole = 0.0 if math.isnan(value) else min(max(value, 0.0), _MAX_COUNT)
    return float(math.trunc(whole))


def is_float_histogram(counts: Sequence[bytes]) -> bool:
    """Return whether a histogram with these canonical *counts* has float counts."""
    return not all(is_whole_count(float(count)) for count in counts)


def canonical_line(tokens: Sequence[bytes]) -> bytes:
    """Return the canonical texts of the numbers in *tokens*, separated by one blank.

    Each token has only digits, signs, points and ``e``, or is the name of a number: a bracket or
    comma would let it be several.

    Raises:
        ValueError: as :func:`~pushgate.model.numbers.parse_float`.
    """
    if len(tokens) > _AT_ONCE:
        return b" ".join(map(canonical_line, _pieces(tokens)))
    if len(tokens) <= _FEW and _are_canonical(written := b" ".join(tokens)):
        return written
    line = b",".join(tokens)
    if len(line) > _BYTES_AT_ONCE and len(tokens) > 1:
        half = len(tokens) // 2
        return canonical_line(tokens[:half]) + b" " + canonical_line(tokens[half:])
    if not _HAS_ORJSON or not line or b"-0," in line or line.endswith(b"-0"):
        return _one_by_one(tokens)  # JSON's integers have no negative zero
    try:
        return written_out(orjson.loads(b"[" + line + b"]"))
    except orjson.JSONDecodeError:  # it has no NaN, no +1 and no .5
        return _one_by_one(tokens)


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[at : at + _AT_ONCE] for at in range(0, len(items), _AT_ONCE))


def _one_by_one(tokens: Sequence[bytes]) -> bytes:
    return written_out([parse_float(token.decode("ascii")) for token in tokens])


def doubles(line: bytes) -> Sliced[bytes]:
    """Return the numbers of a canonical *line* as eight bytes each, as protobuf writes them."""
    if len(line) <= _AT_ONCE:
        return _doubles(line)
    packed: list[bytes] = []
    for some in _pieces(line.split(b" ")):
        if packed:
            yield
        packed.append(_doubles(b" ".join(some)))
    return b"".join(packed)


def _doubles(line: bytes) -> bytes:
    numbers = _numbers(line)
    return struct.pack(f"<{len(numbers)}d", *numbers)


def _numbers(line: bytes) -> Sequence[float]:
    """Return the numbers of a canonical *line*; whole ones may be integers."""
    array = b"[%b]" % line.replace(b" ", b",")
    # JSON's integers have no negative zero.
    if _HAS_ORJSON and b"-0," not in array and b"-0]" not in array:
        with suppress(orjson.JSONDecodeError):  # NaN and the infinities
            numbers: list[float] = orjson.loads(array)
            return numbers
    return [*map(float, line.split())]


def written_out(numbers: Sequence[float]) -> bytes:
    """Return the canonical texts of *numbers*, separated by one blank."""
    if not numbers:
        return b""
    if len(numbers) > _AT_ONCE:
        return b" ".join(map(written_out, _pieces(numbers)))
    if not _HAS_ORJSON:
        return b" ".join([go_float(float(number)).encode() for number in numbers])
    line = orjson.dumps(numbers).replace(b".0,", b",").replace(b".0]", b"]")[1:-1]
    # Go changes to exponents at other sizes than orjson, which writes NaN and infinity as null.
    is_plain = not (b"e" in line or b"0.0000" in line or b"null" in line)
    if is_plain and max(numbers) < 1e6 and min(numbers) > -1e6:
        return line.replace(b",", b" ")
    return b" ".join(
        token if 1e-4 <= abs(number) < 1e6 or number == 0 else go_float(float(number)).encode()
        for number, token in zip(numbers, line.split(b","), strict=True)
    )
