"""Is a push consistent with what is stored? Answered without looking at what is stored.

The verdicts are those of the reference, which gathers everything anew for each push
(reference: consistency check). Three indices stand in for that:

* *claims*: for each metric type the family names that groups hold with it. A name has one
  type, except that a histogram and a gauge histogram are the same to the reference, and an
  OpenMetrics counter agrees with a counter and with an untyped family of the text format;
* *label_schemas*: how many groups hold each label schema; one in use is known to agree;
* *jobs*: for each job the sets of grouping label names of its groups. Two groups can hold
  the same series only within a job, and only if their label names differ: where a job has
  more than one such set, its series are indexed too.

A check costs time in proportion to the push, and works in slices.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Final, NamedTuple

from pushgate.errors import ConflictingPush, InconsistentPush
from pushgate.formats.protobuf.prototext import detail_text, metric_text, value_text
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.layout import DUPLICATE, Violation, alike_complaint, sanitised
from pushgate.model.quoting import go_quote
from pushgate.model.shape import LabelSchema, Pushed, PushShape
from pushgate.model.slices import PER_SLICE, Sliced, releasing
from pushgate.server.store.group import PUSH_FAILURE_TIME, PUSH_TIME, Block, Group

_MAX_VIOLATIONS_SHOWN = 10
_MAX_VIOLATION_LENGTH = 2000
# A refused push says who holds the conflicting name if it is among so many groups.
_MAX_SEARCHED = 10_000
_SUFFIXES = ("_count", "_sum", "_bucket")
_TAKEN_SUFFIXES = {MetricType.SUMMARY: _SUFFIXES[:2], MetricType.HISTOGRAM: _SUFFIXES}


class OwnFamily(NamedTuple):
    """A family of the server's own metrics.

    The help of a *predefined* one replaces whatever is pushed; any other has to be
    pushed with exactly this help.
    """

    type: MetricType
    help: str
    predefined: bool


Claim = tuple[MetricType, bool]
"""A type, and whether it is that of an OpenMetrics counter; see :class:`FamilyShape`."""

# A name that is claimed as both kinds of histogram counts as a histogram.
_CLAIMS: Final[tuple[Claim, ...]] = (
    (MetricType.HISTOGRAM, False),
    *((kind, False) for kind in MetricType if kind is not MetricType.HISTOGRAM),
    (MetricType.COUNTER, True),
)
_COUNTER_AS_TEXT: Final = frozenset({MetricType.COUNTER, MetricType.UNTYPED})


def _agree(one: Claim, other: Claim) -> bool:
    types = {one[0], other[0]}
    if one[1] or other[1]:
        return types <= _COUNTER_AS_TEXT
    return len(types) == 1 or all(kind.is_histogram for kind in types)


_CONTRADICTING: Final = {
    one: tuple(other for other in _CLAIMS if not _agree(one, other)) for one in _CLAIMS
}


def _claim(family: FamilyShape) -> Claim:
    return family.type, family.untyped_as_text


Replaced = tuple[Block, frozenset[str] | None]
"""A block of a group, and the names of its families that are replaced; None is all."""


class _Job:
    """The groups of a job. ``owners`` says which group has a series, by the series' hash.

    Series are compared by 64 bits that are keyed anew in each process: that two of a
    million differ and look the same has a probability of 1e-7, and then a push is refused.
    """

    __slots__ = ("groups", "label_names", "owners")

    def __init__(self) -> None:
        self.groups: set[bytes] = set()
        self.label_names: Counter[tuple[str, ...]] = Counter()
        self.owners: dict[int, bytes] | None = None


class Index:
    """Everything the check needs to know of the groups that are counted in."""

    def __init__(
        self, own: Callable[[str], OwnFamily | None], groups: Mapping[bytes, Group]
    ) -> None:
        """Start without groups; *own* looks up a family of the server's own metrics.

        *groups* has all groups that are counted in, by their packed keys.
        """
        self.own = own
        self.groups = groups
        self._claims: dict[Claim, dict[str, int]] = {claim: {} for claim in _CLAIMS}
        self._label_schemas: Counter[LabelSchema] = Counter()
        self._jobs: dict[str, _Job] = {}
        self.series = 0

    def replace(self, before: Group | None, after: Group | None) -> Sliced[None]:
        """Count *before* out and *after* in, which are states of one group."""
        old = before.blocks if before else ()
        new = after.blocks if after else ()
        if before and after and old is new:
            return
        group = after or before
        assert group is not None
        job = self._jobs.setdefault(group.key.job, _Job())
        if before is None:
            yield from self._index_series(job, group.key)
            job.groups.add(group.key.packed)
            job.label_names[group.key.names] += 1
        unchanged = {id(block) for block in old} & {id(block) for block in new}
        gone = {id(block.pushed): block for block in old if id(block) not in unchanged}
        come = {id(block.pushed): block for block in new if id(block) not in unchanged}
        kept = [
            (gone.pop(pushed), come.pop(pushed))
            for pushed in gone.keys() & come.keys()
            if gone[pushed].dropped and come[pushed].dropped
        ]
        for was, now in kept:
            self.series += now.series - was.series
            yield from self._count_families(job, group.key, was, now.dropped - was.dropped, -1)
        # In this order a label schema or a series that stays is not released in between.
        for block in come.values():
            yield from self._count(block, 1)
        for block in gone.values():
            yield from self._count(block, -1)
            yield from self._own_series(job, group.key, block.families(), -1)
        for block in come.values():
            yield from self._own_series(job, group.key, block.families(), 1)
        for was, now in kept:
            yield from self._count_families(job, group.key, was, was.dropped - now.dropped, 1)
        if after is None:
            self._forget(job, group.key)

    def admits_values(self, key: GroupingKey, shape: PushShape) -> bool:
        """Return whether *shape* is known to be consistent, without a look at its series.

        Only if the group *key* holds its label schema.
        """
        return self._jobs[key.job].owners is None and shape.is_clean(key)

    def revalue(self, before: Pushed, after: Pushed) -> None:
        """Count *before* out and *after* in, which have the same label schema.

        Only if :meth:`admits_values`: then no series is indexed.
        """
        self.series += after.shape.series - before.shape.series

    def _forget(self, job: _Job, key: GroupingKey) -> None:
        job.groups.remove(key.packed)
        job.label_names[key.names] -= 1
        if not job.label_names[key.names]:
            del job.label_names[key.names]
        if not job.groups:
            del self._jobs[key.job]

    def _count(self, block: Block, sign: int) -> Sliced[None]:
        """Count *block* in, or out if *sign* is negative."""
        label_schema = block.pushed.shape.label_schema
        self.series += sign * block.series
        if block.dropped:
            yield from self._claim(block.families(), sign)
        else:
            self._label_schemas[label_schema] += sign
            if self._label_schemas[label_schema] == (sign > 0):  # the first, or none any more
                yield from self._claim(block.families(), sign)
            if not self._label_schemas[label_schema]:
                del self._label_schemas[label_schema]

    def _count_families(
        self, job: _Job, key: GroupingKey, block: Block, names: frozenset[str], sign: int
    ) -> Sliced[None]:
        """Count the families *names* in, or out if *sign* is negative, be they dropped or not."""
        shape = block.pushed.shape
        families = [shape.families[shape.label_schema.positions[name]] for name in names]
        yield from self._claim(families, sign)
        yield from self._own_series(job, key, families, sign)

    def _claim(self, families: Iterable[FamilyShape], sign: int) -> Sliced[None]:
        """Claim the names of *families*, or release them. One without metrics claims nothing."""
        for number, family in enumerate(families):
            if number % PER_SLICE == 0:
                yield
            if not family.labels:
                continue
            claims = self._claims[_claim(family)]
            count = claims.get(family.name, 0) + sign
            if count:
                claims[family.name] = count
            else:
                del claims[family.name]

    def _own_series(
        self, job: _Job, key: GroupingKey, families: Iterable[FamilyShape], sign: int
    ) -> Sliced[None]:
        """Make the group *key* the owner of the series of *families*, or no longer."""
        if job.owners is None:
            return
        for number, series in enumerate(_series(families, key)):
            if number % PER_SLICE == 0:
                yield
            if sign > 0:
                job.owners[series] = key.packed
            elif job.owners.get(series) == key.packed:
                del job.owners[series]

    def _index_series(self, job: _Job, key: GroupingKey) -> Sliced[None]:
        """Index the series of *job* if a group *key* gives it a second set of label names.

        The index stays for as long as the job has groups: every series is indexed once.
        """
        if job.owners is not None or not job.label_names or key.names in job.label_names:
            return
        job.owners = {}
        for packed in job.groups:
            group = self.groups[packed]
            for block in group.blocks:
                yield from self._own_series(job, group.key, block.families(), 1)
            yield

    def users(self, label_schema: LabelSchema) -> int:
        """Return how many blocks hold *label_schema*, nothing dropped."""
        return self._label_schemas[label_schema]

    def claimed(self, name: str, released: Claim | None = None) -> MetricType | None:
        """Return the type that groups claim for *name*, one claim of *released* left out."""
        return self._first_of(_CLAIMS, name, released)

    def contradiction(self, family: FamilyShape, released: Claim | None) -> MetricType | None:
        """Return the type that groups claim for the name of *family* if that is another."""
        return self._first_of(_CONTRADICTING[_claim(family)], family.name, released)

    def _first_of(
        self, claims: Iterable[Claim], name: str, released: Claim | None
    ) -> MetricType | None:
        for claim in claims:
            if self._claims[claim].get(name, 0) > (claim == released):
                return claim[0]
        return None

    def check(self, key: GroupingKey, pushed: Pushed, replaced: Sequence[Replaced]) -> Sliced[None]:
        """Refuse *pushed* if it may not be stored in the group *key*, in the place of *replaced*.

        Costs time in proportion to *pushed*; a shape in use costs nearly nothing.

        Raises:
            ConflictingPush: only because of other groups. It says which they are.
            InconsistentPush: whatever other groups there are.
        """
        job = self._jobs.get(key.job)
        if job is not None:
            yield from self._index_series(job, key)
        owners = job.owners if job is not None else None
        shape = pushed.shape
        violations = yield from shape.examination(key)
        if not (owners or violations or pushed.wrong_types) and self.users(shape.label_schema):
            return
        check = _Check(self, key, pushed, replaced)
        yield from check.carry_out(violations, owners or {})

    def check_times(self, key: GroupingKey) -> None:
        """Refuse a group whose push times could not be exposed, or would be another group's.

        ``{job="a"}`` and ``{job="a",instance=""}`` expose the same two series.
        """
        own = sanitised((), key.labels)
        if complaint := alike_complaint(own):
            raise InconsistentPush(_times_complaint(own, complaint))
        labels = dict(key.labels)
        if labels.get("instance", "") != "":
            return
        if labels.pop("instance", None) is None:
            labels["instance"] = ""
        same = GroupingKey(labels.items())
        if same.packed not in self.groups:
            return
        raise ConflictingPush(
            _times_complaint(own, DUPLICATE),
            advice=(
                f"The group {same} exists; no instance and an empty one are "  # noqa: ISC004 - one line of advice
                "the same. Push to that group, or delete it first.",
            ),
        )


def _own_mismatch(family: FamilyShape, own: OwnFamily) -> str | None:
    """Return how *family* differs from that of the server's own metrics."""
    said = family.help or ""
    if not own.predefined and said != own.help:
        return (
            f"gathered metric family {family.name} has help {_quoted(said)} "
            f"but should have {go_quote(own.help)}"
        )
    if own.type is not family.type:
        return (
            f"gathered metric family {family.name} has type {family.type.name} "
            f"but should have {own.type.name}"
        )
    return None


