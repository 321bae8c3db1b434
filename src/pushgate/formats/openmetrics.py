"""Reads OpenMetrics 1.0 text as a push.

Families get the names and types that the text format 0.0.4 has for them, because that is what a
Prometheus expects that scrapes the gateway:

================  ==========================  ========================================
OpenMetrics       becomes                     its samples
================  ==========================  ========================================
counter foo       counter ``foo_total``       ``foo_total``, ``foo_created``
gauge foo         gauge ``foo``               ``foo``
histogram foo     histogram ``foo``           ``foo_bucket _count _sum _created``
gaugehistogram    gauge histogram ``foo``     ``foo_bucket _gcount _gsum``
summary foo       summary ``foo``             ``foo``, ``foo_count _sum _created``
info foo          gauge ``foo_info``          ``foo_info``, always 1
stateset foo      gauge ``foo``               ``foo{foo="…"}``, 0 or 1
unknown foo       untyped ``foo``             ``foo``
================  ==========================  ========================================

Exemplars and created timestamps are kept as details of the push. A missing sum is 0, as
in the text format; a missing count is that of the ``+Inf`` bucket. Units are checked, then
dropped. (OpenMetrics 1.0, "ABNF" and "Metric Types".)
"""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple, NoReturn

from pushgate.errors import TextFormatError
from pushgate.formats.protobuf.messages import VALUE_FIELDS, message_class
from pushgate.formats.protobuf.values import encoded, packed
from pushgate.formats.slots import whole_count, written_out
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import Labels
from pushgate.model.numbers import go_float, parse_float
from pushgate.model.quoting import go_quote, raw
from pushgate.model.shape import Pushed, interned

_Match = Callable[[str, int], re.Match[str] | None]
_metric_name = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII).match
_label = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.ASCII).match
_brace = re.compile(r"\{").match
_blank = re.compile(r" ").match
_comma = re.compile(r",").match
_word = re.compile(r"[^ ]+").match
_rest = re.compile(r".*").match
_descriptor = re.compile(r"# (?:TYPE|HELP|UNIT) ").match
# Bounded, because Decimal keeps every digit.
_seconds = re.compile(
    r"[-+]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][-+]?[0-9]{1,3})?", re.ASCII
).match
_escape = re.compile(r'\\([n"\\])')
_UNESCAPED: Final = {"n": "\n", '"': '"', "\\": "\\"}

_EOF = "# EOF"
_LONGEST_EXEMPLAR = 128  # characters of all names and values (OpenMetrics 1.0, "Exemplars")
# The years 1 to 9999, the range of a protobuf Timestamp.
_FIRST_SECOND, _END_OF_SECONDS = -62_135_596_800, 253_402_300_800
_SHOWN = 30


def read_openmetrics(body: bytes, *, details: bool = True) -> Pushed:
    """Return what *body* pushes. Takes time in proportion to the body.

    Without *details*, exemplars and created timestamps are only checked. This needs no protobuf,
    which is not installed with the client alone.

    Raises:
        TextFormatError: for the first error in *body*; it says what was expected.
    """
    try:
        lines = body.decode().split("\n")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise TextFormatError(line, "this is not UTF-8, which OpenMetrics is") from error
    if lines[-1] == "":
        lines.pop()
    reading = _Reading()
    try:
        for number, text in enumerate(lines, 1):
            reading.line(_Line(number, text))
        if not reading.ended:
            reason = f"the body ends without {_EOF}: it was cut off, or that last line is missing"
            raise TextFormatError(len(lines) + 1, reason)
        return reading.pushed(details=details)
    finally:
        reading.release()


class _Part(Enum):
    """The role of a sample in its metric."""

    VALUE = "value"
    POINT = "bucket or quantile"
    COUNT = "count"
    SUM = "sum"
    CREATED = "time of creation"


class _Rule(NamedTuple):
    """A type of OpenMetrics: what it becomes, and the role of each suffix of its samples."""

    type: MetricType
    suffix: str
    parts: Mapping[str, _Part]


