"""The persistence file at start: a journal of ours, a file of the Go server, or damaged."""

import errno
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from pushgate.errors import (
    DamagedFile,
    InconsistentPush,
    JournalFailed,
    NotWritable,
    StartupError,
)
from pushgate.model.shape import Pushed, interned
from pushgate.server import gob
from pushgate.server.change import Merge
from pushgate.server.group import Block, Group
from pushgate.server.lock import FileLock, sync_directory
from pushgate.server.sqlite import (
    FORMAT,
    SqliteJournal,
    damaged,
    in_use,
    move_aside,
    stamp,
    unusable,
)
from pushgate.server.store import Step, Store

_log = logging.getLogger(__name__)

_SQLITE_MAGIC = b"SQLite format 3\x00"
_COMPANIONS = ("-wal", "-shm")
_NO_PUSH = Pushed(interned(()), b"")
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def locked(path: Path, wait: float) -> FileLock:
    """Return the exclusive right to *path*; wait up to *wait* seconds for another process.

    Raises:
        NotWritable: *path* does not exist, and may not be created.
        StartupError: it is in use, or can't be used.
    """
    lock = FileLock(path)
    try:
        if not lock.acquire(0):
            if wait:
                _log.info("waiting for the process that uses the file", extra={"file": str(path)})
            if not lock.acquire(wait):
                raise in_use(path)
        return lock
    except OSError as error:
        explained = _unusable(path, error)
        if error.errno in _NOT_ALLOWED and not _may_exist(path):
            raise NotWritable(str(explained)) from error
        raise explained from error


def opened_journal(
    path: Path, lock: FileLock, *, reset_damaged: bool, now: float, vfs: str | None = None
) -> tuple[SqliteJournal, list[Group]]:
    """Return the journal in *path*, which releases *lock* when it closes, and what it holds.

    A file of the Go server is imported first, and kept as ``<path>.imported``. With
    *reset_damaged*, a damaged file is moved aside and the journal starts empty. *now*, in
    Unix seconds, is part of the names of files that are moved aside. *vfs* is as for
    :class:`SqliteJournal`.

    Raises:
        StartupError: the file can't be used; the message says what to do.
    """
    try:
        try:
            return _loaded(path, lock, now, vfs)
        except DamagedFile as error:
            if not reset_damaged:
                raise
            moved = move_aside(path, now)
            where = {"file": str(moved), "err": str(error)}
            _log.warning("damaged persistence file moved aside", extra=where)
            return _loaded(path, lock, now, vfs)
    except OSError as error:
        lock.release()
        raise _unusable(path, error) from error
    except StartupError:
        lock.release()
        raise


def _unusable(path: Path, error: OSError) -> StartupError:
    return unusable(path, error.strerror or str(error), error.errno or 0)


