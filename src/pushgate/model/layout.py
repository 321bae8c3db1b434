"""How a shape is laid out under a grouping key: complete label sets, and the text template.

Everything here depends on a shape and on the *names* of the grouping labels. The values
of the grouping labels are markers in the layout, put in when a group is rendered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from pushgate.model.names import LEGACY_METRIC, Escaping, alike, escape, is_plain
from pushgate.model.numbers import exposed
from pushgate.model.quoting import go_quote, is_utf8, legible, raw
from pushgate.model.slices import PER_SLICE, Sliced, finished

if TYPE_CHECKING:
    from pushgate.model.grouping import GroupingKey, Labels
    from pushgate.model.shape import FamilyShape

# 0xFE and 0xFF never occur in UTF-8. Names of families that came by protobuf need not be
# UTF-8; but they hold no line feed and no quote that is not escaped.
_MARKS = [f"\udcfe{letter}" for letter in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
_RAW_MARKS = [b'="%b"' % raw(mark) for mark in _MARKS]
MOST_MARKED_NAMES = len(_MARKS)
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
    """The exposition of a shape: for each family its text, and how many lines that has.

    Each line has a placeholder for its number. ``pick`` brings the slots into the order
    of the placeholders; None if they are.
    """

    families: tuple[tuple[bytes, int], ...]
    pick: Callable[[Sequence[bytes]], Sequence[bytes]] | None


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

    @cached_property
    def series(self) -> frozenset[tuple[str, Labels]]:
        """Every metric's family name and complete labels, grouping values as marks."""
        return frozenset(
            (family.name, labels)
            for family, metrics in zip(self._families, self.labels, strict=True)
            for labels in metrics
        )

    def marked(self, labels: Labels) -> Labels:
        """Return *labels* with marks for the grouping values, as :attr:`series` has them."""
        marks = dict(self._grouping)
        return tuple((name, marks.get(name, value)) for name, value in labels)

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

    def render(
        self,
        values: Sequence[Sequence[bytes]],
        numbers: Sequence[bytes],
        escaping: Escaping = Escaping.UNDERSCORES,
    ) -> list[bytes]:
        """Return the text exposition of each family, without its header, for some groups.

        The groups come one after the other in each family. Costs about 0.2 µs a line when
        there are many groups: whole columns are put into whole templates.

        Args:
            values: for each group the values of its labels, from :func:`label_values`.
            numbers: for each group the numbers of the shape's slots.
            escaping: how names that are not legacy are written.
        """
        families, pick = self._templates.get(escaping) or self._template(escaping)
        columns = list(zip(*(_tokens(line, pick) for line in numbers), strict=True))
        constant, varying = _sorted_out(self._marks, values)
        out, start = [], 0
        for text, lines in families:
            end = start + lines
            for mark, value in constant:
                text = text.replace(mark, value)  # noqa: PLW2901 - it becomes what it stands for
            for mark, _ in varying:
                text = text.replace(mark, b'="%b"')  # noqa: PLW2901 - ditto
            grouping = [column for _, column in varying]
            mine = chain.from_iterable((*grouping, column) for column in columns[start:end])
            out.append(text * len(numbers) % tuple(chain.from_iterable(zip(*mine, strict=True))))
            start = end
        return out

    def _template(self, escaping: Escaping) -> TextTemplate:
        order: list[int] = []
        start, families = 0, []
        for family, labels in zip(self._families, self.labels, strict=True):
            before = len(order)
            text = _family_template(family, labels, escaping, start, order)
            families.append((text, len(order) - before))
            start += family.slots
        pick = None if order == list(range(start)) else _picker(order)
        template = self._templates[escaping] = TextTemplate(tuple(families), pick)
        return template


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
    return value in _MARKS


def ranked(metrics: Sequence[Labels]) -> list[int]:
    """Return the places of *metrics*, complete label sets, in the order of an exposition.

    By number of labels, then by label values (names are not compared).
    """
    return sorted(
        range(len(metrics)), key=lambda i: (len(metrics[i]), [raw(v) for _, v in metrics[i]])
    )


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
    names = [name for name, _ in labels]
    if not all(map(is_plain, names)) and (found := alike(names)):
        return f"has labels that escaping makes one: {go_quote(found[0])} and {go_quote(found[1])}"
    return None


def escape_label_value(value: str) -> bytes:
    r"""Return *value* with ``\``, line feed and ``"`` escaped, as bytes."""
    return raw(value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\""))


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


def _sample(name: str, labels: Labels, escaping: Escaping, extra: bytes = b"") -> bytes:
    """Return one line with a placeholder for the number; *extra* is the last label pair.

    *name* is escaped already.
    """
    pairs = [
        b'%b="%b"' % (_quoted(escape(label, escaping), is_plain), escape_label_value(value))
        for label, value in labels
    ]
    if extra:
        pairs.append(extra)
    if LEGACY_METRIC(name):
        line = raw(name) + b"{" + b",".join(pairs) + b"} "
    else:
        line = b"{" + b",".join([_quoted(name, LEGACY_METRIC), *pairs]) + b"} "
    return line.replace(b"%", b"%%") + b"%b\n"


def _family_template(
    family: FamilyShape,
    metrics: tuple[Labels, ...],
    escaping: Escaping,
    start: int,
    order: list[int],
) -> bytes:
    """Return the lines of one family; append the slot of each line to *order*."""
    slots = list(family.metric_slots())
    lines: list[bytes] = []
    for i in ranked(metrics):
        mine = [start + slot for slot in slots[i]]
        if family.type.is_simple:
            lines.append(_sample(escape(family.name, escaping), metrics[i], escaping))
            order += mine
            continue
        lines += _distribution(family, metrics[i], family.bounds[i], escaping)
        bounds, total, count = mine[:-2], mine[-2], mine[-1]
        infinity = [count] if _lacks_infinity(family, i) else []
        order += [*bounds, *infinity, total, count]
    return b"".join(lines)


def _lacks_infinity(family: FamilyShape, metric: int) -> bool:
    """Return whether the ``+Inf`` bucket of a histogram has to be made from its count."""
    return family.type.is_histogram and "+Inf" not in family.bounds[metric]


def _distribution(
    family: FamilyShape, labels: Labels, bounds: tuple[str, ...], escaping: Escaping
) -> list[bytes]:
    name = escape(family.name, escaping)
    base, extra = (name + "_bucket", b"le") if family.type.is_histogram else (name, b"quantile")
    if family.type.is_histogram and "+Inf" not in bounds:
        bounds = (*bounds, "+Inf")
    lines = [
        _sample(base, labels, escaping, b'%b="%b"' % (extra, exposed(bound.encode())))
        for bound in bounds
    ]
    lines.append(_sample(name + "_sum", labels, escaping))
    lines.append(_sample(name + "_count", labels, escaping))
    return lines
