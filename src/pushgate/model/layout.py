"""The layout of a shape under a grouping key: complete label sets, and the text template.

Everything here depends on a shape and on the *names* of the grouping labels. Marks stand for the
values of the grouping labels, until a group is rendered.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from pushgate.model.family import FamilyShape
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.names import Escaping, alike, escape, is_plain
from pushgate.model.numbers import exposed
from pushgate.model.quoting import go_quote, is_utf8, legible, raw
from pushgate.model.slices import PER_SLICE, Sliced, listing, pausing, releasing, sorting

# 0xFE and 0xFF never occur in UTF-8. Names of families pushed as protobuf need not be UTF-8, but
# an unescaped quote, as in _RAW_MARKS, never occurs in them.
_MARKS = [f"\udcfe{letter}" for letter in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
_MARK_SET = frozenset(_MARKS)
_RAW_MARKS = [b'="%b"' % raw(mark) for mark in _MARKS]
MAX_MARKED_NAMES = len(_MARKS)
"""With more grouping labels than this, a layout is made for a single key."""

DUPLICATE = "was collected before with the same name and label values"


def sanitised(labels: Labels, grouping: Labels) -> Labels:
    """Return the labels that a metric with *labels* has in a group with labels *grouping*.

    The grouping labels win, an empty ``instance`` is added if there is none, and all are sorted by
    name. A name that the metric has twice stays there twice, for the check to find.
    """
    wanted = dict(grouping)
    out = [(name, wanted.pop(name, value)) for name, value in labels]
    out += wanted.items()
    if all(name != "instance" for name, _ in out):
        out.append(("instance", ""))
    return tuple(sorted(out, key=itemgetter(0)))


class Violation(NamedTuple):
    """A metric that must not be stored. ``complaint`` follows ``collected metric "N" {…}``."""

    family: int
    metric: int
    complaint: str


class _Piece(NamedTuple):
    """Some lines of a family, at the position *family*, less the last line feed.

    Each line has to begin with ``opening``. Families with the same labels share their ``text``.
    """

    family: int
    opening: bytes
    text: bytes
    lines: int


class TextTemplate(NamedTuple):
    """The exposition of a shape without numbers: the lines of each family, in pieces.

    Each line has a placeholder for its number. ``pick`` arranges the slots in the order of the
    placeholders; it is None if that is the order they have.
    """

    pieces: tuple[_Piece, ...]
    pick: Callable[[Sequence[bytes]], Sequence[bytes]] | None


_UNIFORM_AT_ONCE = 1024  # metrics; takes about half a millisecond

MAX_LINES = 8192
"""How many lines a piece has at most; they are rendered at once, in about two milliseconds."""
_MAX_BYTES = 1 << 20  # of a piece, where lines are long


class Layout:
    """A shape under the label names of a grouping key."""

    def __init__(
        self,
        families: tuple[FamilyShape, ...],
        grouping: Labels,
        marks: Sequence[bytes] = (),
        *,
        is_plain: bool,
    ) -> None:
        self._families = families
        self._grouping = grouping
        self._marks = marks
        self._is_plain = is_plain
        self._templates: dict[Escaping, TextTemplate] = {}
        self._violations: tuple[Violation, ...] | None = None

    @property
    def is_marked(self) -> bool:
        """Whether marks stand for the grouping values; otherwise it has those of one key."""
        return bool(self._marks)

    def scheme(self, escaping: Escaping) -> Escaping:
        """Return the scheme whose templates serve *escaping*: one for all if names are plain."""
        return Escaping.UNDERSCORES if self._is_plain else escaping

    def examination(self) -> Sliced[tuple[Violation, ...]]:
        """Return the metrics that break label rules or are duplicates, as gathering finds them."""
        # client_golang: prometheus/registry.go, checkMetricConsistency
        if self._violations is None:
            out: list[Violation] = []
            for index, family in enumerate(self._families):
                yield from _violations(index, family, self._grouping, out)
            self._violations = tuple(out)
        return self._violations

    def templating(self, escaping: Escaping) -> Sliced[TextTemplate]:
        """Return the template of the shape. Takes about a microsecond for each line, once."""
        escaping = self.scheme(escaping)
        found = self._templates.get(escaping)
        if found is None:
            order: list[int] = []
            pieces: list[_Piece] = []
            heads: dict[int, _Heads] = {}
            start = 0
            for at, family in enumerate(self._families):
                if at % PER_SLICE == 0:
                    yield
                shared = id(family.labels)  # families often share theirs
                if shared not in heads:
                    heads[shared] = yield from self._heads(at, escaping)
                pieces += yield from _family_pieces(at, family, heads[shared], start, order)
                start += family.slots
                if family.slots > PER_SLICE:
                    yield  # the lines that the pieces were joined from have just been freed
            for some in heads.values():
                yield from releasing(some.texts)
            # A single line is in order, so there are several where itemgetter() is used.
            pick = None if order == list(range(start)) else itemgetter(*order)
            found = self._templates[escaping] = TextTemplate(tuple(pieces), pick)
        return found

    def _heads(self, family: int, escaping: Escaping) -> Sliced["_Heads"]:
        """Return the labels of each metric of a family as text, in the order of an exposition."""
        heads = _uniform_heads(self._families[family].labels, self._grouping, escaping)
        if heads is None:
            metrics = yield from self.completing(family)
            order = yield from ranking(metrics)
            texts = yield from listing(_head(metrics[metric], escaping) for metric in order)
            yield from releasing(metrics)
            heads = _Heads(order, texts, escaping, {})
        return heads

    def completing(self, family: int) -> Sliced[list[Labels]]:
        """Return the complete labels of each metric of a family, with marks as grouping values."""
        own = self._families[family].labels
        return listing(sanitised(labels, self._grouping) for labels in own)

    def rendering(
        self, values: Sequence[Sequence[bytes]], numbers: Sequence[bytes], escaping: Escaping
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the text exposition of the families, without headers, for some groups.

        It comes in pieces, each with the position of its family; an empty piece is a pause in
        which other work may run. Several groups must not have more than :data:`MAX_LINES` lines
        together; then each family has its groups in order. Takes about 0.2 µs for each line when
        there are many groups, because whole columns fill whole templates.

        For each group, *values* has its :func:`label_values`, and *numbers* those of its slots.
        """
        template = yield from pausing(self.templating(escaping), (0, b""))
        pieces: Iterable[_Piece] = template.pieces
        yield 0, b""
        rows = [_tokens(line, template.pick) for line in numbers]
        yield 0, b""
        # One group may have 100,000 lines; several together have few.
        columns = list(zip(*rows, strict=True)) if len(rows) > 1 else []
        constant, varying = _sorted_out(self._marks, values)
        grouping = [column for _, column in varying]
        start = 0
        if len(rows) == 1:
            grouping_bytes = sum(map(len, values[0]))
            pieces = chain.from_iterable(_cut(piece, grouping_bytes) for piece in pieces)
        last, filled = b"", [b""]
        for piece in pieces:
            end = start + piece.lines
            if piece.text is not last:
                last = text = piece.text
                for mark, value in constant:
                    text = text.replace(mark, value)
                for mark, _ in varying:
                    text = text.replace(mark, b'="%b"')
                filled = text.split(b"\n") if piece.opening else [text]
            text = b"%b%b\n" % (piece.opening, (b"\n" + piece.opening).join(filled))
            if columns:
                # Each line takes the grouping values, then its number. Zipped by lines and
                # then by groups, they come in the order of ``text * len(rows)``.
                mine = chain.from_iterable((*grouping, column) for column in columns[start:end])
                filling = tuple(chain.from_iterable(zip(*mine, strict=True)))
            else:
                filling = tuple(rows[0][start:end])
            yield piece.family, text * len(rows) % filling
            start = end


