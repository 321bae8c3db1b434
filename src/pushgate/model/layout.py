"""How a shape is laid out under a grouping key: complete label sets, and the text template.

Everything here depends on a shape and on the *names* of the grouping labels. The values
of the grouping labels are markers in the layout, put in when a group is rendered.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from pushgate.model.family import FamilyShape
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.names import LEGACY_METRIC, Escaping, alike, escape, is_plain
from pushgate.model.numbers import exposed
from pushgate.model.quoting import go_quote, is_utf8, legible, raw
from pushgate.model.slices import PER_SLICE, Sliced, finished, listing, pausing, releasing, sorting

# 0xFE and 0xFF never occur in UTF-8. Names of families that came by protobuf need not be
# UTF-8; but they hold no line feed and no quote that is not escaped.
_MARKS = [f"\udcfe{letter}" for letter in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
_MARK_SET = frozenset(_MARKS)
_RAW_MARKS = [b'="%b"' % raw(mark) for mark in _MARKS]
MAX_MARKED_NAMES = len(_MARKS)
"""With more grouping labels than this, a layout is made for the one key."""


DUPLICATE = "was collected before with the same name and label values"


def sanitised(labels: Labels, grouping: Labels) -> Labels:
    """Return the labels a metric with *labels* has in a group with labels *grouping*.

    The grouping labels win, ``instance`` is added empty, all sorted by name. A name that
    the metric has twice stays there twice, for the check to find.
    """
    wanted = dict(grouping)
    out = [(name, wanted.pop(name, value)) for name, value in labels]
    out += wanted.items()
    if all(name != "instance" for name, _ in out):
        out.append(("instance", ""))
    return tuple(sorted(out, key=itemgetter(0)))


class Violation(NamedTuple):
    """A metric that may not be stored. ``complaint`` follows ``collected metric "N" { METRIC}``."""

    family: int
    metric: int
    complaint: str


class TextTemplate(NamedTuple):
    """The exposition of a shape: for each family its lines, in pieces.

    A piece is the position of its family, a text, and how many lines that has. Each line
    has a placeholder for its number. ``pick`` brings the slots into the order of the
    placeholders; None if they are.
    """

    pieces: tuple[tuple[int, bytes, int], ...]
    pick: Callable[[Sequence[bytes]], Sequence[bytes]] | None


_UNIFORM_AT_ONCE = 1024

MAX_LINES = 8192
"""Lines of a piece: rendered in one go, in about two milliseconds."""


class Layout:
    """A shape under the label names of a grouping key."""

    def __init__(
        self, families: tuple[FamilyShape, ...], grouping: Labels, marks: Sequence[bytes] = ()
    ) -> None:
        self._families = families
        self._grouping = grouping
        self._marks = marks
        self._templates: dict[Escaping, TextTemplate] = {}
        self._violations: tuple[Violation, ...] | None = None

    @cached_property
    def labels(self) -> tuple[tuple[Labels, ...], ...]:
        """For each family, the complete labels of each metric, grouping values as marks."""
        return tuple(
            tuple(sanitised(labels, self._grouping) for labels in family.labels)
            for family in self._families
        )

    @property
    def is_marked(self) -> bool:
        """Whether marks stand for the grouping values."""
        return bool(self._marks)

    def examination(self) -> Sliced[tuple[Violation, ...]]:
        """Return what breaks label rules, or is there twice (reference: gathering, step c)."""
        if self._violations is None:
            out: list[Violation] = []
            for index, family in enumerate(self._families):
                yield from _violations(index, family, self._grouping, out)
            self._violations = tuple(out)
        return self._violations

    @property
    def violations(self) -> tuple[Violation, ...]:
        """The result of :meth:`examination`."""
        return finished(self.examination())

    def templating(self, escaping: Escaping) -> Sliced[TextTemplate]:
        """Return the template of the shape. Costs about a microsecond a line, once."""
        found = self._templates.get(escaping)
        if found is None:
            order: list[int] = []
            pieces: list[tuple[int, bytes, int]] = []
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
                    yield  # releasing what the pieces were made of took its time
            for some in heads.values():
                if len(some.texts) > PER_SLICE:
                    yield from releasing(some.texts)
            pick = None if order == list(range(start)) else _picker(order)
            found = self._templates[escaping] = TextTemplate(tuple(pieces), pick)
        return found

    def _heads(self, family: int, escaping: Escaping) -> Sliced["_Heads"]:
        """Return the labels of each metric of a family as text, in the order of an exposition."""
        heads = _uniform_heads(self._families[family].labels, self._grouping, escaping)
        if heads is None:
            metrics = yield from self.completing(family)
            order = yield from ranking(metrics)
            texts = []
            for number, metric in enumerate(order):
                if number % PER_SLICE == PER_SLICE - 1:
                    yield
                texts.append(_head(metrics[metric], escaping))
            if len(metrics) > PER_SLICE:
                yield from releasing(metrics)
            heads = _Heads(order, texts, escaping)
        return heads

    def completing(self, family: int) -> Sliced[list[Labels]]:
        """Return the complete labels of each metric of a family, grouping values as marks."""
        out = []
        for number, labels in enumerate(self._families[family].labels):
            if number % PER_SLICE == PER_SLICE - 1:
                yield
            out.append(sanitised(labels, self._grouping))
        return out

    def render(
        self,
        values: Sequence[Sequence[bytes]],
        numbers: Sequence[bytes],
        escaping: Escaping = Escaping.UNDERSCORES,
    ) -> list[bytes]:
        """Return the text exposition of each family, as :meth:`rendering` yields it."""
        out = [b""] * len(self._families)
        for at, text in self.rendering(values, numbers, escaping):
            out[at] += text
        return out

    def rendering(
        self,
        values: Sequence[Sequence[bytes]],
        numbers: Sequence[bytes],
        escaping: Escaping,
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the text exposition of the families, without headers, for some groups.

        It comes in pieces, each with the position of its family; a piece of no bytes is a
        pause in which other work may run. The groups come one after the other in each
        family, provided that several have no more than :data:`MAX_LINES` lines together.
        Costs about 0.2 µs a line when there are many groups: whole columns are put into
        whole templates.

        Args:
            values: for each group the values of its labels, from :func:`label_values`.
            numbers: for each group the numbers of the shape's slots.
            escaping: how names that are not legacy are written.
        """
        pieces, pick = yield from pausing(self.templating(escaping), (0, b""))
        yield 0, b""
        rows = [_tokens(line, pick) for line in numbers]
        yield 0, b""
        # One group may have 100,000 lines; several together have few.
        columns = list(zip(*rows, strict=True)) if len(rows) > 1 else []
        constant, varying = _sorted_out(self._marks, values)
        grouping = [column for _, column in varying]
        start = 0
        for at, text, lines in pieces:
            end = start + lines
            for mark, value in constant:
                text = text.replace(mark, value)  # noqa: PLW2901 - it becomes what it stands for
            for mark, _ in varying:
                text = text.replace(mark, b'="%b"')  # noqa: PLW2901 - ditto
            if columns:
                mine = chain.from_iterable((*grouping, column) for column in columns[start:end])
                filling = tuple(chain.from_iterable(zip(*mine, strict=True)))
            else:
                filling = tuple(rows[0][start:end])
            yield at, text * len(rows) % filling
            start = end


