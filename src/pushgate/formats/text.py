"""The text format 0.0.4, read the way the reference reads it.

Four speeds, one result. A body whose shape is known costs a split at the last blank of
each line (:meth:`TextReader.read`), one that is known but for its label values a little
more (:mod:`pushgate.formats.surround`). A new shape is read line by line: ordinary lines by
one regular expression, all others, and all errors, by :class:`_Scanner`, character by
character (Exposition formats, "Text-based format"; prometheus/common, expfmt).
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from pushgate.errors import TextFormatError
from pushgate.formats.assembly import FamilyBuilder, NegativeCount, Part, Plan, plan
from pushgate.formats.shapecache import BoundedCache, ShapeCache, key_cost, shape_cost
from pushgate.formats.surround import Pieces, Surround, pieces_of, surround_of
from pushgate.model.grouping import Labels
from pushgate.model.names import NameRule
from pushgate.model.numbers import is_whole_count, parse_float
from pushgate.model.quoting import go_quote, go_quote_byte, is_utf8, raw, text
from pushgate.model.shape import MetricType, Pushed, PushShape

# What looks like a number, and what certainly is one, as clients write them.
_split = re.compile(rb" ([-+.0-9e]+|NaN|[-+]Inf)\n").split
_NUMBER = r"[-+]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:e[-+][0-9]{2})?|NaN|[-+]Inf"
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
_sample = re.compile(rf"({_NAME})(?:\{{([^\\\n]*)\}})? ({_NUMBER})\n", re.ASCII).match
_help = re.compile(rf"# HELP ({_NAME}) ([^ \t\\\n][^\\\n]*)\n", re.ASCII).match
_type = re.compile(rf"# TYPE ({_NAME}) ([a-z]+)\n", re.ASCII).match
_first_pair = re.compile(rf"[ \t]*({_LABEL})[ \t]*=[ \t]*", re.ASCII).fullmatch
_next_pair = re.compile(rf"[ \t]*,[ \t]*({_LABEL})[ \t]*=[ \t]*", re.ASCII).fullmatch
_after_pairs = re.compile(r"[ \t]*,?[ \t]*", re.ASCII).fullmatch
_integer = re.compile(r"([-+]?)0*([0-9]{1,19})", re.ASCII).fullmatch
_first_in_line = re.compile(r"[^ \t]").search
_blanks = re.compile(r"[ \t]*").match
_to_line_end = re.compile(r"[^\n]*").match
_to_blank = re.compile(r"[^ \t\n]*").match
_verbatim = re.compile(r"[^\\\n]*").match
_verbatim_in_quotes = re.compile(r'[^"\\\n]*').match
_name_rest = {kind: re.compile(f"[a-zA-Z0-9_{kind}]*").match for kind in ("", ":")}

_TYPES = {
    **{kind.name.lower(): kind for kind in MetricType},
    "gaugehistogram": MetricType.GAUGE_HISTOGRAM,
}
_BLANKS = frozenset(" \t")
_DIGITS = frozenset("0123456789")
_ESCAPES = {"\\": "\\", "n": "\n", '"': '"'}
_BOM = b"\xef\xbb\xbf"
_LARGEST_TIMESTAMP = 2**63


class _Known(NamedTuple):
    """A body seen before. ``static`` are pieces that look like numbers and are comment."""

    plan: Plan
    static: tuple[tuple[int, bytes], ...]

    def pushed(self, shape: PushShape, values: list[bytes]) -> Pushed | None:
        """Return what a body of this shape pushes, or None if it has to be read anew."""
        for at, value in self.static:
            if values[at] != value:
                return None
        if self.static:
            static = {at for at, _ in self.static}
            values = [value for at, value in enumerate(values) if at not in static]
        try:
            return Pushed(shape, self.plan.numbers(values))
        except ValueError:
            return None  # the parser says where


class TextReader:
    """Reads text bodies, and remembers their shapes."""

    def __init__(self, names: NameRule, *, cache_bytes: int = 16 << 20) -> None:
        """Start with an empty cache.

        Args:
            names: which names are legal.
            cache_bytes: what the memory of shapes may cost.
        """
        self._names = names
        self._cache: ShapeCache[tuple[bytes, ...], _Known] = ShapeCache(cache_bytes)
        self._surrounds: BoundedCache[tuple[str, ...], Surround] = BoundedCache(cache_bytes // 4)

    @property
    def cache_bytes(self) -> int:
        """What the memory of shapes costs."""
        return self._cache.bytes + self._surrounds.bytes

    def read(self, body: bytes) -> Pushed:
        """Return what *body* pushes.

        Accepts what the reference refuses: CRLF, a missing last line feed, a byte order mark,
        and blanks after a value. Costs time in proportion to the body; a known shape about a
        tenth of a new one.

        Raises:
            TextFormatError: with the reference's text, for the first error in *body*.
        """
        body = normalised(body)
        pieces = _split(body)
        heads, values = tuple(pieces[0::2]), pieces[1::2]
        known = self._cache.get(heads)
        pushed = known[1].pushed(known[0], values) if known is not None else None
        return pushed or self._read_new(body, heads, values)

    def _read_new(self, body: bytes, heads: tuple[bytes, ...], values: list[bytes]) -> Pushed:
        pieces = pieces_of(heads)
        pushed = self._put_together(pieces, heads, values) if pieces else None
        if pushed is not None:
            return pushed
        parsed = self._parse(body)
        self._remember(parsed, heads, values, pieces)
        return parsed.pushed

    def _put_together(
        self, pieces: Pieces, heads: tuple[bytes, ...], values: list[bytes]
    ) -> Pushed | None:
        surround = self._surrounds.get(pieces.around)
        shape = surround.shape(pieces.values) if surround else None
        if surround is None or shape is None:
            return None
        known = _Known(surround.plan, ())
        pushed = known.pushed(shape, values)
        if pushed:
            self._cache.put(heads, shape, known, key_cost(heads, sum(map(len, heads))))
        return pushed

    def _remember(
        self,
        parsed: "_Parsed",
        heads: tuple[bytes, ...],
        values: list[bytes],
        pieces: Pieces | None,
    ) -> None:
        static = _static(heads, values, parsed.values)
        if static is None or not parsed.plan.is_complete or parsed.pushed.timestamped:
            return
        size, shape = key_cost(heads, sum(map(len, heads))), parsed.pushed.shape
        self._cache.put(heads, shape, _Known(parsed.plan, static), size)
        surround = surround_of(pieces, shape, parsed.plan) if pieces and not static else None
        if pieces and surround:
            size += shape_cost(shape)
            self._surrounds.put(pieces.around, surround, size)

    def _parse(self, body: bytes) -> "_Parsed":
        try:
            return parse(body, self._names)
        except TextFormatError:
            tidy = _without_trailing_blanks(body)
            if tidy == body:
                raise
            return parse(tidy, self._names)


def normalised(body: bytes) -> bytes:
    """Return *body* without CRLF and byte order mark, ending in a line feed if not empty.

    Raises:
        TextFormatError: it is one comment without a line feed. That is no empty push: it is
            what ``curl -d @file`` makes of a file that begins with a comment.
    """
    if b"\r\n" in body:
        body = body.replace(b"\r\n", b"\n")
    if body.startswith(_BOM):
        body = body[3:]
    if body.endswith(b"\n") or not body:
        return body
    if b"\n" not in body and body.lstrip(b" \t").startswith(b"#"):
        raise TextFormatError(1, "unexpected end of input stream")
    return body + b"\n"


def _without_trailing_blanks(body: bytes) -> bytes:
    """Return *body* with none behind its samples. No regular expression: others may run."""
    lines = body.split(b"\n")
    return b"\n".join(
        line if line.lstrip(b" \t").startswith(b"#") else line.rstrip(b" \t") for line in lines
    )


def _static(
    heads: tuple[bytes, ...], pieces: list[bytes], values: list[bytes]
) -> tuple[tuple[int, bytes], ...] | None:
    """Return which of *pieces* end a comment, or None if the rest are not *values*."""
    static, samples = [], []
    for at, piece in enumerate(pieces):
        line = heads[at].rpartition(b"\n")[2]
        if line.lstrip(b" \t").startswith(b"#"):
            static.append((at, piece))
        else:
            samples.append(piece)
    return tuple(static) if samples == values else None


class _Parsed(NamedTuple):
    """A body that was read line by line. ``values`` are the sample values as written."""

    pushed: Pushed
    plan: Plan
    values: list[bytes]


def parse(body: bytes, names: NameRule, *, shortcuts: bool = True) -> _Parsed:
    """Return what *body* pushes, without any cache.

    Args:
        body: the text.
        names: which names are legal.
        shortcuts: read ordinary lines by regular expression; without, every line goes
            through the scanner.

    Raises:
        TextFormatError: for the first error.
    """
    families = _Families()
    try:
        source = body.decode()
    except UnicodeDecodeError:
        source, shortcuts = text(body), False
    scanner = _Scanner(source, names, families)
    at, end = 0, len(source)
    while at < end:
        following = _ordinary(source, at, families) if shortcuts else 0
        at = following or scanner.line(at)
    shape, the_plan = plan(list(families.by_name.values()), len(families.values))
    values = [value.encode() for value in families.values]
    numbers = the_plan.numbers(values)
    pushed = Pushed(shape, numbers, timestamped=families.timestamped)
    return _Parsed(pushed, the_plan, values)


class _Families:
    """The families of a body so far, and its sample values in order."""

    def __init__(self) -> None:
        self.by_name: dict[str, FamilyBuilder] = {}
        self.values: list[str] = []
        self.timestamped = False
        self.current: FamilyBuilder | None = None

    def find(self, name: str) -> tuple[FamilyBuilder, Part]:
        """Return the family that *name* belongs to, new if need be, and which part it is.

        Literally first; then ``_count`` and ``_sum`` of a summary; then those and
        ``_bucket`` of a histogram.
        """
        self.current, part = self._found(name)
        return self.current, part

    def _found(self, name: str) -> tuple[FamilyBuilder, Part]:
        family = self.by_name.get(name)
        if family is not None:
            return family, Part.BODY
        base, part = _parted(name)
        if base:
            family = self.by_name.get(base)
            if family is not None and family.type is MetricType.SUMMARY and part is not Part.BODY:
                return family, part
            if family is not None and family.type is not None and family.type.is_histogram:
                return family, part
        family = self.by_name[name] = FamilyBuilder(name)
        return family, Part.BODY

    def add(
        self, family: FamilyBuilder, part: Part, labels: Labels, bound: float, value: str
    ) -> None:
        """Take one sample."""
        if part is not Part.COUNT or not self._is_overruled(family, labels, value):
            family.add(len(self.values), labels, part, bound)
        self.values.append(value)

    def _is_overruled(self, family: FamilyBuilder, labels: Labels, value: str) -> bool:
        """Return whether a histogram has a count already that *value* does not replace.

        The reference keeps whole and float counts apart, and shows the float one.
        """
        before = family.distributions.get(labels)
        if before is None or before.count < 0 or family.type is MetricType.SUMMARY:
            return False
        known = float(self.values[before.count])
        return not is_whole_count(known) and is_whole_count(float(value))


def _parted(name: str) -> tuple[str, Part]:
    if name.endswith("_count"):
        return name[:-6], Part.COUNT
    if name.endswith("_sum"):
        return name[:-4], Part.SUM
    return (name[:-7], Part.BODY) if name.endswith("_bucket") else ("", Part.BODY)


def _ordinary(source: str, at: int, families: _Families) -> int:
    """Take the line at *at* if it is an ordinary one; return where the next starts, or 0."""
    found = _sample(source, at)
    if found is None:
        return _ordinary_comment(source, at, families)
    name, inside, value = found.groups()
    names, labels = _ordinary_labels(inside) if inside else ((), ())
    if names is None:
        return 0
    family, part = families.find(name)
    if family.type is None:
        family.type = MetricType.UNTYPED
    bound = math.nan
    special = family.special_label
    if special:
        if value.startswith("-"):
            return 0  # perhaps a negative count: the scanner knows
        if special in names:
            try:
                bound = parse_float(dict(labels)[special])
            except ValueError:
                return 0
            labels = tuple(pair for pair in labels if pair[0] != special)
    families.add(family, part, labels, bound, value)
    return found.end()


def _ordinary_comment(source: str, at: int, families: _Families) -> int:
    found = _help(source, at)
    if found:
        family, _ = families.find(found[1])
        if family.help is not None:
            return 0
        family.help = found[2]
        return found.end()
    found = _type(source, at)
    if found and found[2] in _TYPES:
        family, _ = families.find(found[1])
        if family.type is not None:
            return 0
        family.type = _TYPES[found[2]]
        return found.end()
    return 0


# What stands around the label values of a sample, and the label names it means. Few
# differ, even where every label value is new.
_frames: dict[tuple[str, ...], tuple[str, ...] | None] = {}
_MOST_FRAMES = 10_000
_LONGEST_FRAME = 1000


def _ordinary_labels(inside: str) -> tuple[tuple[str, ...] | None, Labels]:
    """Return the label names in *inside* and its sorted labels; None if it is not ordinary."""
    pieces = inside.split('"')
    frame = tuple(pieces[0::2])
    names = _frames.get(frame, ())
    if names == ():
        names = _names_of(frame)
        if len(_frames) >= _MOST_FRAMES:
            _frames.clear()
        if sum(map(len, frame)) <= _LONGEST_FRAME:
            _frames[frame] = names
    if names is None or len(pieces) % 2 == 0:
        return None, ()
    labels = tuple(zip(names, pieces[1::2], strict=True))
    if len(names) > 1 and names != tuple(sorted(names)):
        labels = tuple(sorted(labels))
    return names, labels


def _names_of(frame: tuple[str, ...]) -> tuple[str, ...] | None:
    *before, last = frame
    if not before or not _after_pairs(last):
        return None
    found = [_first_pair(before[0]), *map(_next_pair, before[1:])]
    names = tuple(match[1] for match in found if match)
    if len(names) < len(before) or len(set(names)) < len(names) or "__name__" in names:
        return None
    return names


class _Scanner:
    """Reads one line at a time, character by character, with the reference's errors."""

    def __init__(self, source: str, names: NameRule, families: _Families) -> None:
        self._source = source
        self._names = names
        self._families = families
        self._part = Part.BODY
        self._is_named = False
        self._line_start = self._at = 0

    def line(self, at: int) -> int:
        """Take the line at *at*; return where the next one starts.

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
            case "{":
                self._sample_in_braces()
            case _:
                self._named_sample()
        return self._at

    @property
    def _here(self) -> str:
        """The character at hand."""
        if self._at >= len(self._source):
            self._fail("unexpected end of input stream")
        return self._source[self._at]

    def _next(self) -> str:
        self._at += 1
        return self._here

    def _fail(self, reason: str) -> NoReturn:
        raise TextFormatError(self._source.count("\n", 0, self._line_start) + 1, reason)

    def _run(self, match: Callable[[str, int], re.Match[str] | None]) -> str:
        """Return what *match* matches at this place, maybe nothing, and stand behind it.

        Something has to stand there.
        """
        found = match(self._source, self._at)
        assert found is not None
        self._at = found.end()
        if self._at >= len(self._source):
            self._fail("unexpected end of input stream")
        return found[0]

    @property
    def _family(self) -> FamilyBuilder:
        """The family of this line, once its name was read."""
        family = self._families.current
        assert family is not None
        return family

    @property
    def _metric(self) -> str:
        """The family of this line, or still of the last one, as error texts name it."""
        return go_quote(self._families.current.name if self._families.current else "")

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
        kind = _TYPES.get(word.lower()) if word.isascii() else None
        if kind is None:
            self._fail(f"unknown metric type {go_quote(word)}")
        self._family.type = kind

    def _rest_of_line(self) -> str:
        """Return what stands before the line feed, as error texts show it."""
        return self._run(_to_line_end).replace("\\", "")

    def _unescaped(self) -> str:
        """Return what the escape sequence at hand stands for, and stand behind it."""
        escaped = self._next()
        if escaped not in _ESCAPES:
            self._fail(f"invalid escape sequence '\\{chr(raw(escaped)[0])}'")
        self._at += 1
        return _ESCAPES[escaped]

    def _name(self, kind: str, *, extra: str = "") -> str:
        """Return the name at hand, quoted or bare; empty if there is none.

        A quote may also come in the middle: the reference's tokenizer takes ``a"b"`` for
        ``ab``.
        """
        if self._here in _DIGITS:
            return ""
        name = self._run(_name_rest[extra])
        if self._here == '"':
            name = self._quoted(f"{kind} name", name)
            self._next()
        return name

    def _quoted(self, what: str, before: str = "") -> str:
        """Return *before* and the quoted text at hand; stay on the closing quote."""
        self._at += 1
        out = [before, self._run(_verbatim_in_quotes)]
        while self._here != '"':
            if self._here == "\n":
                self._fail(f"{what} {go_quote(''.join(out))} contains unescaped new-line")
            out += [self._unescaped(), self._run(_verbatim_in_quotes)]
        return "".join(out)

    def _enter_family(self, name: str) -> None:
        if not self._names.metric(name):
            self._fail(f"invalid metric name {go_quote(name)}")
        _, self._part = self._families.find(name)
        self._is_named = True

    def _named_sample(self) -> None:
        name = self._name("metric", extra=":")
        if not name:
            self._fail("invalid metric name")
        self._enter_family(name)
        pairs: list[tuple[str, str]] = []
        if self._skip_blanks() == "{":
            self._pairs(pairs, inside_name=None)
        self._value(pairs)

    def _sample_in_braces(self) -> None:
        """Take a sample whose metric name stands among its labels."""
        pairs: list[tuple[str, str]] = []
        inside: list[str] = []
        self._pairs(pairs, inside_name=inside)
        if not inside:
            self._fail("invalid metric name")
        self._value(pairs)

    def _pairs(self, pairs: list[tuple[str, str]], *, inside_name: list[str] | None) -> None:
        """Read from ``{`` to behind ``}``; *inside_name* takes a metric name, if one may come."""
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
            elif inside_name is None:
                self._fail(f"expected '=' after label name, found {self._quoted_here()}")
            else:
                self._name_inside(name, inside_name)
            if self._here == "}":
                break
        self._at += 1

    def _name_inside(self, name: str, inside: list[str]) -> None:
        if inside:
            self._fail(f"multiple metric names for metric {self._metric}")
        if self._here not in {",", "}"}:
            self._fail(f"unexpected end of metric name {self._quoted_here()}")
        self._enter_family(name)
        inside.append(name)

    def _pair(self, name: str, pairs: list[tuple[str, str]]) -> None:
        if name == "__name__":
            self._fail('label name "__name__" is reserved')
        if not self._names.label(name):
            self._fail(f"invalid label name {go_quote(name)}")
        special = self._family.special_label if self._is_named else None
        if name != special and any(name == other for other, _ in pairs):
            self._fail(f"duplicate label names for metric {self._metric}")
        self._at += 1
        if self._skip_blanks() != '"':
            self._fail(f"expected '\"' at start of label value, found {self._quoted_here()}")
        value = self._quoted("label value")
        self._at += 1
        if not is_utf8(value):
            self._fail(f"invalid label value {go_quote(value)}")
        if name == special:
            self._bound(name, value)
        if self._skip_blanks() not in {",", "}"}:
            self._fail(f"unexpected end of label value {go_quote(value)}")
        pairs.append((name, value))

    def _bound(self, name: str, value: str) -> float:
        try:
            return parse_float(value)
        except ValueError:
            self._fail(f"expected float as value for '{name}' label, got {go_quote(value)}")

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
            self._fail(f"expected float as value, got {go_quote(token)}")
        self._check_count(family, number, bound)
        self._families.add(family, self._part, labels, bound, token)
        if self._here != "\n":
            self._timestamp()
        self._at += 1

    def _check_count(self, family: FamilyBuilder, number: float, bound: float) -> None:
        dropped = self._part is Part.BODY and math.isnan(bound)
        try:
            if family.type is not None and not dropped:
                family.check_count(self._part, number)
        except NegativeCount as error:
            self._fail(str(error))

    def _timestamp(self) -> None:
        self._skip_blanks()
        token = self._run(_to_blank)
        found = _integer(token)
        time = int(found[1] + found[2]) if found else _LARGEST_TIMESTAMP
        if not -_LARGEST_TIMESTAMP <= time < _LARGEST_TIMESTAMP:
            self._fail(f"expected integer as timestamp, got {go_quote(token)}")
        spurious = self._rest_of_line()
        if spurious:
            self._fail(f"spurious string after timestamp: {go_quote(spurious)}")
        self._families.timestamped = True