_HISTOGRAM: Final = {"_bucket": _Part.POINT, "_count": _Part.COUNT, "_sum": _Part.SUM}
_GAUGE_HISTOGRAM: Final = {"_bucket": _Part.POINT, "_gcount": _Part.COUNT, "_gsum": _Part.SUM}
_SUMMARY: Final = {"": _Part.POINT, "_count": _Part.COUNT, "_sum": _Part.SUM}
_CREATED: Final = {"_created": _Part.CREATED}
_VALUE: Final = {"": _Part.VALUE}
_RULES: Final = {
    "counter": _Rule(MetricType.COUNTER, "_total", {"_total": _Part.VALUE} | _CREATED),
    "gauge": _Rule(MetricType.GAUGE, "", _VALUE),
    "histogram": _Rule(MetricType.HISTOGRAM, "", _HISTOGRAM | _CREATED),
    "gaugehistogram": _Rule(MetricType.GAUGE_HISTOGRAM, "", _GAUGE_HISTOGRAM),
    "summary": _Rule(MetricType.SUMMARY, "", _SUMMARY | _CREATED),
    "info": _Rule(MetricType.GAUGE, "_info", {"_info": _Part.VALUE}),
    "stateset": _Rule(MetricType.GAUGE, "", _VALUE),
    "unknown": _Rule(MetricType.UNTYPED, "", _VALUE),
}


def _expected_number(word: str, part: _Part, value: float) -> str | None:
    """Return None if *part* of a metric of the type *word* may be *value*, else what it may be."""
    if word == "info":
        return None if value == 1 else "1"
    if word == "stateset":
        return None if value in {0, 1} else "0 or 1"
    is_count = (
        word == "counter" or part is _Part.COUNT or (part is _Part.POINT and word != "summary")
    )
    # Not ``value < 0``, which is false for NaN.
    return "0 or more" if is_count and not value >= 0 else None


class _Exemplar(NamedTuple):
    labels: Labels
    value: float
    time: int | None


class _Line:
    """A line that is read from left to right."""

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text
        self._at = 0

    def fail(self, reason: str) -> NoReturn:
        raise TextFormatError(self.number, reason)

    def expected(self, what: str) -> NoReturn:
        rest = self.text[self._at :]
        found = go_quote(rest[:_SHOWN]) if rest else "the end of the line"
        self.fail(f"expected {what} in column {self._at + 1}, found {found}")

    def take(self, match: _Match, what: str) -> re.Match[str]:
        """Return what *match* finds here, and go past it. An error says that *what* is missing."""
        found = match(self.text, self._at)
        if found is None:
            self.expected(what)
        self._at = found.end()
        return found

    def skip(self, literal: str) -> bool:
        """Return whether *literal* is here, and go past it if so."""
        found = self.text.startswith(literal, self._at)
        self._at += len(literal) if found else 0
        return found

    def labels(self) -> Labels:
        """Return the labels in braces here, sorted by name."""
        self.take(_brace, "labels in braces")
        pairs: dict[str, str] = {}
        while not self.skip("}"):
            if pairs:
                self.take(_comma, "a comma or a closing brace")
            name, value = self.take(_label, 'a label such as name="value"').groups()
            if name in pairs or name == "__name__":
                self.fail(f"the label {name} {'comes twice' if name in pairs else 'is reserved'}")
            pairs[name] = _unescaped(value)
        return tuple(sorted(pairs.items()))

    def number_here(self) -> float:
        start = self._at
        token = self.take(_word, "a number")[0]
        try:
            return parse_float(token)
        except ValueError:
            self._at = start
            self.expected("a number that fits a double")

    def time_here(self) -> int:
        """Return the seconds here as a Unix time in nanoseconds."""
        token = self.take(_seconds, "a time in seconds")[0]
        seconds = Decimal(token)  # a float has too few digits for the nanoseconds of today
        if not _FIRST_SECOND <= seconds < _END_OF_SECONDS:
            self.fail(f"the time {token} is not in the years 1 to 9999; times are Unix seconds")
        return math.floor(seconds * 10**9)

    def exemplar(self) -> _Exemplar:
        labels = self.labels()
        if sum(map(len, chain(*labels))) > _LONGEST_EXEMPLAR:
            self.fail(f"the labels of an exemplar have {_LONGEST_EXEMPLAR} characters at most")
        self.take(_blank, "a blank")
        value = self.number_here()
        return _Exemplar(labels, value, self.time_here() if self.skip(" ") else None)

    def end(self) -> None:
        if self._at < len(self.text):
            self.expected("the end of the line")