def _tokens(
    numbers: bytes, pick: Callable[[Sequence[bytes]], Sequence[bytes]] | None
) -> Sequence[bytes]:
    tokens: Sequence[bytes] = numbers.split(b" ") if numbers else ()
    if b"-0" in numbers:
        tokens = [exposed(token) for token in tokens]
    return pick(tokens) if pick else tokens


_Marked = list[tuple[bytes, bytes]]


def _sorted_out(
    marks: Sequence[bytes], values: Sequence[Sequence[bytes]]
) -> tuple[_Marked, list[tuple[bytes, Sequence[bytes]]]]:
    """Return what the marks stand for: those that are the same in all groups, and the others."""
    constant: _Marked = []
    varying: list[tuple[bytes, Sequence[bytes]]] = []
    for mark, column in zip(marks, zip(*values, strict=True), strict=False):
        if column.count(column[0]) == len(column):
            constant.append((mark, b'="%b"' % column[0].replace(b"%", b"%%")))
        else:
            varying.append((mark, column))
    return constant, varying


def _picker(order: list[int]) -> Callable[[Sequence[bytes]], tuple[bytes, ...]]:
    return itemgetter(*order) if len(order) > 1 else lambda tokens: (tokens[order[0]],)


def layout_of(families: tuple[FamilyShape, ...], key: GroupingKey, *, own_values: bool) -> Layout:
    """Return the layout of *families* under all keys with the label names of *key*.

    With *own_values* it holds the values of *key* instead of marks, and serves *key* alone.
    """
    if own_values:
        return Layout(families, key.labels)
    return Layout(
        families, tuple(zip(key.names, _MARKS, strict=False)), _RAW_MARKS[: len(key.names)]
    )


def is_mark(value: str) -> bool:
    """Return whether *value* in a layout stands for the value of a grouping label."""
    return value in _MARK_SET


def ranking(metrics: Sequence[Labels]) -> Sliced[list[int]]:
    """Return the places of *metrics*, complete label sets, in the order of an exposition.

    By number of labels, then by label values (names are not compared).
    """
    keys = []
    for number, labels in enumerate(metrics):
        if number % PER_SLICE == PER_SLICE - 1:
            yield
        keys.append((len(labels), [raw(value) for _, value in labels]))
    ranks = yield from sorting(range(len(metrics)), keys.__getitem__)
    if len(keys) > PER_SLICE:
        yield from releasing(keys)
    return ranks


