"""Shape and values: a push, split into the part that stays and the part that changes.

A *shape* is a push without its numbers: families, types, help texts, label sets, buckets,
quantiles. It hardly ever changes from push to push, and all groups that push it share it, so
everything expensive is computed once for each shape. The rest of a push are its numbers, one line
of canonical texts (see :mod:`pushgate.model.numbers`).

The *slots* of a shape are the positions of its numbers: families in the order pushed, metrics in
the order pushed. A counter, gauge or untyped metric has one slot; a summary or histogram has one
for each quantile or bucket, then the sum, then the count.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, islice
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.keys import PER_PIECE, key_of, long_key
from pushgate.model.layout import MAX_MARKED_NAMES, Layout, Violation, layout_of
from pushgate.model.names import alike, is_plain
from pushgate.model.quoting import is_utf8, raw
from pushgate.model.slices import PER_SLICE, Sliced, finished, listing, releasing


class FamilyLabelSchema(NamedTuple):
    """A metric family without its numbers and label values.

    ``label_names`` has the distinct sets of label names of its metrics, each sorted.
    """

    name: str
    type: MetricType
    help: str | None
    label_names: frozenset[tuple[str, ...]]
    untyped_as_text: bool = False


class LabelSchema:
    """What shapes have in common that differ only in label values. Interned.

    A job that labels its metrics with a run or a commit pushes a new shape each time, but always
    with the same label schema. What depends on names alone is computed once for it.
    """

    def __init__(self, families: tuple[FamilyLabelSchema, ...]) -> None:
        self.families = families
        self.names = tuple(family.name for family in families)
        self.name_set = frozenset(self.names)
        self._clean: dict[tuple[str, ...], bool] = {}

    @cached_property
    def label_names(self) -> frozenset[str]:
        return frozenset(
            name for family in self.families for names in family.label_names for name in names
        )

    @cached_property
    def most_labels(self) -> int:
        """The largest number of labels of a metric."""
        return max((len(ns) for f in self.families for ns in f.label_names), default=0)

    @cached_property
    def longest_name(self) -> int:
        """The number of bytes of the longest label name."""
        return max(map(size, self.label_names), default=0)

    @cached_property
    def is_plain(self) -> bool:
        """Whether every escaping scheme leaves the names of families and labels as they are."""
        return all(map(is_plain, (*self.names, *self.label_names)))

    @cached_property
    def order_needs_values(self) -> bool:
        """Whether metrics of one family differ in label names.

        Then the grouping labels have different positions in them, and the order of the metrics in
        an exposition depends on the values of the grouping labels.
        """
        return any(len(family.label_names) > 1 for family in self.families)

    @cached_property
    def positions(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.names)}

    def is_clean(self, grouping: tuple[str, ...]) -> bool:
        """Return whether all label names may be stored, and none is in *grouping*.

        Then a push needs no look at its label values, except for UTF-8 and duplicates.
        """
        clean = self._clean.get(grouping)
        if clean is None:
            if len(self._clean) >= _MAX_LAYOUTS:
                self._clean.clear()
            # Own labels of types, le and quantile, would come twice beside such grouping labels.
            clean = self._clean[grouping] = (
                self._is_storable
                and self.label_names.isdisjoint(grouping)
                and not any(f.type.own_label in grouping for f in self.families if f.label_names)
                and not self._are_alike(grouping)
            )
        return clean

    @cached_property
    def _is_storable(self) -> bool:
        """Whether the label names may be stored under any grouping labels."""
        return (
            all(is_utf8(n) and n and not n.startswith("__") for n in self.label_names)
            and all(len(set(ns)) == len(ns) for f in self.families for ns in f.label_names)
            and not any(f.type.own_label in ns for f in self.families for ns in f.label_names)
            # A metric with an empty instance and one without may be the same series.
            and not (self.order_needs_values and "instance" in self.label_names)
        )

    def _are_alike(self, grouping: tuple[str, ...]) -> bool:
        """Return whether some escaping scheme writes two label names of a metric alike."""
        if all(map(is_plain, grouping)) and all(map(is_plain, self.label_names)):
            return False
        sets = {names for family in self.families for names in family.label_names}
        return any(alike((*names, *grouping)) for names in sets)


def _label_schemas(families: Sequence[FamilyShape]) -> Sliced[tuple[FamilyLabelSchema, ...]]:
    # By identity, because families often share their labels, and equality costs a walk.
    names: dict[int, frozenset[tuple[str, ...]]] = {}
    out: list[FamilyLabelSchema] = []
    for start in range(0, len(families), PER_SLICE):
        yield
        some = families[start : start + PER_SLICE]
        for metrics in {id(family.labels): family.labels for family in some}.values():
            if id(metrics) not in names:
                names[id(metrics)] = yield from _label_names(metrics)
        out += [
            FamilyLabelSchema(name, kind, said, names[id(metrics)], as_text)
            for name, kind, said, metrics, _, as_text in some
        ]
    return tuple(out)


def _label_names(metrics: Sequence[Labels]) -> Sliced[frozenset[tuple[str, ...]]]:
    """Return the distinct sets of label names of *metrics*."""
    found: set[tuple[str, ...]] = set()
    for start in range(0, len(metrics), PER_SLICE):
        if start:
            yield
        some = metrics[start : start + PER_SLICE]
        found.update([tuple([name for name, _ in labels]) for labels in some])
    return frozenset(found)


def label_schema_of(families: tuple[FamilyLabelSchema, ...]) -> LabelSchema:
    """Return the one label schema that consists of *families*."""
    key = key_of(families)
    label_schema = _LABEL_SCHEMAS.get(key)
    if label_schema is None:
        label_schema = _LABEL_SCHEMAS[key] = LabelSchema(families)
    return label_schema


class PushShape:
    """The shape of one push: its families, in the order pushed. Compared by identity.

    Get one from :func:`interned`. Where label values are new each time, create one with a known
    *label_schema*, and with :attr:`starts` if these are known, so that shapes share them.
    """

    def __init__(
        self,
        families: tuple[FamilyShape, ...],
        label_schema: LabelSchema,
        starts: tuple[int, ...] = (),
    ) -> None:
        self.families = families
        self.label_schema = label_schema
        self.starts = starts or tuple(accumulate([f.slots for f in families], initial=0))
        """The first slot of each family, and finally the number of slots."""
        self.series = self.starts[-1]
        """The number of series in an exposition of this shape, without synthesised buckets."""
        self._layouts: dict[tuple[str, ...] | Labels, Layout] = {}

    def __del__(self) -> None:
        """Pass what takes long to free to :data:`release`."""
        if release and _outweigh(self.families, LARGE):
            release([self.families, self.label_schema.families])

    @property
    def names(self) -> tuple[str, ...]:
        return self.label_schema.names

    @property
    def name_set(self) -> frozenset[str]:
        return self.label_schema.name_set

    def examination(self, key: GroupingKey) -> Sliced[tuple[Violation, ...]]:
        """Return the metrics that must not be stored under *key*, and why.

        Takes time in proportion to the shape, once for all keys with the same label names.
        """
        if self.label_schema.is_clean(key.names):
            yield from self._look_at_values()
        return () if self.is_clean(key) else (yield from self.layout(key).examination())

    def _look_at_values(self) -> Sliced[None]:
        """Find out what :meth:`is_clean` needs to know of a million metrics, in slices."""
        if "is_distinct" not in self.__dict__:
            self.is_distinct = yield from self._distinguishing()
        if "values_are_utf8" not in self.__dict__:
            values = iter(self._values())
            while (some := [*islice(values, PER_PIECE)]) and all(map(is_utf8, some)):
                yield
            self.values_are_utf8 = not some

    def is_clean(self, key: GroupingKey) -> bool:
        """Return whether all metrics may be stored under *key*, as far as this is seen quickly."""
        return self.label_schema.is_clean(key.names) and self.is_distinct and self.values_are_utf8

    def prepare(self, key: GroupingKey) -> None:
        """Compute now, perhaps in another thread, what the admission of a push to *key* needs."""
        finished(self.examination(key))
        self.repeated_bytes(key)
        schema = self.label_schema
        # These are cached properties.
        _ = self.longest_value, schema.most_labels, schema.longest_name, schema.positions

    @cached_property
    def is_distinct(self) -> bool:
        """Whether no family has a label set twice."""
        return finished(self._distinguishing())

    def _distinguishing(self) -> Sliced[bool]:
        different = {id(f.labels): f.labels for f in self.families if len(f.labels) > 1}
        for metrics in different.values():
            seen: set[Labels] = set()
            for at in range(0, len(metrics), PER_PIECE):  # all other threads wait during one call
                seen.update(metrics[at : at + PER_PIECE])
                yield
            if len(seen) < len(metrics):
                return False
            yield from releasing(seen)
        return True

    @cached_property
    def values_are_utf8(self) -> bool:
        return all(map(is_utf8, self._values()))

    @cached_property
    def longest_value(self) -> int:
        """The number of bytes of the longest label value."""
        return max(map(size, self._values()), default=0)

    def measuring(self) -> Sliced[int]:
        """Return :attr:`longest_value`, in slices where it is not known yet."""
        if "longest_value" not in self.__dict__:
            longest, values = 0, iter(self._values())
            while some := [*islice(values, PER_PIECE)]:
                longest = max(longest, *map(size, some))
                yield
            self.longest_value = longest
        return self.longest_value

    def _values(self) -> Iterable[str]:
        return (value for f in self.families for labels in f.labels for _, value in labels)

    def repeated_bytes(self, key: GroupingKey) -> int:
        """Return the number of bytes that an exposition under *key* repeats from line to line.

        These are the grouping labels, the names of families, and the labels of metrics that
        have several lines, before escaping. A push says each of them once.
        """
        return self.series * len(key.packed) + self._own_repeated_bytes

    @cached_property
    def _own_repeated_bytes(self) -> int:
        names = sum([size(family.name) * family.slots for family in self.families])
        several = (family for family in self.families if not family.type.is_simple)
        return names + sum(
            len(slots) * sum([size(name) + size(value) for name, value in labels])
            for family in several
            for labels, slots in zip(family.labels, family.metric_slots(), strict=True)
        )

    def layout(self, key: GroupingKey) -> Layout:
        """Return the layout of this shape under *key*.

        One layout serves all keys with the same label names, unless the order of the metrics
        depends on the key's values.
        """
        own = self.label_schema.order_needs_values or len(key.names) > MAX_MARKED_NAMES
        kind: tuple[str, ...] | Labels = key.labels if own else key.names
        layout = self._layouts.get(kind)
        if layout is None:
            if len(self._layouts) >= _MAX_LAYOUTS:
                self._layouts.clear()
            plain = self.label_schema.is_plain and all(map(is_plain, key.names))
            layout = layout_of(self.families, key, own_values=own, is_plain=plain)
            self._layouts[kind] = layout
        return layout


def size(value: str) -> int:
    """Return the number of bytes of a label name or value."""
    return len(value) if value.isascii() else len(raw(value))


release: Callable[[list[Collection[Any]]], None] | None = None
"""Receives the parts of a large shape that is no longer used.

