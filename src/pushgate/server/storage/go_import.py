"""Turns the persistence file of the Go server into groups that a scrape can show."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pushgate.errors import InconsistentPush
from pushgate.migration import gofile
from pushgate.migration.gofile import StoredGroup
from pushgate.model.shape import Pushed, interned
from pushgate.server.storage.failures import damaged
from pushgate.server.store.change import Merge
from pushgate.server.store.group import Block, Group
from pushgate.server.store.store import Store

_NO_PUSH = Pushed(interned(()), b"")


class Imported(NamedTuple):
    """The groups of a file, and a line for each part of it that was not imported."""

    groups: list[Group]
    left_out: list[str]


def read(path: Path, data: bytes) -> Imported:
    """Return the groups in *data*, the content of *path*, without what contradicts other groups.

    Everything is imported unless the Go server ran without its consistency check, or stored
    something that no scrape could read.

    Raises:
        DamagedFile: *data* is not a file of the Go server.
    """
    try:
        found = gofile.read(data)
    except ValueError as error:
        what = f"it is neither a journal nor a file of the Go Pushgateway: {error}"
        raise damaged(path, what) from error
    store, imported = Store(), Imported([], [*found.left_out])
    for stored in found.groups:
        try:
            # The key alone first: it may contradict another one whatever was pushed to it.
            store.admit(Merge(stored.key, _NO_PUSH, stored.since))
        except InconsistentPush as error:
            imported.left_out.append(f"{stored.key}: {error}")
            continue
        blocks = tuple(
            Block(pushed, time)
            for whole, time in stored.pushes
            for pushed in _consistent(store, stored, whole, imported.left_out)
        )
        imported.groups.append(
            Group(
                stored.key,
                blocks,
                pushed_at=stored.pushed_at,
                failed_at=stored.failed_at,
                since=stored.since,
            )
        )
    return imported


def _consistent(
    store: Store, group: StoredGroup, pushed: Pushed, left_out: list[str]
) -> Iterator[Pushed]:
    """Yield what *store* accepts of *pushed*: all of it, or else each family that it accepts."""
    try:
        store.admit(Merge(group.key, pushed, group.since))
    except InconsistentPush as error:
        names = pushed.shape.name_set
        if len(names) == 1:
            left_out.append(f"{group.key}: {error}")
            return
        for name in sorted(names):
            if family := pushed.without(names - {name}):
                yield from _consistent(store, group, family, left_out)
        return
    yield pushed