def _tokens(
    numbers: bytes, pick: Callable[[Sequence[bytes]], Sequence[bytes]] | None
) -> Sequence[bytes]:
    tokens: Sequence[bytes] = numbers.split(b" ") if numbers else ()
    if b"-0" in numbers:  # as itself, or in an exponent or -0.5
        tokens = [exposed(token) for token in tokens]
    return pick(tokens) if pick else tokens


def _cut(piece: _Piece, grouping: int) -> Iterator[_Piece]:
    """Yield *piece*, in parts if it is long once *grouping* bytes are in each line."""
    length = len(piece.text) + piece.lines * (len(piece.opening) + grouping)
    if length <= _MAX_BYTES:
        yield piece
        return
    each = piece.text.split(b"\n")
    step = max(1, piece.lines * _MAX_BYTES // length)
    for start in range(0, piece.lines, step):
        some = each[start : start + step]
        yield piece._replace(text=b"\n".join(some), lines=len(some))


_Marked = list[tuple[bytes, bytes]]


def _sorted_out(
    marks: Sequence[bytes], values: Sequence[Sequence[bytes]]
) -> tuple[_Marked, list[tuple[bytes, Sequence[bytes]]]]:
    """Return the values of the marks: of those that all groups share, and of the others."""
    constant: _Marked = []
    varying: list[tuple[bytes, Sequence[bytes]]] = []
    for mark, column in zip(marks, zip(*values, strict=True), strict=False):
        if column.count(column[0]) == len(column):
            constant.append((mark, b'="%b"' % column[0].replace(b"%", b"%%")))
        else:
            varying.append((mark, column))
    return constant, varying


def layout_of(
    families: tuple[FamilyShape, ...], key: GroupingKey, *, own_values: bool, is_plain: bool
) -> Layout:
    """Return the layout of *families* under all keys with the label names of *key*.

    With *own_values* it has the values of *key* instead of marks, and serves only *key*. All names
    of families and labels are plain if *is_plain* says so.
    """
    if own_values:
        return Layout(families, key.labels, is_plain=is_plain)
    grouping, marks = zip(key.names, _MARKS, strict=False), _RAW_MARKS[: len(key.names)]
    return Layout(families, tuple(grouping), marks, is_plain=is_plain)


def is_mark(value: str) -> bool:
    """Return whether *value* in a layout stands for the value of a grouping label."""
    return value in _MARK_SET


def ranking(metrics: Sequence[Labels]) -> Sliced[list[int]]:
    """Return the indexes of *metrics*, complete label sets, in the order of an exposition.

    That is by number of labels, then by label values; names are not compared (client_golang:
    prometheus/internal, MetricSorter).
    """
    keys = yield from listing((len(one), [raw(value) for _, value in one]) for one in metrics)
    ranks = yield from sorting(range(len(metrics)), keys.__getitem__)
    yield from releasing(keys)
    return ranks


def label_values(key: GroupingKey) -> tuple[bytes, ...]:
    """Return the values of *key* in the form that :meth:`Layout.rendering` takes."""
    return tuple(escape_label_value(value) for _, value in key.labels)


def _violations(
    index: int, family: FamilyShape, grouping: Labels, out: list[Violation]
) -> Sliced[None]:
    names = frozenset(name for name, _ in grouping)
    seen: set[Labels] = set()
    for position, own in enumerate(family.labels):
        if (index + position) % PER_SLICE == 0:
            yield
        labels = sanitised(own, grouping)
        complaint = _complaint(family, labels, names)
        if complaint is None and labels in seen:
            complaint = DUPLICATE
        seen.add(labels)
        if complaint:
            out.append(Violation(index, position, complaint))
    yield from releasing(seen)


def _complaint(family: FamilyShape, labels: Labels, grouping: frozenset[str]) -> str | None:
    previous = ""
    for name, value in labels:
        if name == previous:
            return f"has two or more labels with the same name: {name}"
        previous = name
        if not is_utf8(name) or name.startswith("__"):
            return f"has a label with an invalid name: {name}"
        if name == family.type.own_label:
            return f'must not have an explicit "{name}" label'
        if name not in grouping and not is_utf8(value):
            return f'has a label named "{name}" whose value is not utf8: {go_quote(value)}'
    return alike_complaint(labels)


def alike_complaint(labels: Labels) -> str | None:
    """Return why a metric with the complete *labels* must not be stored because of escaping."""
    names = [name for name, _ in labels]
    if not all(map(is_plain, names)) and (found := alike(names)):
        return f"has labels that escaping makes one: {go_quote(found[0])} and {go_quote(found[1])}"
    return None


def escape_label_value(value: str) -> bytes:
    r"""Return *value* with ``\``, line feed and ``"`` escaped, as bytes."""
    if "\\" in value or "\n" in value or '"' in value:
        value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return raw(value)


def header(family: FamilyShape, escaping: Escaping) -> bytes:
    """Return the HELP and TYPE lines of *family*; HELP only if it has a help text."""
    name = _quoted(escape(family.name, escaping))
    lines = b""
    if family.help is not None:
        text = legible(family.help).replace("\\", r"\\").replace("\n", r"\n")
        lines = b"# HELP %b %b\n" % (name, text.encode())
    return lines + b"# TYPE %b %b\n" % (name, family.type.word.encode())


def _quoted(name: str) -> bytes:
    return raw(name) if is_plain(name) else b'"%b"' % escape_label_value(name)


@lru_cache(1000)
def _before_value(label: str, escaping: Escaping) -> bytes:
    return _quoted(escape(label, escaping)) + b'="'


class _Heads(NamedTuple):
    """The complete labels of metrics as text, without braces, in the order of an exposition.

    ``order`` has the indexes of the metrics in their family. Percent signs are doubled.
    """

    order: Sequence[int]
    texts: list[bytes]
    escaping: Escaping
    joined: dict[int, list[tuple[bytes, int]]]

    def lines(self, step: int) -> Sliced[list[tuple[bytes, int]]]:
        """Return the lines of simple metrics, *step* in each text, and how many each has."""
        found = self.joined.get(step)
        if found is None:
            found = self.joined[step] = []
            for first in range(0, len(self.texts), step):
                yield
                some = self.texts[first : first + step]
                found.append((b"} %b\n".join(some) + b"} %b", len(some)))
        return found


def _head(labels: Labels, escaping: Escaping) -> bytes:
    pairs = [
        _before_value(name, escaping) + escape_label_value(value) + b'"' for name, value in labels
    ]
    return b",".join(pairs).replace(b"%", b"%%")


_is_special = re.compile(r'[\\"%]').search


def _uniform_heads(
    labels: tuple[Labels, ...], grouping: Labels, escaping: Escaping
) -> _Heads | None:
    """Return the heads of metrics that all have the same label names; None if these do not.

    Label values are handled by columns, so a metric costs about half a microsecond.
    """
    count = len(labels)
    if count > _UNIFORM_AT_ONCE or len({*map(len, labels)}) != 1:
        return None
    own: dict[str, list[bytes]] = {}
    for pairs in zip(*labels, strict=True):
        names, values = zip(*pairs, strict=True)
        text = "\n".join(values)
        if names.count(names[0]) < count or names[0] in own or _is_special(text):
            return None
        # Encoded all at once. A value with a line feed makes too many pieces.
        own[names[0]] = raw(text).split(b"\n")
        if len(own[names[0]]) != count:
            return None
    row = {name: escape_label_value(value) for name, value in grouping}
    if not row.keys().isdisjoint(own):
        return None
    row.setdefault("instance", b"")
    varying = []
    for name, column in own.items():
        is_constant = column.count(column[0]) == count
        row[name] = column[0] if is_constant else b"%b"
        if not is_constant:
            varying.append(column)
    parts = [_before_value(name, escaping) + row[name] + b'"' for name in sorted(row)]
    template = b",".join(parts)
    if template.count(b"%") != len(varying):  # there is one in a name or a grouping value
        return None
    rows = [*zip(*varying, strict=True)] or [()] * count
    # All have the same number of labels, so the varying values decide, as in ranking(). They are in
    # the order of the names, which are sorted.
    order = sorted(range(count), key=rows.__getitem__)
    return _Heads(order, [template % rows[metric] for metric in order], escaping, {})


def _family_pieces(
    at: int, family: FamilyShape, heads: _Heads, start: int, order: list[int]
) -> Sliced[list[_Piece]]:
    """Return the template of a family in pieces; append the slot of each line to *order*."""
    name = escape(family.name, heads.escaping)
    if family.type.is_simple:
        opening = _opening(name)
        for first in range(0, len(heads.order), MAX_LINES):
            order += [start + metric for metric in heads.order[first : first + MAX_LINES]]
            yield
        texts = yield from heads.lines(max(1, min(MAX_LINES, _MAX_BYTES // len(opening))))
        return [_Piece(at, opening, *some) for some in texts]
    pieces: list[_Piece] = []
    slots = yield from listing(family.metric_slots())
    lines: list[bytes] = []
    for metric, head in zip(heads.order, heads.texts, strict=True):
        for slot, line in _lines(family, name, metric, head, slots[metric]):
            lines.append(line)
            order.append(start + slot)
            if len(lines) % PER_SLICE == 0:
                yield
            if len(lines) == MAX_LINES:
                pieces.append(_Piece(at, b"", b"\n".join(lines), len(lines)))
                lines = []
    if lines:
        pieces.append(_Piece(at, b"", b"\n".join(lines), len(lines)))
    return pieces


@lru_cache(1000)
def _opening(name: str) -> bytes:
    """Return the text before the labels of a sample called *name*, which is escaped."""
    # A name in quotes goes inside the braces (Exposition formats, "UTF-8 names").
    opening = raw(name) + b"{" if is_plain(name) else b"{%b," % _quoted(name)
    return opening.replace(b"%", b"%%")


def _lines(
    family: FamilyShape, name: str, metric: int, head: bytes, slots: range
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a summary or histogram, each with the slot of its number."""
    base, extra = (name + "_bucket", b"le") if family.type.is_histogram else (name, b"quantile")
    bounds = family.bounds[metric]
    *points, total, count = slots
    # Text must have this bucket; in protobuf it may be missing, and is the count.
    if family.type.is_histogram and "+Inf" not in bounds:
        bounds, points = (*bounds, "+Inf"), [*points, count]
    start = b"%b%b,%b" % (_opening(base), head, extra)
    for bound, slot in zip(bounds, points, strict=True):
        yield slot, b'%b="%b"} %%b' % (start, exposed(bound.encode()))
    for suffix, slot in (("_sum", total), ("_count", count)):
        yield slot, b"%b%b} %%b" % (_opening(name + suffix), head)
