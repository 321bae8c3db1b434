"""All groups, in memory. No I/O, no clock, no threads: the gateway's one writer drives it.

A change is first *admitted*: checked, and counted in for the checks of later changes.
Then, once it is durable, *applied*: visible. What was admitted but could not be made
durable is *withdrawn*. The order is always that of admission.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, assert_never

from pushgate.errors import InconsistentPush, LimitExceeded, StoreFull
from pushgate.model.grouping import GroupingKey
from pushgate.model.shape import Pushed, interned
from pushgate.model.slices import PER_SLICE, Sliced, finished
from pushgate.server.store.aggregation import REPLACE_SERIES, Aggregation, aggregated
from pushgate.server.store.bounds import Bounds
from pushgate.server.store.change import (
    Change,
    Delete,
    DeleteAll,
    Expire,
    Fail,
    Merge,
    Push,
    Replace,
    Update,
)
from pushgate.server.store.consistency import Index, OwnFamily, Replaced
from pushgate.server.store.group import EXPECTED_INTERVAL, Block, Group, compaction, without_times
from pushgate.server.store.once import AppliedKeys
from pushgate.server.store.rules import NO_RULES, Rule, Rules
from pushgate.server.store.schedule import Schedule
from pushgate.server.store.visible import VisibleGroups


class Step(NamedTuple):
    """One group before and after a change; None where there is no group.

    ``once``, if not empty, has to become durable with it: the key under which the change
    was applied, at the time when the group was pushed. Where the group has expired, ``rule`` is
    the one that says so.
    """

    before: Group | None
    after: Group | None
    once: bytes = b""
    rule: Rule | None = None

    @property
    def key(self) -> GroupingKey:
        group = self.after or self.before
        assert group is not None
        return group.key


class News(NamedTuple):
    """What others have changed, and the store has not: checked by them, durable and visible there.

    Attributes:
        groups: the groups that changed, by packed key, as they are now; None for one that is gone.
        applied_keys: the idempotency keys that came, with the times of their pushes.
        is_all: everything was loaded anew, and any other key is forgotten.
        in_turn: a turn was taken, and these are the last news before it.
    """

    groups: Sequence[tuple[bytes, Group | None]]
    applied_keys: Sequence[tuple[bytes, int]] = ()
    is_all: bool = False
    in_turn: bool = False


_NO_SHAPE = interned(())
# From how many groups the share of those that are due is estimated.
_SAMPLE = 500
EXPIRED_AT_ONCE: Final = 500
"""How many groups expire in one change. A push waits for it some 20 ms."""


class Store(VisibleGroups):
    """The groups, and the index that answers the consistency check."""

    def __init__(
        self,
        own: Callable[[str], OwnFamily | None] = lambda _: None,
        bounds: Bounds | None = None,
        rules: Rules = NO_RULES,
    ) -> None:
        """Start empty. *own* looks up the server's own metric families by name."""
        super().__init__()
        self._admitted: dict[bytes, Group] = {}
        self._index = Index(own, self._admitted)
        self._bounds = bounds or Bounds()
        self.rules = rules
        """The rules in force; change them with :meth:`governing`."""
        self._rule_of: dict[bytes, Rule] = {}
        self._schedule = Schedule()
        self.applied_keys = AppliedKeys()
        """The idempotency keys of pushes that are counted in."""

    @property
    def series(self) -> int:
        """How many series are counted in, the push times left out."""
        return self._index.series

    def rule(self, key: GroupingKey) -> Rule:
        """Return the rule for the group *key*. For a group that is stored, it is remembered."""
        if not self.rules.rules:
            return self.rules.default
        rule = self._rule_of.get(key.packed)
        if rule is None:
            rule = self.rules.of(key)
            if key.packed in self._admitted:
                self._rule_of[key.packed] = rule
        return rule

    def expected_interval(self, group: Group) -> int:
        """Return how often *group* is expected to be pushed, in nanoseconds; 0 if no rule says so.

        Also 0 if the group has a metric of that name, from before the server had one.
        """
        expected = self.rule(group.key).expect_every
        if expected and any(
            EXPECTED_INTERVAL.name in b.pushed.shape.name_set for b in group.blocks
        ):
            return 0
        return expected

    @property
    def first_due(self) -> int | None:
        """The earliest time at which something may expire, in Unix nanoseconds."""
        return self._schedule.first

    def is_due(self, key: GroupingKey, now: int) -> bool:
        """Return whether the group *key* would change if it expired at *now*."""
        group = self._admitted.get(key.packed)
        return group is not None and self.rule(key).aged(group, now) is not group

    def share_due(self, now: int) -> float:
        """Return which share of the groups would change if all expired that are due at *now*.

        Of more than 500 groups it is an estimate, from a sample of 500: so the cost is bounded.
        """
        sample = self.sample(_SAMPLE)
        due = sum(self.is_due(group.key, now) for group in sample)
        return due / len(sample) if sample else 0.0

    def governing(self, rules: Rules) -> Sliced[None]:
        """Put *rules* in force.

        The first step does so. After the last one, every group is scheduled by them.

        Between two steps, other changes may be admitted. What was scheduled by earlier rules stays
        so: when it is taken, it turns out what the present ones say.
        """
        self.rules, self._rule_of = rules, {}
        self.revision += 1
        for packed in [*self._admitted]:
            yield  # to match long labels with many rules takes milliseconds
            if self.rules is not rules:
                return
            group = self._admitted.get(packed)
            if group is not None:
                self.rule(group.key)  # from now on it is remembered
                self._enter(group)

    def admit(self, change: Change) -> list[Step]:
        """Do all of :meth:`admission` at once."""
        return finished(self.admission(change))

    def admit_quickly(self, change: Change) -> list[Step] | None:
        """Do what :meth:`admission` does, if it takes microseconds; else return None.

        That is so for a push of a shape that its group has already, also with other label values.
        """
        match change:
            case Replace() | Merge() if not (self.rules.aggregate or change.pushed.timestamped):
                before = self._admitted.get(change.key.packed)
                step = self._with_new_values(change, before, change.pushed) if before else None
                return None if step is None else [step]
            case _:
                return None

    def admission(self, change: Change) -> Sliced[list[Step]]:
        """Count *change* in and return its steps; nothing is visible yet.

        Costs time in proportion to the change and to what it replaces, in slices. Between
        them the groups must not be changed otherwise.

        Raises:
            InconsistentPush: nothing was counted in.
            LimitExceeded: likewise.
        """
        match change:
            case Replace() | Merge() | Update():
                if change.once and self.rules.aggregate:
                    return (yield from self._admit_once(change))
                return [(yield from self._admit_push(change))]
            case Fail():
                return (yield from self._admit_failure(change))
            case Delete(key):
                group = self._admitted.get(key.packed)
                return [(yield from self._count_in(Step(group, None)))] if group else []
            case DeleteAll(groups):
                return (yield from self._admit_deletion(groups))
            case Expire():
                return (yield from self._admit_expiry(change))
            case _ as never:
                assert_never(never)

    def application(self, steps: Sequence[Step]) -> Sliced[None]:
        """Make *steps* visible, some hundreds at a time. They have been admitted."""
        for start in range(0, len(steps), PER_SLICE):
            self.apply(steps[start : start + PER_SLICE])
            yield

    def apply(self, steps: Sequence[Step]) -> None:
        """Do all of :meth:`application` at once."""
        self.revision += 1
        for before, after, _, _ in steps:
            if after is not None:
                self._put(after)
            elif before is not None:
                self._remove(before)

    def withdrawal(self, steps: Iterable[Step]) -> Sliced[None]:
        """Take back admitted *steps* that were not applied, the last admitted first."""
        for step in steps:
            self.applied_keys.remove(step.once)
            yield from self._count_in(Step(step.after, step.before))
            yield

    def renewal(self, news: News) -> Sliced[None]:
        """Take *news* as they are, unchecked, and make them visible.

        Everything that was admitted must have been applied or withdrawn.
        """
        for start in range(0, len(news.groups), PER_SLICE):
            steps: list[Step] = []
            for key, after in news.groups[start : start + PER_SLICE]:
                before = self._admitted.get(key)
                if before or after:
                    steps.append((yield from self._count_in(Step(before, after))))
                    yield
            self.apply(steps)
        if news.is_all:
            yield from self.applied_keys.clear()
        yield from self.applied_keys.load(news.applied_keys)

    def load(self, groups: Iterable[Group], applied_keys: Iterable[tuple[bytes, int]] = ()) -> None:
        """Take *groups* as they are, unchecked, and make them visible. For the start."""
        for group in sorted(groups, key=lambda group: group.key.packed):
            step = Step(None, group)
            finished(self._count_in(step))
            self.apply([step])
        finished(self.applied_keys.load(applied_keys))

    def _count_in(self, step: Step) -> Sliced[Step]:
        yield from self._index.replace(step.before, step.after)
        if step.after is None:
            packed = step.key.packed
            del self._admitted[packed]
            self._rule_of.pop(packed, None)
            self._schedule.remove(packed)
        else:
            self._admitted[step.key.packed] = step.after
            self._enter(step.after)
        yield from self._schedule.compaction()
        return step

    def _enter(self, group: Group) -> None:
        """Note when *group*, which is admitted, changes by age."""
        if not self.rules.set_ages:
            return
        due = self.rule(group.key).due_at(group)
        if due is not None:
            self._schedule.enter(group.key.packed, due)

    def _admit_expiry(self, change: Expire) -> Sliced[list[Step]]:
        now, key = change
        steps: list[Step] = []
        for packed in [key.packed] if key else self._schedule.take(now, EXPIRED_AT_ONCE):
            group = self._admitted.get(packed)
            if group is None:
                continue
            rule = self.rule(group.key)
            after = rule.aged(group, now)
            if after is group:  # pushed since it was entered
                self._enter(group)
            else:
                steps.append((yield from self._count_in(Step(group, after, rule=rule))))
            yield
        return steps

    def _admit_once(self, change: Push) -> Sliced[list[Step]]:
        """Admit a push, unless it was applied already and its group adds pushes up."""
        is_named = self.rule(change.key).aggregate is not None
        if is_named and change.once in self.applied_keys:
            return []
        step = yield from self._admit_push(change)
        if not is_named:
            return [step]
        self.applied_keys.add(change.once, change.time)
        return [step._replace(once=change.once)]

    def _admit_push(self, change: Push) -> Sliced[Step]:
        pushed = change.pushed
        before = self._admitted.get(change.key.packed)
        if pushed.timestamped:
            raise InconsistentPush(
                "pushed metrics must not have timestamps",
                advice=("Send the samples without; push_time_seconds says when they were pushed.",),
            )
        aggregation = self._aggregation(change)
        if aggregation and before:
            pushed = yield from self._added_up(pushed, before, aggregation)
        if before is not None:
            step = self._with_new_values(change, before, pushed)
            if step is not None:
                return step
        after = yield from self._reshaped(change, before, without_times(pushed))
        return (yield from self._count_in(Step(before, after)))

    def _with_new_values(self, change: Push, before: Group, pushed: Pushed) -> Step | None:
        """Admit *pushed*, the content of *change*, if the group has its label schema.

        Then there is little to check and to count, and with the same shape nothing. Returns None
        if it has to be checked and counted like any other.
        """
        for replaced in before.blocks:
            if replaced.pushed.shape.label_schema is pushed.shape.label_schema:
                break
        else:
            return None
        others: tuple[Block, ...] = ()
        if len(before.blocks) > 1:
            others = tuple([block for block in before.blocks if block is not replaced])
        if replaced.dropped or pushed.wrong_types or (others and isinstance(change, Replace)):
            return None
        if pushed.shape is not replaced.pushed.shape:
            if not self._is_harmless(change, pushed, replaced):
                return None
            self._index.revalue(replaced.pushed, pushed)
        after = before.pushed((*others, Block(pushed, change.time)), change.time)
        self._admitted[change.key.packed] = after
        self._enter(after)
        return Step(before, after)

    def _is_harmless(self, change: Push, pushed: Pushed, replaced: Block) -> bool:
        """Return whether *pushed* may take the place of a block with its label schema.

        Other label values can only exceed a limit, or be those of other metrics.
        """
        shape = pushed.shape
        return (
            pushed is change.pushed  # and not what it is added to, which has other limits
            and shape.series <= replaced.series
            and not self._bounds.excess(change.key, shape)
            and self._index.admits_values(change.key, shape)
        )

    def _aggregation(self, change: Push) -> Aggregation | None:
        """Return how *change* is added to the stored series; None if it replaces families."""
        match change:
            case Replace():
                return None
            case Merge(key):
                return self.rule(key).aggregate if self.rules.aggregate else None
            case Update():
                return REPLACE_SERIES
            case _ as never:
                assert_never(never)

    def _added_up(self, pushed: Pushed, before: Group, aggregation: Aggregation) -> Sliced[Pushed]:
        """Return what the families of *pushed* are when they are added to those of the group."""
        if pushed.wrong_types:
            return pushed
        pushed = without_times(pushed)
        if (yield from pushed.shape.examination(before.key)):
            return pushed  # refused, because of itself
        return (yield from aggregated(before, pushed, aggregation))

    def _reshaped(self, change: Push, before: Group | None, pushed: Pushed) -> Sliced[Group]:
        """Return the group after a push of a shape it does not have.

        *pushed* is the content of *change*, with what it is added to.
        """
        old = before.blocks if before else ()
        names = pushed.shape.name_set
        kept: list[Block] = []
        replaced: list[Replaced] = []
        if isinstance(change, Replace):
            replaced = [(block, None) for block in old]
        else:
            for number, block in enumerate(old):  # an imported group may have thousands
                if number % PER_SLICE == 0:
                    yield
                gone = block.held(names)
                if not gone:
                    kept.append(block)
                    continue
                replaced.append((block, gone))
                yield
                rest = yield from block.removal(gone)
                if rest is not None:
                    kept.append(rest)
                yield
        if before is None:
            self._index.check_times(change.key)
        self._bounds.check(change.key, without_times(change.pushed).shape)
        yield from self._index.check(change.key, pushed, replaced)
        if pushed.shape.families:
            kept.append(Block(pushed, change.time))
        group = before or Group(change.key, (), since=change.time)
        after = group.pushed(tuple((yield from compaction(kept))), change.time)
        self._check_totals(before, after)
        return after

    def _check_totals(self, before: Group | None, after: Group) -> None:
        if before is None and self._has_all_groups:
            raise StoreFull(f"{self._bounds.groups} groups are stored already", "groups")
        if not self._bounds.series:
            return
        more = after.series - (before.series if before else 0)
        if more > 0 and self._index.series + more > self._bounds.series:
            what = f"{self._index.series} series are stored already, the push brings {more} more"
            raise StoreFull(what, "series")

    @property
    def _has_all_groups(self) -> bool:
        """Whether there are as many groups as there may be."""
        return 0 < self._bounds.groups <= len(self._admitted)

    def _admit_deletion(self, listed: Sequence[Group]) -> Sliced[list[Step]]:
        steps = []
        for old in listed:
            group = self._admitted.get(old.key.packed)
            if group is not None and group.last_pushed == old.last_pushed:
                steps.append((yield from self._count_in(Step(group, None))))
                yield
        return steps

    def _admit_failure(self, change: Fail) -> Sliced[list[Step]]:
        key, time, failure = change
        before = self._admitted.get(key.packed)
        if before is None:
            try:
                self._index.check_times(key)
                self._bounds.check(key, _NO_SHAPE)
            except (InconsistentPush, LimitExceeded):
                return []
            if self._has_all_groups:
                return []
        after = (before or Group(key, (), since=time)).failed(time, failure)
        return [(yield from self._count_in(Step(before, after)))]
