"""Pushes of text, as the tests of store, journal, gateway and exposition make them."""

from collections.abc import Callable

from pushgate.errors import InconsistentPush
from pushgate.formats.scanner import scan
from pushgate.model.grouping import GroupingKey
from pushgate.model.names import NameRule
from pushgate.model.shape import Pushed, PushShape
from pushgate.server.store.change import Change, Delete, DeleteAll, Fail, Merge, Replace
from pushgate.server.store.group import Group
from pushgate.server.store.store import Store


def key(job: str = "j", **labels: str) -> GroupingKey:
    return GroupingKey([("job", job), *labels.items()])


def pushed(body: str) -> Pushed:
    return scan(body.encode(), NameRule.LEGACY).pushed


def put(group: GroupingKey, body: str, time: int = 1) -> Replace:
    return Replace(group, pushed(body), time)


def post(group: GroupingKey, body: str, time: int = 1) -> Merge:
    return Merge(group, pushed(body), time)


def apart(one: Pushed) -> Pushed:
    """Return *one* with a shape of its own, as pushes have it whose label values are new."""
    return one._replace(shape=PushShape(one.shape.families, one.shape.label_schema))


def wipe(store: Store) -> DeleteAll:
    """The deletion of all groups that are visible."""
    return DeleteAll([*store.groups()])


def change(store: Store, one: Change | Callable[[Store], Change]) -> None:
    """Make *one* visible in *store*."""
    store.apply(store.admit(one(store) if callable(one) else one))


def refusal(store: Store, one: Replace | Merge) -> InconsistentPush | None:
    """Make *one* visible, or its failure; return the error."""
    try:
        change(store, one)
    except InconsistentPush as error:
        change(store, Fail(one.key, one.time))
        return error
    return None


def content(group: Group | None) -> dict[str, list[bytes]] | None:
    """Return the numbers of each family in *group*."""
    if group is None:
        return None
    found = {}
    for block in group.blocks:
        shape, tokens = block.pushed.shape, block.pushed.numbers.split()
        for family in block.families():
            at = shape.names.index(family.name)
            found[family.name] = tokens[shape.starts[at] : shape.starts[at + 1]]
    return found


__all__ = [
    "Delete",
    "Fail",
    "apart",
    "change",
    "content",
    "key",
    "post",
    "pushed",
    "put",
    "refusal",
    "wipe",
]
