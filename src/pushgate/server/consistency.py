"""Is a push consistent with what is stored? Answered without looking at what is stored.

The verdicts are those of the reference, which gathers everything anew for each push
(reference: consistency check). Three indices stand in for that:

* *claims*: for each family name how many shapes in use hold it, by type. There is one
  type, save that a histogram and a gauge histogram are the same to the reference, and that
  an OpenMetrics counter agrees with a counter and with an untyped family of the text format;
* *users*: for each shape how many groups hold it; a shape in use is known to agree;
* *kinds*: for each job the sets of grouping label names of its groups. Two groups can
  only hold the same series if they agree on every grouping label both have, so within a
  job, and only if their label names differ.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from pushgate.errors import InconsistentPush
from pushgate.formats.prototext import detail_text, metric_text, value_text
from pushgate.model.grouping import GroupingKey, Labels
from pushgate.model.layout import Fault, sanitised
from pushgate.model.quoting import go_quote
from pushgate.model.shape import FamilyFrame, FamilyShape, Frame, MetricType, Pushed
from pushgate.server.group import PUSH_FAILURE_TIME, PUSH_TIME, Group

_DUPLICATE = "was collected before with the same name and label values"
_SUFFIXES = ("_count", "_sum", "_bucket")


class OwnFamily(NamedTuple):
    """A family of the server's own metrics.

    The help of a *predefined* one replaces whatever is pushed; any other has to be
    pushed with exactly this help.
    """

    type: MetricType
    help: str
    predefined: bool


Find = Callable[[bytes], Group | None]
"""Look a group up by its packed key."""
Gone = Mapping[Frame, frozenset[str]]
"""Frames of a group, with the family names that it will no longer hold in them."""


class Claim(NamedTuple):
    """What a family says about its type; see :class:`FamilyShape`."""

    type: MetricType
    untyped_as_text: bool


Claims = dict[str, Counter[Claim]]
"""For family names, how many shapes hold them with which type."""


class Index:
    """Everything the check needs to know of the groups that are counted in."""

    def __init__(self, own: Callable[[str], OwnFamily | None]) -> None:
        """Start without groups. *own* looks up a family of the server's own metrics."""
        self._own = own
        self._claims: Claims = {}
        self._users: Counter[Frame] = Counter()
        self._kinds: dict[str, Counter[tuple[str, ...]]] = {}
        self.series = 0

    def replace(self, before: Group | None, after: Group | None) -> None:
        """Count *before* out and *after* in."""
        if before and after and before.blocks is after.blocks:
            return
        for block in before.blocks if before else ():
            self.series -= block.pushed.shape.series
            self._release(block.pushed.shape.frame)
        for block in after.blocks if after else ():
            self.series += block.pushed.shape.series
            self._use(block.pushed.shape.frame)
        if before is None and after is not None:
            self._kinds.setdefault(after.key.job, Counter())[after.key.names] += 1
        if after is None and before is not None:
            self._forget(before.key)

    def _forget(self, key: GroupingKey) -> None:
        kinds = self._kinds[key.job]
        kinds[key.names] -= 1
        if not kinds[key.names]:
            del kinds[key.names]
        if not kinds:
            del self._kinds[key.job]

    def _use(self, frame: Frame) -> None:
        self._users[frame] += 1
        if self._users[frame] > 1:
            return
        for family in _exposed(frame):
            self._claims.setdefault(family.name, Counter())[_claim(family)] += 1

    def _release(self, frame: Frame) -> None:
        self._users[frame] -= 1
        if self._users[frame]:
            return
        del self._users[frame]
        for family in _exposed(frame):
            claim = self._claims[family.name] = self._claims[family.name] - Counter(
                [_claim(family)]
            )
            if not claim:
                del self._claims[family.name]

    def is_in_use(self, frame: Frame) -> bool:
        """Return whether some group holds a shape of *frame*."""
        return frame in self._users

    def check(self, key: GroupingKey, pushed: Pushed, gone: Gone, find: Find) -> None:
        """Raise :exc:`InconsistentPush` unless *pushed* may be stored in the group *key*.

        Costs time in proportion to *pushed*; a shape in use costs nearly nothing.

        Args:
            key: the group.
            pushed: what it shall hold.
            gone: what of the group's frames the push takes the place of.
            find: looks up the groups counted in.
        """
        twins = self._twin_errors(key, pushed, find) if self._has_kin(key) else ()
        faults = pushed.shape.faults(key)
        if self.is_in_use(pushed.shape.frame) and not (twins or faults or pushed.misfits):
            return
        errors = _Check(self, key, pushed, gone).errors(twins)
        if errors:
            raise InconsistentPush(_summary(errors))

    def _has_kin(self, key: GroupingKey) -> bool:
        """Return whether the job has groups with other label names than *key*."""
        kinds = self._kinds.get(key.job)
        return kinds is not None and any(names != key.names for names in kinds)

    def check_times(self, key: GroupingKey, find: Find) -> None:
        """Refuse a group whose push times would be those of another group.

        ``{job="a"}`` and ``{job="a",instance=""}`` expose the same two series.
        """
        labels = dict(key.labels)
        if labels.get("instance", "") != "":
            return
        if labels.pop("instance", None) is None:
            labels["instance"] = ""
        if find(GroupingKey(labels.items()).packed) is None:
            return
        own = sanitised((), key.labels)
        value = "gauge:{value:0}"
        raise InconsistentPush(
            _summary(
                f'collected metric "{family.name}" {{ {metric_text(own, value)}}} {_DUPLICATE}'
                for family in (PUSH_FAILURE_TIME, PUSH_TIME)
            ),
            advice=(
                f"The group {_shown(labels.items())} exists; no instance and an empty one are "  # noqa: ISC004 - one line of advice
                "the same. Push to that group, or delete it first.",
            ),
        )

    def _twin_errors(
        self, key: GroupingKey, pushed: Pushed, find: Find
    ) -> tuple[tuple[int, int], ...]:
        """Return (family, metric) of each metric that another group of the job has too."""
        kinds = [names for names in self._kinds[key.job] if names != key.names]
        out = []
        for index, family in enumerate(pushed.shape.families):
            for metric, labels in enumerate(family.labels):
                complete = sanitised(labels, key.labels)
                if any(_has_series(names, family.name, complete, find) for names in kinds):
                    out.append((index, metric))
        return tuple(out)

    def claimed(self, name: str, released: Claims | None = None) -> MetricType | None:
        """Return the type that groups claim for *name*, what is *released* left out."""
        return _first(self._held(name, released))

    def contradiction(self, family: FamilyShape, released: Claims) -> MetricType | None:
        """Return the type that groups claim for the name of *family* if that is another."""
        mine = _claim(family)
        held = self._held(family.name, released)
        return _first(claim for claim in held if not _agree(mine, claim))

    def _held(self, name: str, released: Claims | None) -> Counter[Claim]:
        held = self._claims.get(name, _NO_CLAIM)
        return held - released.get(name, _NO_CLAIM) if released else held

    def released(self, gone: Gone) -> Claims:
        """Return the claims that end with *gone*."""
        out: Claims = {}
        for shape, names in gone.items():
            if self._users[shape] > 1:
                continue
            for family in _exposed(shape):
                if family.name in names:
                    out.setdefault(family.name, Counter())[_claim(family)] += 1
        return out

    def own(self, name: str) -> OwnFamily | None:
        """Return the own family called *name*."""
        return self._own(name)


