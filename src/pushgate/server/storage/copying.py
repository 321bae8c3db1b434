"""Copies everything from a persistence file to a database, or back, and compares the two."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from pushgate.errors import StartupError
from pushgate.server.storage.journal import Journal, replacement
from pushgate.server.storage.opening import lock_file, open_database, open_journal
from pushgate.server.store.group import Group

_MAX_NAMED = 5


class Copied(NamedTuple):
    """How much was copied."""

    groups: int
    series: int


def copy(source: str, target: str, *, replace: bool) -> Copied:
    """Copy all groups and idempotency keys; return when they are durable and were compared.

    Args:
        source: a file, or the URL of a database. A file of an earlier format is converted.
        target: likewise; it is created if it is missing.
        replace: whether to delete what *target* holds, keys included, in the same transaction.
            Otherwise it must be empty.

    Raises:
        StartupError: one of them can't be used or is in use; *target* is not empty; or it differs
            afterwards, because something else has changed it.
        JournalFailed: *target* could not be written; it is as before.
    """
    if not _is_database(source) and not Path(source).exists():
        raise StartupError(f"{source} does not exist")
    with _opened(source) as (journal, groups):
        keys = dict(journal.applied_keys())
    with _opened(target) as (journal, present):
        if present and not replace:
            raise StartupError(
                f"{_shown(target)} has {len(present)} groups: choose an empty one, or delete them "
                "with --replace"
            )
        if journal.begin() is not None:
            raise StartupError(f"{_shown(target)} was changed meanwhile: stop its servers")
        journal.write(replacement(present, groups), keys, replace_keys=replace)
    # Opened anew, so that what is compared was read from the disk.
    with _opened(target) as (_, found):
        before, after = ({one.key: _content(one) for one in all_} for all_ in (groups, found))
        different = sorted(str(k) for k in {*before, *after} if before.get(k) != after.get(k))
        if different:
            raise StartupError(
                f"{_shown(target)} differs in {len(different)} groups after the copy, "
                f"{', '.join(different[:_MAX_NAMED])}: stop its servers, and copy again"
            )
    return Copied(len(groups), sum(group.series for group in groups))


@contextmanager
def _opened(place: str) -> Iterator[tuple[Journal, list[Group]]]:
    journal: Journal
    if _is_database(place):
        journal, groups = open_database(place)
    else:
        path = Path(place)
        lock = lock_file(path, wait=0)
        journal, groups = open_journal(path, lock, reset_damaged=False, now=time.time())
    with closing(journal):
        yield journal, groups


def _is_database(place: str) -> bool:
    return place.startswith(("postgresql://", "postgres://"))


def _shown(place: str) -> str:
    return "the database" if _is_database(place) else place


def _content(group: Group) -> tuple[object, ...]:
    """Return everything that is stored of *group*."""
    times = group.pushed_at, group.failed_at, group.since
    blocks = [(block.pushed, block.received, block.times, block.dropped) for block in group.blocks]
    return times, group.failure, group.history, blocks