def _unescaped(text: str) -> str:
    return _escape.sub(lambda found: _UNESCAPED[found[1]], text) if "\\" in text else text


class _Metric:
    """Collects one metric while its samples come in."""

    __slots__ = ("exemplars", "line", "parts", "points", "time")

    def __init__(self) -> None:
        self.parts: dict[_Part, float] = {}
        self.points: dict[float, float] = {}
        self.exemplars: dict[float, _Exemplar] = {}
        self.time: int | None = None
        self.line = 0


class _Family:
    """Collects one family while its lines come in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.word, self.rule = "unknown", _RULES["unknown"]  # until TYPE says otherwise
        self.descriptors: dict[str, str] = {}
        self.metrics: dict[Labels, _Metric] = {}
        self.last: Labels | None = None

    def describe(self, line: _Line) -> None:
        """Read the rest of a TYPE, HELP or UNIT *line*."""
        what = line.text[2:6]
        if self.metrics:
            line.fail(f"{what} of {self.name} has to stand before its samples")
        if what in self.descriptors:
            line.fail(f"{self.name} has a {what} line already")
        text = line.take(_rest, "text")[0]
        self.descriptors[what] = _unescaped(text) if what == "HELP" else text
        if what == "TYPE":
            if text not in _RULES:
                line.fail(f"the type {go_quote(text)} is none of {', '.join(_RULES)}")
            self.word, self.rule = text, _RULES[text]
        # TYPE and UNIT come in any order, so what each allows is checked after both.
        unit = self.descriptors.get("UNIT")
        if unit and not self.name.endswith(f"_{unit}"):
            line.fail(f"the name of {self.name} has to end with its unit, _{unit}")
        if unit and self.word in {"info", "stateset"}:
            line.fail(f"{self.name} has the type {self.word}, which has no unit")

    def misnamed(self, name: str) -> str:
        expected = " or ".join(f"{self.name}{suffix}" for suffix in self.rule.parts)
        advice = ""
        if self.word == "counter" and self.name.endswith("_total"):
            advice = "; TYPE and HELP name a counter without _total"
        return f"{name} is no sample of the {self.word} {self.name}: expected {expected}{advice}"

    def metric(self, line: _Line, labels: Labels) -> _Metric:
        """Return the metric with *labels*, new if the sample before was of another one."""
        if labels != self.last:  # metrics must not be interleaved, so only the last may go on
            if labels in self.metrics:
                line.fail(f"samples of one metric of {self.name} have to stand together")
            self.metrics[labels] = _Metric()
            self.last = labels
        metric = self.metrics[labels]
        metric.line = line.number
        return metric

    def bound(self, line: _Line, labels: Labels, part: _Part) -> tuple[Labels, float]:
        """Return *labels* without that of the bucket or quantile, and the bound in it."""
        own = self.rule.type.own_label
        pairs = dict(labels)
        if self.word == "stateset" and self.name not in pairs:
            line.fail(f"a state of {self.name} has to have the label {self.name}")
        if own is None or (part is not _Part.POINT and own not in pairs):
            return labels, math.nan
        try:
            bound = parse_float(pairs.pop(own)) if part is _Part.POINT else math.nan
        except (KeyError, ValueError):
            bound = math.nan
        if math.isnan(bound) or (own == "quantile" and not 0 <= bound <= 1):
            which = "from 0 to 1" if own == "quantile" else "on each bucket"
            line.fail(f"the label {own} has to be a number {which}, and on no other sample")
        return tuple(pairs.items()), bound


class _Reading:
    """Collects a body while its lines come in."""

    def __init__(self) -> None:
        self._families: dict[str, _Family] = {}
        self._current: _Family | None = None
        self._timestamped = False
        self.ended = False

    def line(self, line: _Line) -> None:
        if self.ended:
            line.fail(f"nothing may follow {_EOF}")
        if line.text == _EOF:
            self.ended = True
        elif line.text.startswith("#"):
            line.take(_descriptor, "# TYPE, # HELP, # UNIT (there are no comments) or # EOF")
            name = line.take(_metric_name, "a metric name")[0]
            line.take(_blank, "a blank")
            current = self._current
            family = current if current and current.name == name else self._begun(line, name)
            family.describe(line)
        elif line.text:
            self._sample(line)
        else:
            line.fail("an empty line; OpenMetrics has none")

    def _begun(self, line: _Line, name: str) -> _Family:
        if name in self._families:
            line.fail(f"the lines of {name} have to stand together")
        self._current = self._families[name] = _Family(name)
        return self._current

    def _family_of(self, line: _Line, name: str) -> tuple[_Family, _Part]:
        current = self._current
        if current and name.startswith(current.name):
            part = current.rule.parts.get(name[len(current.name) :])
            if part:
                return current, part
            if name == current.name:
                line.fail(current.misnamed(name))
        # Without a TYPE line, a family is unknown and has one sample name, its own.
        return self._begun(line, name), _Part.VALUE

    def _sample(self, line: _Line) -> None:
        name = line.take(_metric_name, "a metric name")[0]
        labels = () if line.text.startswith(" ", len(name)) else line.labels()
        line.take(_blank, "a blank")
        family, part = self._family_of(line, name)
        labels, bound = family.bound(line, labels, part)
        metric = family.metric(line, labels)
        if part is _Part.CREATED:
            if metric.time is not None and not self._timestamped:
                line.fail("this sample comes twice")
            metric.time = line.time_here()
            self._timestamp(line)
        else:
            self._number(line, family, metric, part, bound)
        line.end()

    def _number(
        self, line: _Line, family: _Family, metric: _Metric, part: _Part, bound: float
    ) -> None:
        value = line.number_here()
        if expected := _expected_number(family.word, part, value):
            line.fail(f"the {part.value} of a {family.word} has to be {expected}")
        if line.skip(" # ") or (self._timestamp(line) and line.skip(" # ")):
            is_bucket = part is _Part.POINT and family.rule.type.is_histogram
            if not is_bucket and family.word != "counter":
                line.fail("only counters and buckets have exemplars")
            metric.exemplars[bound] = line.exemplar()
        known = bound in metric.points if part is _Part.POINT else part in metric.parts
        # With timestamps, several points of a metric are legal. The push is refused for these.
        if known and not self._timestamped:
            line.fail("this sample comes twice")
        if part is _Part.POINT:
            metric.points[bound] = value
        else:
            metric.parts[part] = value

    def _timestamp(self, line: _Line) -> bool:
        """Read the timestamp of a sample; return whether there is one."""
        if not line.skip(" "):
            return False
        line.time_here()  # only checked: a gateway refuses timestamps, as the reference does
        self._timestamped = True
        return True

    def release(self) -> None:
        """Free everything bit by bit, and not in one long call into C."""
        while self._families:
            _, family = self._families.popitem()
            while family.metrics:
                family.metrics.popitem()

    def pushed(self, *, details: bool) -> Pushed:
        shapes: dict[str, FamilyShape] = {}
        numbers, kept = list[float](), list[bytes]()
        for family in self._families.values():
            if not family.metrics:
                continue
            metrics, kind = family.metrics.values(), family.rule.type
            name = family.name + family.rule.suffix
            bounds = [tuple(map(go_float, metric.points)) for metric in metrics]
            for metric, its_bounds in zip(metrics, bounds, strict=True):
                its_numbers = _numbers(family, metric)
                numbers += its_numbers
                if details:
                    kept.append(_detail(kind, metric, its_bounds, its_numbers))
            # OpenMetrics lets a counter foo and a gauge foo_total exist; here both are foo_total.
            if name in shapes:
                line = next(iter(metrics)).line
                raise TextFormatError(line, f"two families are both called {name} here")
            shapes[name] = FamilyShape(
                name,
                kind,
                family.descriptors.get("HELP"),
                tuple(family.metrics),
                () if kind.is_simple else tuple(bounds),
                untyped_as_text=family.word == "counter",
            )
        return Pushed(
            interned(tuple(shapes.values())),
            written_out(numbers),
            tuple(kept) if any(kept) else (),
            timestamped=self._timestamped,
        )


def _numbers(family: _Family, metric: _Metric) -> list[float]:
    kind, parts = family.rule.type, metric.parts
    if kind.is_simple:
        if _Part.VALUE not in parts:
            raise TextFormatError(
                metric.line, f"there is no {family.name}{family.rule.suffix} to this {family.name}"
            )
        return [parts[_Part.VALUE]]
    counts = [*metric.points.values()]
    if kind.is_histogram:
        _check_buckets(family, metric)
        count = parts.get(_Part.COUNT, counts[-1])
    else:
        count = whole_count(parts.get(_Part.COUNT, 0.0))  # as in the text format
    return [*counts, parts.get(_Part.SUM, 0.0), count]


def _check_buckets(family: _Family, metric: _Metric) -> None:
    bounds, counts = [*metric.points], [*metric.points.values()]
    complaint = ""
    if not bounds or bounds[-1] != math.inf:
        complaint = 'a last bucket with le="+Inf" is missing'
    elif any(a > b for a, b in pairwise(bounds)):
        complaint = "the buckets are not in ascending order"
    elif any(a > b for a, b in pairwise(counts)):
        complaint = "a bucket counts less than the one before it; buckets are cumulative"
    elif metric.parts.get(_Part.COUNT, counts[-1]) != counts[-1]:
        complaint = 'the count is not that of the bucket with le="+Inf"'
    if complaint:
        raise TextFormatError(metric.line, f"{family.word} {family.name}: {complaint}")


def _detail(
    kind: MetricType, metric: _Metric, bounds: tuple[str, ...], numbers: list[float]
) -> bytes:
    """Return the value part of the metric's message if the numbers do not say all of it."""
    if metric.time is None and not metric.exemplars:
        return b""
    # Encoded here and parsed again, so that the fields are those that a scrape would write.
    message = message_class("Metric").FromString(encoded(kind, [*packed(bounds)], numbers))
    value = getattr(message, VALUE_FIELDS[kind])
    if metric.time is not None:
        _set_time(value.created_timestamp, metric.time)
    for at, bound in enumerate(metric.points):
        if bound in metric.exemplars:
            _set_exemplar(value.bucket[at].exemplar, metric.exemplars[bound])
    if kind is MetricType.COUNTER:
        for exemplar in metric.exemplars.values():
            _set_exemplar(value.exemplar, exemplar)
    wire: bytes = message.SerializeToString()
    return wire


def _set_time(message: Any, time: int) -> None:
    message.seconds, message.nanos = divmod(time, 10**9)


def _set_exemplar(message: Any, exemplar: _Exemplar) -> None:
    for name, text in exemplar.labels:
        message.label.add(name=raw(name), value=raw(text))
    message.value = exemplar.value
    if exemplar.time is not None:
        _set_time(message.timestamp, exemplar.time)