_NO_CLAIM: Counter[Claim] = Counter()
_AS_TEXT = frozenset({MetricType.COUNTER, MetricType.UNTYPED})


def _claim(family: FamilyShape | FamilyFrame) -> Claim:
    return Claim(family.type, family.untyped_as_text)


def _agree(one: Claim, other: Claim) -> bool:
    types = {one.type, other.type}
    if one.untyped_as_text or other.untyped_as_text:
        return types <= _AS_TEXT
    return len(types) == 1 or (one.type.is_histogram and other.type.is_histogram)


def _first(claims: Iterable[Claim]) -> MetricType | None:
    types = [claim.type for claim in claims]
    return MetricType.HISTOGRAM if MetricType.HISTOGRAM in types else next(iter(types), None)


def _exposed(frame: Frame) -> Iterator[FamilyFrame]:
    """Yield the families with metrics: one without is stored, and claims nothing."""
    return (family for family in frame.families if family.label_names)


def _has_series(names: tuple[str, ...], family: str, labels: Labels, find: Find) -> bool:
    """Return whether a group with label names *names* has the series of *family* with *labels*."""
    values = dict(labels)
    if any(name not in values for name in names):
        return False
    other = GroupingKey((name, values[name]) for name in names)
    group = find(other.packed)
    if group is None:
        return False
    layouts = [block.pushed.shape.layout(other) for block in group.blocks]
    return any((family, layout.marked(labels)) in layout.series for layout in layouts)


