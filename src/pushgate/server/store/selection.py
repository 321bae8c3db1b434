"""Selects some of the stored groups: those that a request is about."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pushgate.model.slices import Sliced
from pushgate.server.store.group import Group
from pushgate.server.store.rules import NO_RULES, Rules
from pushgate.server.store.selector import Selector
from pushgate.server.store.store import Store
from pushgate.server.store.visible import Run

_RUN = 512


class Selection(NamedTuple):
    """Selects the groups that meet every condition; without conditions, all groups.

    Attributes:
        selectors: one of these matches.
        failed: whether the last push failed.
        before: the last push was before this time, in Unix nanoseconds. If all pushes of a group
            failed, the first failure counts.
    """

    selectors: tuple[Selector, ...] = ()
    failed: bool | None = None
    before: int | None = None

    def includes(self, group: Group) -> Sliced[bool]:
        """Return whether *group* is selected; a step matches one selector."""
        if self.failed is not None and group.last_push_successful is self.failed:
            return False
        if self.before is not None and group.last_pushed >= self.before:
            return False
        # Last, because regular expressions take longest.
        for selector in self.selectors:
            if selector.matches(group.key.labels):
                return True
            yield
        return not self.selectors

    def of(self, store: Store) -> Sliced[list[Group]]:
        """Return the selected groups of *store* as they are now, ordered by key."""
        return self._among(store.runs())

    def _among(self, runs: Iterator[Run]) -> Sliced[list[Group]]:
        chosen: list[Group] = []
        for run in runs:
            for group in run.groups():
                if (yield from self.includes(group)):
                    chosen.append(group)
                yield
        return chosen

    @property
    def is_slow(self) -> bool:
        """Whether a step of :meth:`of` may take longer than the event loop can wait."""
        return any(selector.is_slow for selector in self.selectors)


class SelectedGroups:
    """Groups that were selected, in the form that an exposition reads."""

    revision = 0  # they never change

    def __init__(self, groups: Sequence[Group], rules: Rules = NO_RULES) -> None:
        self.rules = rules
        self._groups = groups

    def runs(self) -> Iterator[Run]:
        """Yield the groups in runs, as :meth:`Store.runs`."""
        for start in range(0, len(self._groups), _RUN):
            yield Run({group.key.packed: group for group in self._groups[start : start + _RUN]})
