"""The changes of the store: a closed set."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from pushgate.model.grouping import GroupingKey
from pushgate.model.shape import Pushed
from pushgate.server.store.group import Failure, Group


class _Push(NamedTuple):
    """What all pushes to a group say.

    *time* is in Unix nanoseconds; *source* is the address of the client, if it is known.
    *once* is empty, or names the push: in a group that adds pushes up, it is applied once.
    """

    key: GroupingKey
    pushed: Pushed
    time: int
    source: str = ""
    once: bytes = b""


class Replace(_Push):
    """The group now holds exactly this push (PUT)."""

    __slots__ = ()


class Merge(_Push):
    """The group holds this push besides its families of other names (POST).

    Under a rule that aggregates, it holds the sum.
    """

    __slots__ = ()


class Update(_Push):
    """The group holds the series of this push besides all its other series (PATCH).

    A family keeps its series that are not pushed. Rules change nothing about it.
    """

    __slots__ = ()


Push: TypeAlias = Replace | Merge | Update
"""A change that the consistency check may refuse."""


class Fail(NamedTuple):
    """A push to the group was refused by the store: the group remembers when, and why."""

    key: GroupingKey
    time: int
    failure: Failure | None = None


class Delete(NamedTuple):
    """The group is gone. Deleting a group that is not there is not an error."""

    key: GroupingKey


class DeleteAll(NamedTuple):
    """These groups are gone, except those that were pushed since they were listed."""

    groups: Sequence[Group]


class Expire(NamedTuple):
    """Some hundreds of what is due by the rules at *time*, in Unix nanoseconds, are gone.

    Those that were due first go first. With *key*, only this group goes, if it is due.
    """

    time: int
    key: GroupingKey | None = None


Change: TypeAlias = Push | Fail | Delete | DeleteAll | Expire