def label_values(key: GroupingKey) -> tuple[bytes, ...]:
    """Return the values of *key* as :meth:`Layout.render` puts them in."""
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
    if len(seen) > PER_SLICE:
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
    """Return why a metric with the complete *labels* may not be stored because of escaping."""
    names = [name for name, _ in labels]
    if not all(map(is_plain, names)) and (found := alike(names)):
        return f"has labels that escaping makes one: {go_quote(found[0])} and {go_quote(found[1])}"
    return None


def escape_label_value(value: str) -> bytes:
    r"""Return *value* with ``\``, line feed and ``"`` escaped, as bytes."""
    if "\\" in value or "\n" in value or '"' in value:
        value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return raw(value)


def header(family: FamilyShape, help: str | None, escaping: Escaping) -> bytes:  # noqa: A002 - the word of the format
    """Return the HELP and TYPE lines of *family*; HELP only if there is one."""
    name = _quoted(escape(family.name, escaping), LEGACY_METRIC)
    lines = b""
    if help is not None:
        text = legible(help).replace("\\", r"\\").replace("\n", r"\n")
        lines = b"# HELP %b %b\n" % (name, text.encode())
    return lines + b"# TYPE %b %b\n" % (name, family.type.word.encode())


def _quoted(name: str, is_bare: Callable[[str], object]) -> bytes:
    return raw(name) if is_bare(name) else b'"%b"' % escape_label_value(name)


@lru_cache(1000)
def _before_value(label: str, escaping: Escaping) -> bytes:
    return _quoted(escape(label, escaping), is_plain) + b'="'


class _Heads(NamedTuple):
    """The complete labels of metrics as text, without braces, in the order of an exposition.

    ``order`` are the places of the metrics in their family. Percent signs are doubled.
    """

    order: Sequence[int]
    texts: list[bytes]
    escaping: Escaping


def _head(labels: Labels, escaping: Escaping) -> bytes:
    pairs = [
        _before_value(label, escaping) + escape_label_value(value) + b'"' for label, value in labels
    ]
    return b",".join(pairs).replace(b"%", b"%%")


_is_special = re.compile(r'[\\"%]').search


def _uniform_heads(
    labels: tuple[Labels, ...], grouping: Labels, escaping: Escaping
) -> _Heads | None:
    """Return the heads of some metrics with the same label names; None if they are no such.

    Label values are taken by columns, so a metric costs about half a microsecond.
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
    if template.count(b"%") != len(varying):
        return None
    rows = [*zip(*varying, strict=True)] or [()] * count
    order = sorted(range(count), key=rows.__getitem__)
    return _Heads(order, [template % rows[metric] for metric in order], escaping)


def _family_pieces(
    at: int, family: FamilyShape, heads: _Heads, start: int, order: list[int]
) -> Sliced[list[tuple[int, bytes, int]]]:
    """Return the pieces of the template of a family; append the slot of each line to *order*."""
    name = escape(family.name, heads.escaping)
    pieces: list[tuple[int, bytes, int]] = []
    if family.type.is_simple:
        opening, between = _opening(name), b"} %b\n" + _opening(name)
        for first in range(0, len(heads.texts), MAX_LINES):
            yield
            some = heads.texts[first : first + MAX_LINES]
            pieces.append((at, b"%b%b} %%b\n" % (opening, between.join(some)), len(some)))
            order += [start + metric for metric in heads.order[first : first + MAX_LINES]]
        return pieces
    slots = yield from listing(family.metric_slots())
    lines: list[bytes] = []
    for metric, head in zip(heads.order, heads.texts, strict=True):
        for slot, line in _lines(family, name, metric, head, slots[metric]):
            lines.append(line)
            order.append(start + slot)
            if len(lines) % PER_SLICE == 0:
                yield
            if len(lines) == MAX_LINES:
                pieces.append((at, b"".join(lines), len(lines)))
                lines = []
    if lines:
        pieces.append((at, b"".join(lines), len(lines)))
    return pieces


@lru_cache(1000)
def _opening(name: str) -> bytes:
    """Return what stands before the labels of a sample called *name*, which is escaped."""
    opening = raw(name) + b"{" if LEGACY_METRIC(name) else b"{%b," % _quoted(name, LEGACY_METRIC)
    return opening.replace(b"%", b"%%")


def _lines(
    family: FamilyShape, name: str, metric: int, head: bytes, slots: range
) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a summary or histogram, each with the slot of its number."""
    base, extra = (name + "_bucket", b"le") if family.type.is_histogram else (name, b"quantile")
    bounds = family.bounds[metric]
    *points, total, count = slots
    if family.type.is_histogram and "+Inf" not in bounds:
        bounds, points = (*bounds, "+Inf"), [*points, count]
    start = b"%b%b,%b" % (_opening(base), head, extra)
    for bound, slot in zip(bounds, points, strict=True):
        yield slot, b'%b="%b"} %%b\n' % (start, exposed(bound.encode()))
    for suffix, slot in (("_sum", total), ("_count", count)):
        yield slot, b"%b%b} %%b\n" % (_opening(name + suffix), head)
