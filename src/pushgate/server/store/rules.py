"""Rules: what the server does with groups by itself."""

from dataclasses import dataclass, field

from pushgate.model.grouping import GroupingKey
from pushgate.server.store.aggregation import Aggregation
from pushgate.server.store.group import Group
from pushgate.server.store.selector import Selector


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What applies to the groups that *selector* selects. Durations are nanoseconds; 0 is never.

    Attributes:
        selector: selects the groups; None for those that no other rule selects.
        expect_every: how often a push is expected.
        ttl: how long after its last push a group keeps its metrics.
        forget_after: how long after its last push or failure a group is deleted, and with it
            its push times.
        aggregate: how a POST is added to what is stored; None if it replaces families.
    """

    selector: Selector | None = None
    expect_every: int = 0
    ttl: int = 0
    forget_after: int = 0
    aggregate: Aggregation | None = None

    @property
    def sets_ages(self) -> bool:
        """Whether groups under this rule change by age."""
        return bool(self.ttl or self.forget_after)

    def expires_at(self, group: Group) -> int | None:
        """Return when *group* loses its metrics, in Unix nanoseconds; None if never."""
        if not group.blocks or not self.sets_ages:
            return None
        if not self.ttl:
            return self.forgotten_at(group)
        return group.last_pushed + self.ttl

    def forgotten_at(self, group: Group) -> int | None:
        """Return when *group* is deleted, in Unix nanoseconds; None if never."""
        if not self.forget_after:
            return None
        return max(group.pushed_at, group.failed_at, group.since) + self.forget_after

    def due_at(self, group: Group) -> int | None:
        """Return when *group* next changes by age, in Unix nanoseconds; None if never."""
        times = (self.expires_at(group), self.forgotten_at(group))
        return min((time for time in times if time is not None), default=None)

    def aged(self, group: Group, now: int) -> Group | None:
        """Return what is left of *group* at *now*, in Unix nanoseconds: itself if nothing is due.

        A group is due from its due time on, inclusively.
        """
        forgotten_at, expires_at = self.forgotten_at(group), self.expires_at(group)
        if forgotten_at is not None and forgotten_at <= now:
            return None
        if expires_at is not None and expires_at <= now:
            return group.without_metrics()
        return group

    def is_late(self, group: Group, now: int) -> bool:
        """Return whether 1.5 times the expected interval passed at *now* without a push."""
        return bool(self.expect_every) and 2 * (now - group.pushed_at) > 3 * self.expect_every


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules. The first one that selects a group applies to it, else *default*."""

    rules: tuple[Rule, ...] = ()
    default: Rule = Rule()
    set_ages: bool = field(init=False)
    """Whether any group changes by age."""
    aggregate: bool = field(init=False)
    """Whether pushes to any group are aggregated."""

    def __post_init__(self) -> None:
        # Computed once, because every push asks.
        sets_ages = any(rule.sets_ages for rule in (*self.rules, self.default))
        object.__setattr__(self, "set_ages", sets_ages)
        object.__setattr__(self, "aggregate", any(rule.aggregate for rule in self.rules))

    def of(self, key: GroupingKey) -> Rule:
        """Return the rule that applies to the group *key*."""
        for rule in self.rules:
            if rule.selector is None or rule.selector.matches(key.labels):
                return rule
        return self.default


NO_RULES = Rules()