To free 100,000 tuples is one call of milliseconds on whichever thread drops the last reference,
often the event loop. The server sets this to something that frees them bit by bit.
"""
LARGE = 4096
"""The number of families and metrics from which on a shape is large."""

# Layouts that are kept for each shape. Jobs agree on their label names, so there is nearly always
# one; a shape whose order needs the values has one for each group.
_MAX_LAYOUTS = 64

# Weak: a shape, and with it a label schema, is known as long as a group or a cache holds it.
_SHAPES: WeakValueDictionary[Hashable, PushShape] = WeakValueDictionary()
_LABEL_SCHEMAS: WeakValueDictionary[Hashable, LabelSchema] = WeakValueDictionary()


def interned(
    families: tuple[FamilyShape, ...], label_schemas: tuple[FamilyLabelSchema, ...] | None = None
) -> PushShape:
    """Return the one shape of *families*. It is known as long as somebody holds it.

    *label_schemas* are those of *families*, if they are already known.
    """
    return finished(interning(families, label_schemas))


def interning(
    families: tuple[FamilyShape, ...], label_schemas: tuple[FamilyLabelSchema, ...] | None = None
) -> Sliced[PushShape]:
    """Do what :func:`interned` does in slices."""
    key: Hashable = families
    if _outweigh(families, PER_PIECE):
        key = yield from long_key(_pieces(families))
    shape = _SHAPES.get(key)
    if shape is None:
        if label_schemas is None:
            label_schemas = yield from _label_schemas(families)
        label_schema = label_schema_of(label_schemas)
        yield
        shape = _SHAPES[key] = PushShape(families, label_schema)
    elif release and shape.families is not families and _outweigh(families, LARGE):
        release([families])
    return shape


def _outweigh(families: tuple[FamilyShape, ...], most: int) -> bool:
    """Return whether *families* and their metrics count more than *most*; looks at few families."""
    return len(families) > most or sum(map(_total_weight, families)) > most


def _total_weight(family: FamilyShape) -> int:
    return 1 + len(family.labels) * _weight(family)


def _weight(family: FamilyShape) -> int:
    """Return as how many metrics of up to seven labels each metric of *family* counts."""
    labels = family.labels
    return 1 + max(len(labels[0]), len(labels[-1])) // 8 if labels else 0


def _pieces(families: Iterable[FamilyShape]) -> Iterator[Hashable]:
    """Yield *families* in pieces of at most PER_PIECE items; a large family is cut into several."""
    some: list[FamilyShape] = []
    weight = 0
    for family in families:
        its = _total_weight(family)
        weight += its
        if weight > PER_PIECE:
            yield tuple(some)
            some, weight = [], its
        if weight <= PER_PIECE:
            some.append(family)
            continue
        name, kind, said, labels, bounds, as_text = family
        yield name, kind, said, len(labels), len(bounds), as_text
        step = max(1, PER_PIECE // _weight(family))
        for column in (labels, bounds):
            yield from (column[at : at + step] for at in range(0, len(column), step))
        weight = 0
    yield tuple(some)


class WrongType(NamedTuple):
    """A metric of a pushed family that lacks the value its type asks for.

    ``value`` is what it has instead, in protobuf's text format.
    """

    family: int
    metric: int
    value: str


class Pushed(NamedTuple):
    """The content of one push: a shape, and its numbers.

    ``numbers`` has a canonical text for each slot, separated by one blank. ``details`` is empty,
    or has an entry for each metric: the value part of its wire message if it has something that
    the numbers cannot express (a native histogram, exemplars, a created timestamp), else nothing.
    """

    shape: PushShape
    numbers: bytes
    details: tuple[bytes, ...] = ()
    timestamped: bool = False
    wrong_types: tuple[WrongType, ...] = ()

    def without(self, names: frozenset[str]) -> "Pushed | None":
        """Do all of :meth:`removal` at once."""
        return finished(self.removal(names))

    def removal(self, names: frozenset[str]) -> Sliced["Pushed | None"]:
        """Return this push without the families called *names*; None if nothing is left."""
        kept: list[int] = []
        for at in range(0, len(self.shape.names), PER_PIECE):
            some_names = enumerate(self.shape.names[at : at + PER_PIECE], at)
            kept += [i for i, name in some_names if name not in names]
            yield
        if not kept:
            return None
        families, label_schemas, starts = (
            self.shape.families,
            self.shape.label_schema.families,
            self.shape.starts,
        )
        tokens = self.numbers.split(b" ") if self.numbers else []
        yield
        numbers: list[bytes] = []
        for at in range(0, len(kept), PER_PIECE):
            some = kept[at : at + PER_PIECE]
            # A family without metrics has no numbers: nothing must stand between two blanks.
            numbers += filter(None, [b" ".join(tokens[starts[i] : starts[i + 1]]) for i in some])
            yield
        yield from releasing(tokens)
        details: list[bytes] = []
        if self.details:
            lengths = (len(family.labels) for family in families)
            ends = yield from listing(accumulate(lengths, initial=0))
            details = yield from listing(
                d for i in kept for d in self.details[ends[i] : ends[i + 1]]
            )
        shape = yield from interning(
            tuple([families[i] for i in kept]), tuple([label_schemas[i] for i in kept])
        )
        wrong_types: tuple[WrongType, ...] = ()
        if self.wrong_types:
            places = {i: at for at, i in enumerate(kept)}
            wrong_types = tuple(
                wrong._replace(family=places[wrong.family])
                for wrong in self.wrong_types
                if wrong.family in places
            )
        return self._replace(
            shape=shape,
            numbers=b" ".join(numbers),
            details=tuple(details) if any(details) else (),
            wrong_types=wrong_types,
        )


def joining(parts: Sequence[Pushed]) -> Sliced[Pushed]:
    """Return the families of all *parts* as one push.

    No two of them have a family name in common, and none has wrong types. Costs time in
    proportion to the families, besides a copy of the numbers.
    """
    families: list[FamilyShape] = []
    label_schemas: list[FamilyLabelSchema] = []
    details: list[bytes] = []
    have_details = any(part.details for part in parts)
    for number, part in enumerate(parts):
        if number % PER_SLICE == 0 or len(part.shape.families) > PER_SLICE:
            yield
        families += part.shape.families
        label_schemas += part.shape.label_schema.families
        if have_details:
            metrics = sum([len(family.labels) for family in part.shape.families])
            details += part.details or [b""] * metrics
    yield
    shape = yield from interning(tuple(families), tuple(label_schemas))
    numbers = b" ".join([part.numbers for part in parts if part.numbers])
    return Pushed(shape, numbers, tuple(details))