def _shown(labels: Iterable[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{name}={go_quote(value)}" for name, value in sorted(labels)) + "}"


def _summary(errors: Iterable[str]) -> str:
    found = list(errors)
    if len(found) == 1:
        return found[0]
    return "\n* ".join([f"{len(found)} error(s) occurred:", *found])


def holder(groups: Iterable[Group], names: frozenset[str], key: GroupingKey) -> str | None:
    """Return a sentence on a group other than *key* that holds one of *names*."""
    for group in groups:
        if group.key == key:
            continue
        for block in group.blocks:
            shared = sorted(names & block.pushed.shape.name_set)
            if shared:
                family = block.pushed.shape.families[block.pushed.shape.names.index(shared[0])]
                return (
                    f"{shared[0]} is a {family.type.word} in the group {_shown(group.key.labels)}. "
                    "Push the same type, use another name, or delete that group first."
                )
    return None


class _Check:
    """One slow check, of a push whose shape is new or wrong."""

    def __init__(self, index: Index, key: GroupingKey, pushed: Pushed, gone: Gone) -> None:
        self._index = index
        self._key = key
        self._pushed = pushed
        self._released = index.released(gone)
        self._earlier: dict[str, MetricType] = {}

    def errors(self, twins: tuple[tuple[int, int], ...]) -> list[str]:
        families = self._pushed.shape.families
        by_name = sorted(range(len(families)), key=lambda i: families[i].name)
        return [error for i in by_name for error in self._family_errors(i, twins)]

    def _family_errors(self, at: int, twins: tuple[tuple[int, int], ...]) -> Iterator[str]:
        family = self._pushed.shape.families[at]
        mismatch = self._own_mismatch(family) or self._collision(family)
        self._earlier[family.name] = family.type
        if mismatch:
            yield mismatch
            return
        claimed = self._index.contradiction(family, self._released)
        if claimed is not None:
            for metric in range(len(family.labels)):
                yield self._complaint(at, metric, f"is not a {claimed.name}")
            return
        complaints = {metric: _DUPLICATE for index, metric in twins if index == at}
        faults = self._pushed.shape.faults(self._key)
        misfits = {misfit.metric for misfit in self._pushed.misfits if misfit.family == at}
        complaints |= {
            fault.metric: fault.complaint
            for fault in faults
            if fault.family == at and not (misfits and self._is_only_twin(fault, misfits))
        }
        complaints |= dict.fromkeys(misfits, f"is not a {family.type.name}")
        for metric, complaint in sorted(complaints.items()):
            yield self._complaint(at, metric, complaint)

    def _is_only_twin(self, fault: Fault, misfits: set[int]) -> bool:
        """Return whether a duplicate has the labels of *misfits* alone, which do not count."""
        labels = self._pushed.shape.layout(self._key).labels[fault.family]
        twins = {i for i in range(fault.metric) if labels[i] == labels[fault.metric]}
        return fault.complaint == _DUPLICATE and twins <= misfits

    def _own_mismatch(self, family: FamilyShape) -> str | None:
        own = self._index.own(family.name)
        if own is None:
            return None
        said = family.help or ""
        if not own.predefined and said != own.help:
            return (
                f"gathered metric family {family.name} has help {go_quote(said)} "
                f"but should have {go_quote(own.help)}"
            )
        if own.type is not family.type:
            return (
                f"gathered metric family {family.name} has type {family.type.name} "
                f"but should have {own.type.name}"
            )
        return None

    def _known(self, name: str) -> MetricType | None:
        own = self._index.own(name)
        if own is not None:
            return own.type
        earlier = self._earlier.get(name)
        claimed = self._index.claimed(name, self._released)
        return claimed if earlier is None or claimed is MetricType.HISTOGRAM else earlier

    def _collision(self, family: FamilyShape) -> str | None:
        """Return how the suffixes of summaries and histograms collide with other names."""
        if self._index.own(family.name) is not None:
            return None
        for suffix in _SUFFIXES:
            if family.name.endswith(suffix):
                return self._taken(family.name, suffix) or self._takes(family)
        return self._takes(family)

    def _taken(self, name: str, suffix: str) -> str | None:
        base = name.removesuffix(suffix)
        known = self._known(base)
        if known is MetricType.HISTOGRAM or (known is MetricType.SUMMARY and suffix != "_bucket"):
            return (
                f"collected metric named {go_quote(name)} collides with previously collected "
                f"{known.word} named {go_quote(base)}"
            )
        return None

    def _takes(self, family: FamilyShape) -> str | None:
        suffixes = {
            MetricType.SUMMARY: _SUFFIXES[:2],
            MetricType.HISTOGRAM: _SUFFIXES,
        }.get(family.type, ())
        for suffix in suffixes:
            if self._known(family.name + suffix) is not None:
                kind = "histogram" if suffix == "_bucket" else "histogram or summary"
                return (
                    f"collected {kind} named {go_quote(family.name)} collides with previously "
                    f"collected metric named {go_quote(family.name + suffix)}"
                )
        return None

    def _complaint(self, at: int, metric: int, complaint: str) -> str:
        shape = self._pushed.shape
        family = shape.families[at]
        labels = sanitised(family.labels[metric], self._key.labels)
        misfits = {(m.family, m.metric): m.value for m in self._pushed.misfits}
        value = misfits.get((at, metric))
        detail = self._detail(at, metric)
        if value is None and detail:
            value = detail_text(detail)
        elif value is None:
            slots = list(family.metric_slots())[metric]
            tokens = self._pushed.numbers.split(b" ")[shape.starts[at] :]
            value = value_text(family, metric, [tokens[slot] for slot in slots])
        name, metric_as_text = go_quote(family.name), metric_text(labels, value)
        return f"collected metric {name} {{ {metric_as_text}}} {complaint}"

    def _detail(self, at: int, metric: int) -> bytes:
        """Return what the wire says of a metric beyond its numbers, if anything."""
        before = sum(len(family.labels) for family in self._pushed.shape.families[:at])
        return self._pushed.details[before + metric] if self._pushed.details else b""
