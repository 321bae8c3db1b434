"""The changes of the store: a closed set."""

from typing import NamedTuple, TypeAlias

from pushgate.model.grouping import GroupingKey
from pushgate.model.shape import Pushed


class Replace(NamedTuple):
    """The group now holds exactly this push (PUT). *time* is in Unix nanoseconds."""

    key: GroupingKey
    pushed: Pushed
    time: int


class Merge(NamedTuple):
    """The group holds this push besides its families of other names (POST)."""

    key: GroupingKey
    pushed: Pushed
    time: int


class Fail(NamedTuple):
    """A push to the group was refused by the store: the group remembers when."""

    key: GroupingKey
    time: int


class Delete(NamedTuple):
    """The group is gone. Deleting a group that is not there is not an error."""

    key: GroupingKey


class Wipe(NamedTuple):
    """All groups are gone."""


class Expire(NamedTuple):
    """Whatever is due by the rules at *time*, in Unix nanoseconds, is gone."""

    time: int


Change: TypeAlias = Replace | Merge | Fail | Delete | Wipe | Expire