def _times_complaint(labels: Labels, complaint: str) -> str:
    found = _Violations()
    for family in (PUSH_FAILURE_TIME, PUSH_TIME):
        metric = metric_text(labels, "gauge:{value:0}")
        found.add(family, f'collected metric "{family.name}" {{ {metric}}} {complaint}')
    return str(found)


def _series(families: Iterable[FamilyShape], key: GroupingKey) -> Iterator[int]:
    """Yield a hash of the family name and the complete labels of each metric."""
    for family in families:
        for labels in family.labels:
            yield hash((family.name, sanitised(labels, key.labels)))


def _quoted(text: str) -> str:
    """Return *text* in quotes: of a long one only its ends, which are all that is ever shown."""
    most = _MAX_VIOLATION_LENGTH
    return go_quote(text if len(text) <= 2 * most else text[:most] + text[-most:])


def _rivals(family: FamilyShape) -> Iterator[str]:
    """Yield the names that *family* may conflict with, its own included."""
    yield family.name
    for suffix in _SUFFIXES:
        if family.name.endswith(suffix):
            yield family.name.removesuffix(suffix)
        if not family.type.is_simple:
            yield family.name + suffix


class _Violations:
    """Why a push may not be stored: all are counted, the first few are put in words."""

    def __init__(self) -> None:
        self.count = 0
        self.families: list[FamilyShape] = []
        """The families of those that are put in words."""
        self._texts: list[str] = []

    def add(self, family: FamilyShape, text: str) -> None:
        """Add one; *text* may be empty if *is_full*."""
        self.count += 1
        if self.is_full:
            return
        if len(text) > _MAX_VIOLATION_LENGTH:
            half = _MAX_VIOLATION_LENGTH // 2
            text = f"{text[:half]} [...] {text[-half:]}"
        self._texts.append(text)
        if family not in self.families:
            self.families.append(family)

    @property
    def is_full(self) -> bool:
        """Whether enough are put in words, and others are only counted."""
        return len(self._texts) == _MAX_VIOLATIONS_SHOWN

    def __str__(self) -> str:
        if self.count == 1:
            return self._texts[0]
        more = self.count - len(self._texts)
        lines = [f"{self.count} error(s) occurred:", *self._texts]
        return "\n* ".join([*lines, f"and {more} more"] if more else lines)