def _may_exist(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _loaded(
    path: Path, lock: FileLock, now: float, vfs: str | None
) -> tuple[SqliteJournal, list[Group]]:
    if path.exists():
        _import_go_file(path, now)
    journal = SqliteJournal(path, lock, vfs=vfs)
    groups = journal.load()
    if journal.format != FORMAT:
        _rewrite(path, journal, groups)
        journal = SqliteJournal(path, lock, vfs=vfs)
        groups = journal.load()
    return journal, groups


def _rewrite(path: Path, journal: SqliteJournal, groups: list[Group]) -> None:
    """Replace the *journal* of an earlier format by one of ours, in one step."""
    journal.close(keep_lock=True)
    if _beside(path, "-wal").exists():
        raise StartupError(f"can't convert {path}: its write-ahead log could not be written back")
    try:
        _journal_of(groups, _beside(path, ".converting")).replace(path)
        sync_directory(path.parent)
    except (OSError, JournalFailed) as error:
        reason = error.cause if isinstance(error, JournalFailed) else error.strerror
        raise StartupError(
            f"can't convert {path} to the format of this version ({reason}): it is as it was; "
            "make room and the directory writable, then start again"
        ) from error
    _log.info("converted the persistence file to a newer format", extra={"file": str(path)})


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _import_go_file(path: Path, now: float) -> None:
    """Make the file at *path* a journal, if the Go server wrote it.

    The journal is made under another name. *path* changes in one step, when journal and
    copy are on disk, so whenever the process dies, the next start finds either the Go file
    and does it all again, or the journal.
    """
    with path.open("rb") as file:
        magic = file.read(len(_SQLITE_MAGIC))
        if magic in {_SQLITE_MAGIC, b""}:
            return
        data = magic + file.read()
    try:
        found = gob.read(data)
    except ValueError as error:
        reason = f"it is neither a journal nor a file of the Go Pushgateway: {error}"
        raise damaged(path, reason) from error
    left_out = [*found.left_out]
    groups = _consistent(found.groups, left_out)
    try:
        journal = _journal_of(groups, _beside(path, ".importing"))
        kept = _kept_aside(path, data, now)
        # What an older journal of this name left behind must not be taken for the new one's.
        _remove(_beside(path, suffix) for suffix in _COMPANIONS)
        journal.replace(path)
        sync_directory(path.parent)
    except (OSError, JournalFailed) as error:
        reason = error.cause if isinstance(error, JournalFailed) else error.strerror or str(error)
        raise StartupError(
            f"can't import {path} of the Go Pushgateway ({reason}): it is as it was; make room "
            "and the directory writable, then start again"
        ) from error
    where = {"groups": len(groups), "file": str(kept)}
    _log.info("imported the persistence file of the Go Pushgateway", extra=where)
    for what in left_out:
        _log.warning("not imported", extra={"what": what})


def _consistent(found: list[Group], left_out: list[str]) -> list[Group]:
    """Return the groups *found*, less what contradicts the others: that goes to *left_out*.

    There is nothing to leave out unless the Go server ran without consistency check.
    """
    store, groups = Store(), []
    for group in found:
        try:
            store.admit(Merge(group.key, _NO_PUSH, group.since))
        except InconsistentPush as error:
            left_out.append(f"{group.key}: {error}")
            continue
        blocks = [
            Block(pushed, block.received)
            for block in group.blocks
            for pushed in _admitted(store, group, block, left_out)
        ]
        groups.append(
            Group(
                group.key,
                tuple(blocks),
                pushed_at=group.pushed_at,
                failed_at=group.failed_at,
                since=group.since,
            )
        )
    return groups


def _admitted(store: Store, group: Group, block: Block, left_out: list[str]) -> list[Pushed]:
    """Return what *store* takes of *block*: all, or else each family that it takes."""
    try:
        store.admit(Merge(group.key, block.pushed, block.received))
    except InconsistentPush as error:
        names = block.pushed.shape.name_set
        if len(names) == 1:
            left_out.append(f"{group.key}: {error}")
            return []
        families = (block.pushed.without(names - {name}) for name in sorted(names))
        return [
            pushed
            for family in filter(None, families)
            for pushed in _admitted(store, group, Block(family, block.received), left_out)
        ]
    return [block.pushed]


def _journal_of(groups: list[Group], path: Path) -> Path:
    """Write a journal of *groups* to *path*, closed and on disk; what was there goes."""
    files = [path, *(_beside(path, suffix) for suffix in _COMPANIONS)]
    _remove(files)
    journal = SqliteJournal(path)
    try:
        journal.load()
        journal.append([Step(None, group) for group in groups])
    finally:
        journal.close()
    if any(companion.exists() for companion in files[1:]):
        raise JournalFailed(f"{path} could not be completed")
    return path


def _kept_aside(path: Path, data: bytes, now: float) -> Path:
    """Keep *data*, the content of *path*, in a file beside it that is on disk; return which."""
    target = _beside(path, ".imported")
    if target.exists() and target.read_bytes() != data:
        target = _beside(path, f".imported-{stamp(now)}")
    draft = _beside(path, ".importing-copy")
    with draft.open("wb") as copy:
        os.fchmod(copy.fileno(), 0o600)
        copy.write(data)
        copy.flush()
        os.fsync(copy.fileno())
    draft.replace(target)
    sync_directory(path.parent)
    return target


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
