"""Reads the text format 0.0.4 line by line, with the results and the errors of the reference.

This is the slow, complete reader. It gets every body that :mod:`pushgate.formats.text` cannot
read faster, and every body with an error. (Exposition formats, "Text-based format";
prometheus/common, expfmt/text_parse.go.)
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from pushgate.errors import TextFormatError
from pushgate.formats.families import (
    TYPES,
    Assembled,
    Distribution,
    Families,
    FamilyBuilder,
    Part,
    assemble,
    family_of,
)
from pushgate.formats.slots import MISSING
from pushgate.model.family import MetricType
from pushgate.model.grouping import Labels
from pushgate.model.names import NameRule
from pushgate.model.numbers import go_float, is_whole_count, parse_float
from pushgate.model.quoting import go_quote, go_quote_byte, is_utf8, raw, text
from pushgate.model.shape import Pushed, interned

# 19 digits hold every int64; the range is checked afterwards.
_integer = re.compile(r"([-+]?)0*([0-9]{1,19})", re.ASCII).fullmatch
_first_in_line = re.compile(r"[^ \t]").search
_blanks = re.compile(r"[ \t]*").match
_to_line_end = re.compile(r"[^\n]*").match
_to_blank = re.compile(r"[^ \t\n]*").match
_verbatim = re.compile(r"[^\\\n]*").match
_verbatim_in_quotes = re.compile(r'[^"\\\n]*').match
_name_rest = {kind: re.compile(f"[a-zA-Z0-9_{kind}]*").match for kind in ("", ":")}

_BLANKS = frozenset(" \t")
_DIGITS = frozenset("0123456789")
_ESCAPES = {"\\": "\\", "n": "\n", '"': '"'}
_TIMESTAMP_END = 2**63
_MAX_SHOWN = 4096  # characters of what was sent, in an error


class Scanned(NamedTuple):
    """What a body pushes. ``values`` are the values of its samples as they were written."""

    pushed: Pushed
    assembled: Assembled
    values: list[bytes]


def scan(body: bytes, names: NameRule) -> Scanned:
    """Return what *body* pushes. *names* says which names are legal.

    Raises:
        TextFormatError: for the first error in *body*.
    """
    source = text(body)
    scanner = _Scanner(source, names)
    at, end = 0, len(source)
    while at < end:
        at = scanner.line(at)
    values = [value.encode() for value in scanner.values]
    assembled = assemble(scanner.families.values(), len(values))
    numbers = assembled.mapping.numbers(values)
    shape = interned(assembled.families)
    pushed = Pushed(shape, numbers, timestamped=scanner.timestamped)
    return Scanned(pushed, assembled, values)


def _quoted(said: str) -> str:
    """Return *said* as errors show it; a long one is cut."""
    return go_quote(said if len(said) <= _MAX_SHOWN else said[:_MAX_SHOWN] + "…")


class _Scanner:
    """Reads one line at a time, character by character, with the reference's errors.

    The methods follow the states of the reference's parser, because the order of its checks
    decides which error is reported.
    """

    def __init__(self, source: str, names: NameRule) -> None:
        self._source = source
        self._names = names
        self._current: FamilyBuilder | None = None
        self._part = Part.BODY
        self._is_named = False
        self._line_start = self._at = 0
        self.families: Families = {}
        self.values: list[str] = []
        self.timestamped = False

    def line(self, at: int) -> int:
        """Read the line at *at*; return the start of the next one.

        Raises:
            TextFormatError: the line is not of the format.
        """
        self._line_start = self._at = at
        self._is_named = False
        first = _first_in_line(self._source, at)
        if first is None:
            return len(self._source)
        self._at = first.start()
        match self._source[self._at]:
            case "\n":
                self._at += 1
            case "#":
                self._comment()
            case _:
                self._sample_line()
        return self._at

    @property
    def _here(self) -> str:
        if self._at >= len(self._source):
            self._fail("unexpected end of input stream")
        return self._source[self._at]

    def _next(self) -> str:
        self._at += 1
        return self._here

    def _fail(self, reason: str) -> NoReturn:
        raise TextFormatError(self._source.count("\n", 0, self._line_start) + 1, reason)

    def _run(self, match: Callable[[str, int], re.Match[str] | None]) -> str:
        """Return what *match* finds here, which may be empty, and go past it.

        The body must not end there.
        """
        found = match(self._source, self._at)
        assert found is not None
        self._at = found.end()
        if self._at >= len(self._source):
            self._fail("unexpected end of input stream")
        return found[0]

    @property
    def _family(self) -> FamilyBuilder:
        """The family of this line, after its name was read."""
        assert self._current is not None
        return self._current

    @property
    def _metric(self) -> str:
        """The name of the current family in error texts."""
        # Before the name of a line was read, that is the family of the line before, as in the
        # reference.
        return _quoted(self._current.name if self._current else "")

    def _quoted_here(self) -> str:
        return go_quote_byte(raw(self._here)[0])

    def _skip_blanks(self) -> str:
        self._run(_blanks)
        return self._here

    def _comment(self) -> None:
        self._at += 1
        if self._skip_blanks() == "\n":
            self._at += 1
            return
        keyword = self._run(_to_blank)
        if self._here == "\n" or keyword not in {"HELP", "TYPE"}:
            self._run(_to_line_end)
            self._at += 1
            return
        self._skip_blanks()
        name = self._name("metric", extra=":")
        if self._here != "\n":
            if self._here not in _BLANKS:
                self._fail("invalid metric name in comment")
            self._enter_family(name)
            if self._skip_blanks() != "\n":
                {"HELP": self._help_text, "TYPE": self._type_word}[keyword]()
        self._at += 1

    def _help_text(self) -> None:
        if self._family.help is not None:
            self._fail(f"second HELP line for metric name {self._metric}")
        out = [self._run(_verbatim)]
        while self._here != "\n":
            out += [self._unescaped(), self._run(_verbatim)]
        self._family.help = "".join(out)

    def _type_word(self) -> None:
        if self._family.type is not None:
            self._fail(
                f"second TYPE line for metric name {self._metric}, or TYPE reported after samples"
            )
        word = self._rest_of_line()
        kind = TYPES.get(word.lower()) if word.isascii() else None
        if kind is None:
            self._fail(f"unknown metric type {_quoted(word)}")
        self._family.type = kind

    def _rest_of_line(self) -> str:
        """Return the text before the line feed, as error texts show it."""
        # The reference's tokenizer drops backslashes here.
        return self._run(_to_line_end).replace("\\", "")

    def _unescaped(self) -> str:
        """Return the meaning of the escape sequence here, and go past it."""
        escaped = self._next()
        if escaped not in _ESCAPES:
            self._fail(f"invalid escape sequence '\\{chr(raw(escaped)[0])}'")
        self._at += 1
        return _ESCAPES[escaped]

    def _name(self, kind: str, *, extra: str = "") -> str:
        """Return the name here, quoted or bare; empty if there is none.

        A quote may also come in the middle: the reference's tokenizer reads ``a"b"`` as ``ab``.
        """
        if self._here in _DIGITS:
            return ""
        name = self._run(_name_rest[extra])
        if self._here == '"':
            name = self._quoted(f"{kind} name", name)
            self._next()
        return name

    def _quoted(self, what: str, before: str = "") -> str:
        """Return *before* and the quoted text here; stay on the closing quote."""
        self._at += 1
        out = [before, self._run(_verbatim_in_quotes)]
        while self._here != '"':
            if self._here == "\n":
                self._fail(f"{what} {_quoted(''.join(out))} contains unescaped new-line")
            out += [self._unescaped(), self._run(_verbatim_in_quotes)]
        return "".join(out)

    def _enter_family(self, name: str) -> None:
        if not self._names.metric(name):
            self._fail(f"invalid metric name {_quoted(name)}")
        self._current, self._part = family_of(name, self.families)
        self._is_named = True

    def _sample_line(self) -> None:
        if self._here != "{":  # else the name is among the labels
            name = self._name("metric", extra=":")
            if not name:
                self._fail("invalid metric name")
            self._enter_family(name)
        pairs = self._pairs(may_name=not self._is_named) if self._skip_blanks() == "{" else []
        if not self._is_named:
            self._fail("invalid metric name")
        self._value(pairs)

    def _pairs(self, *, may_name: bool) -> list[tuple[str, str]]:
        """Read from ``{`` to after ``}``; *may_name* says that a metric name may be inside."""
        pairs: list[tuple[str, str]] = []
        while True:
            self._at += 1
            if self._skip_blanks() == "}":
                break
            name = self._name("label")
            if not name:
                self._fail(f"invalid label name for metric {self._metric}")
            after = self._skip_blanks()
            if after == "=":
                self._pair(name, pairs)
            elif not may_name:
                self._fail(f"expected '=' after label name, found {self._quoted_here()}")
            elif self._is_named:
                self._fail(f"multiple metric names for metric {self._metric}")
            elif after not in {",", "}"}:
                self._fail(f"unexpected end of metric name {self._quoted_here()}")
            else:
                self._enter_family(name)
            if self._here == "}":
                break
        self._at += 1
        return pairs

    def _pair(self, name: str, pairs: list[tuple[str, str]]) -> None:
        if name == "__name__":
            self._fail('label name "__name__" is reserved')
        if not self._names.label(name):
            self._fail(f"invalid label name {_quoted(name)}")
        # Until the metric is named, le and quantile are labels like any other. The special one
        # may come twice: the last counts.
        special = self._family.special_label if self._is_named else None
        if name != special and any(name == other for other, _ in pairs):
            self._fail(f"duplicate label names for metric {self._metric}")
        self._at += 1
        if self._skip_blanks() != '"':
            self._fail(f"expected '\"' at start of label value, found {self._quoted_here()}")
        value = self._quoted("label value")
        self._at += 1
        if not is_utf8(value):
            self._fail(f"invalid label value {_quoted(value)}")
        if name == special:
            self._bound(name, value)
        if self._skip_blanks() not in {",", "}"}:
            self._fail(f"unexpected end of label value {_quoted(value)}")
        pairs.append((name, value))

    def _bound(self, name: str, value: str) -> float:
        try:
            return parse_float(value)
        except ValueError:
            self._fail(f"expected float as value for '{name}' label, got {_quoted(value)}")

    def _value(self, pairs: list[tuple[str, str]]) -> None:
        family = self._family
        if family.type is None:
            family.type = MetricType.UNTYPED
        special = family.special_label
        bound = math.nan
        for name, value in pairs:
            if name == special:
                bound = self._bound(name, value)
        labels = tuple(sorted(pair for pair in pairs if pair[0] != special))
        self._skip_blanks()
        token = self._run(_to_blank)
        try:
            number = parse_float(token)
        except ValueError:
            self._fail(f"expected float as value, got {_quoted(token)}")
        self._sample(family, labels, bound, number)
        self.values.append(token)
        if self._here != "\n":
            self._timestamp()
        self._at += 1

    def _sample(self, family: FamilyBuilder, labels: Labels, bound: float, number: float) -> None:
        """Add the sample whose token is the next of the values."""
        at = len(self.values)
        if family.special_label is None:
            family.labels.append(labels)
            family.at.append(at)
            return
        metric = family.distribution(labels)
        if self._part is Part.SUM:
            metric.sum = at
        elif self._part is Part.COUNT:
            self._check_count(family, "count", number)
            if not self._is_overruled(family, metric, number):
                metric.count = at
        elif not math.isnan(bound):  # without a bound, a bucket or quantile is ignored
            self._check_count(family, "bucket population", number)
            metric.bounds.append(go_float(bound))
            metric.at.append(at)

    def _check_count(self, family: FamilyBuilder, what: str, number: float) -> None:
        if family.type is not MetricType.SUMMARY and number < 0:
            self._fail(f'negative {what} for histogram "{family.name}"')

    def _is_overruled(self, family: FamilyBuilder, metric: Distribution, number: float) -> bool:
        """Return whether a histogram already has a count that *number* does not replace.

        The reference has a field for whole and one for float counts, and shows the float one.
        """
        if family.type is MetricType.SUMMARY or metric.count == MISSING:
            return False
        return is_whole_count(number) and not is_whole_count(float(self.values[metric.count]))

    def _timestamp(self) -> None:
        self._skip_blanks()
        token = self._run(_to_blank)
        found = _integer(token)
        time = int(found[1] + found[2]) if found else _TIMESTAMP_END
        if not -_TIMESTAMP_END <= time < _TIMESTAMP_END:
            self._fail(f"expected integer as timestamp, got {_quoted(token)}")
        spurious = self._rest_of_line()
        if spurious:
            self._fail(f"spurious string after timestamp: {_quoted(spurious)}")
        self.timestamped = True