class _Check:
    """One slow check, of a push whose shape is new or wrong."""

    def __init__(
        self, index: Index, key: GroupingKey, pushed: Pushed, replaced: Sequence[Replaced]
    ) -> None:
        self._index = index
        self._key = key
        self._pushed = pushed
        self._shape = pushed.shape
        self._replaced = replaced
        self._released: dict[str, Claim] = {}
        self._found = _Violations()
        self._is_by_push = False  # whether it is refused even if there is no other group
        self._wrong_types = {(m.family, m.metric): m.value for m in pushed.wrong_types}

    def carry_out(
        self, own_violations: Iterable[Violation], owners: Mapping[int, bytes]
    ) -> Sliced[None]:
        """Raise what :meth:`Index.check` does; *own_violations* are those of the push alone."""
        is_new = not self._index.users(self._shape.label_schema)
        if is_new:
            yield from self._release()
        own = yield from self._by_family(own_violations)
        self._is_by_push = bool(own)
        for at, family in enumerate(self._shape.families):
            if at % PER_SLICE == 0:
                yield
            if (is_new or at in own) and (yield from self._is_contradicted(at, family)):
                continue
            if owners:
                yield from self._find_duplicates(family, owners, own.setdefault(at, {}))
            for metric, complaint in own.get(at, {}).items():
                yield from self._complain(at, metric, complaint)
        if self._found.count:
            kind = InconsistentPush if self._is_by_push else ConflictingPush
            raise kind(str(self._found), advice=self._advice())

    def _advice(self) -> tuple[str, ...]:
        """Return for each family that contradicts the store a sentence on who holds its name."""
        advice: dict[str, None] = {}
        for family in self._found.families:
            names = frozenset(
                name
                for name in _rivals(family)
                if (claimed := self._index.claimed(name)) is not None
                and (name, claimed) != (family.name, family.type)
            )
            holders = (
                f"{held.name} is a {held.type.word} in the group {group.key}. "
                "Push the same type, use another name, or delete that group first."
                for group in islice(self._index.groups.values(), _MAX_SEARCHED)
                if group.key != self._key
                for block in group.blocks
                for held in sorted(block.families(names))
            )
            if names and (found := next(holders, None)):
                advice[found] = None
        return tuple(advice)

    def _release(self) -> Sliced[None]:
        """Note the names that nobody claims any more once the push is stored."""
        for block, names in self._replaced:
            if not block.dropped and self._index.users(block.pushed.shape.label_schema) > 1:
                continue
            for number, family in enumerate(block.families(names)):
                if number % PER_SLICE == 0:
                    yield
                if family.labels:
                    self._released[family.name] = _claim(family)

    def _by_family(self, violations: Iterable[Violation]) -> Sliced[dict[int, dict[int, str]]]:
        """Return *violations* and the wrong types as complaints by family and metric."""
        out: dict[int, dict[int, str]] = {}
        repeated: dict[int, set[int]] = {}
        for number, (family, metric, complaint) in enumerate(violations):
            if number % PER_SLICE == 0:
                yield
            if complaint is DUPLICATE and self._wrong_types:
                if family not in repeated:
                    repeated[family] = yield from self._repeated(family)
                if metric not in repeated[family]:
                    continue
            out.setdefault(family, {})[metric] = complaint
        for number, (family, metric) in enumerate(self._wrong_types):
            if number % PER_SLICE == 0:
                yield
            kind = self._shape.families[family].type
            out.setdefault(family, {})[metric] = f"is not a {kind.name}"
        return out

    def _repeated(self, family: int) -> Sliced[set[int]]:
        """Return the metrics of a family that have the labels of an earlier one that counts.

        One of a wrong type does not count.
        """
        labels = yield from self._shape.layout(self._key).completing(family)
        out: set[int] = set()
        seen: set[Labels] = set()
        for metric, its in enumerate(labels):
            if metric % PER_SLICE == 0:
                yield
            if its in seen:
                out.add(metric)
            if (family, metric) not in self._wrong_types:
                seen.add(its)
        yield from releasing(labels)
        yield from releasing(seen)
        return out

    def _find_duplicates(
        self, family: FamilyShape, owners: Mapping[int, bytes], complaints: dict[int, str]
    ) -> Sliced[None]:
        """Add to *complaints* the metrics of *family* that another group of the job has."""
        for metric, series in enumerate(_series((family,), self._key), 1):
            if metric % PER_SLICE == 0:
                yield
            if owners.get(series, self._key.packed) != self._key.packed:
                complaints.setdefault(metric - 1, DUPLICATE)

    def _is_contradicted(self, at: int, family: FamilyShape) -> Sliced[bool]:
        """Return whether the whole *family* contradicts another one, having complained of it."""
        if own := self._index.own(family.name):
            mismatch = _own_mismatch(family, own)
        else:
            mismatch = self._taken(at, family.name) or self._takes(at, family)
        if mismatch:
            self._is_by_push |= all(self._claimed(name) is None for name in _rivals(family))
            self._found.add(family, mismatch)
            return True
        claimed = self._index.contradiction(family, self._released.get(family.name))
        if claimed is None:
            return False
        for metric in range(len(family.labels)):
            yield from self._complain(at, metric, f"is not a {claimed.name}")
        return True

    def _claimed(self, name: str) -> MetricType | None:
        return self._index.claimed(name, self._released.get(name))

    def _known(self, name: str, before: int) -> MetricType | None:
        """Return the type of *name* among own metrics, groups and the families *before* one."""
        own = self._index.own(name)
        if own is not None:
            return own.type
        claimed = self._claimed(name)
        at = self._shape.label_schema.positions.get(name, before)
        if at >= before or claimed is MetricType.HISTOGRAM:
            return claimed
        return self._shape.families[at].type

    def _taken(self, at: int, name: str) -> str | None:
        """Return which summary or histogram *name* collides with, as one of its samples."""
        if not name.endswith(_SUFFIXES):
            return None
        base, _, suffix = name.rpartition("_")
        known = self._known(base, at)
        if known is MetricType.HISTOGRAM or (known is MetricType.SUMMARY and suffix != "bucket"):
            return (
                f"collected metric named {_quoted(name)} collides with previously collected "
                f"{known.word} named {_quoted(base)}"
            )
        return None

    def _takes(self, at: int, family: FamilyShape) -> str | None:
        """Return which family collides with a sample of *family*, a summary or histogram."""
        for suffix in _TAKEN_SUFFIXES.get(family.type, ()):
            if self._known(family.name + suffix, at) is not None:
                kind = "histogram" if suffix == "_bucket" else "histogram or summary"
                return (
                    f"collected {kind} named {_quoted(family.name)} collides with previously "
                    f"collected metric named {_quoted(family.name + suffix)}"
                )
        return None

    def _complain(self, at: int, metric: int, complaint: str) -> Sliced[None]:
        """Add what is wrong with a metric, in words only as long as these are shown."""
        family, text = self._shape.families[at], ""
        if not self._found.is_full:
            text = (
                f"collected metric {_quoted(family.name)} {{ {self._text(at, metric)}}} {complaint}"
            )
        self._found.add(family, text)
        if self._found.count % PER_SLICE == 0 or text:
            yield

    def _text(self, at: int, metric: int) -> str:
        """Return a metric as protobuf's text."""
        family = self._shape.families[at]
        labels = sanitised(family.labels[metric], self._key.labels)
        if (at, metric) in self._wrong_types:
            value = self._wrong_types[at, metric]
        elif detail := self._detail(at, metric):
            value = detail_text(detail)
        else:
            start = self._shape.starts[at]
            slots = next(islice(family.metric_slots(), metric, None))
            value = value_text(
                family, metric, self._numbers[start + slots.start : start + slots.stop]
            )
        return metric_text(labels, value)

    @cached_property
    def _numbers(self) -> list[bytes]:
        return self._pushed.numbers.split(b" ")

    def _detail(self, at: int, metric: int) -> bytes:
        """Return what the wire says of a metric beyond its numbers, if anything."""
        if not self._pushed.details:
            return b""
        before = sum(len(family.labels) for family in self._shape.families[:at])
        return self._pushed.details[before + metric]
