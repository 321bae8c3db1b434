"""Backups of a persistence file or a database: taken while servers run, checked, and restored.

A running server lets no other process open its file through SQLite. So the file is copied as it is,
and then its write-ahead log. What a checkpoint moves from the log into the file meanwhile is in the
copied log as well, and SQLite moves it again when it opens the copy. Only if the log was restarted
meanwhile is the copy useless, and is made again.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pushgate.errors import DamagedFile, StartupError
from pushgate.server.storage.failures import in_use, startup_error
from pushgate.server.storage.files import (
    COMPANIONS,
    beside,
    create_private,
    dated,
    followed,
    put_in_place,
    remove_companions,
    remove_database,
)
from pushgate.server.storage.journal import Contents, TurnLost, replacement
from pushgate.server.storage.lock import FileLock
from pushgate.server.storage.opening import lock_file, may_exist, open_database, write_journal
from pushgate.server.storage.sqlite import MAGIC, SqliteJournal
from pushgate.server.store.group import Group

if TYPE_CHECKING:
    from pushgate.server.storage.postgres import PostgresJournal

_ATTEMPTS: Final = 10
_HEAD_BYTES: Final = 32  # of a log: magic, version, page size, sequence, salts, checksums


def copy_file(source: Path, target: Path) -> Contents:
    """Copy the file *source*, which a server may be using, to *target*, and return its contents.

    The copy has every push that was answered before the call, and is complete without other files.
    Each of its records was read and checked. *target* is replaced in one step.

    Raises:
        DamagedFile: *source* is damaged.
        StartupError: it is not one of our files, or *target* is in use or can't be written.
    """
    try:
        with _replaced(target) as draft:
            return _copy_checked(followed(source), draft)
    except OSError as error:
        raise StartupError(f"can't copy {source} to {target}: {error.strerror or error}") from error


def check_file(source: Path) -> Contents:
    """Return the contents of *source*, all of them checked. A server may be using it.

    Raises:
        DamagedFile: *source* is damaged.
        StartupError: it is not one of our files.
    """
    # A copy is read, which neither locks nor changes the file itself.
    with tempfile.TemporaryDirectory(prefix="pushgate-") as folder:
        return copy_file(source, Path(folder) / "checked")


def restore_file(backup: Path, target: Path, *, replace: bool) -> Contents:
    """Make *target* a copy of *backup*. No server may be using *target*.

    With *replace*, *target* may exist; it is kept as ``<target>.replaced-<time>``.

    Raises:
        DamagedFile: *backup* is damaged; nothing was changed.
        StartupError: *target* is in use, exists or can't be written.
    """
    target = followed(target)
    lock = lock_file(target, 0)
    try:
        if target.exists() and not replace:
            raise StartupError(f"{target} exists: give --replace to put the backup in its place")
        fresh = beside(target, ".restoring")
        contents = copy_file(backup, fresh)
        owner = target.parent.stat()
        with suppress(OSError):  # only root may, and not everywhere
            # Those of the server, perhaps, which must not have a link in its place followed.
            os.lchown(fresh, owner.st_uid, owner.st_gid)
        _keep_old(target)
        put_in_place(fresh, target)
    except OSError as error:
        raise startup_error(target, error) from error
    finally:
        lock.release()
    return contents


def copy_database(url: str, target: Path) -> Contents:
    """Write the contents of the database *url* at this moment to the file *target*.

    Raises:
        StartupError: the database can't be read, or *target* is in use or can't be written.
    """
    journal, contents = open_database(url)
    journal.close()
    try:
        with _replaced(target) as draft:
            write_journal(contents, draft)
    except OSError as error:
        raise startup_error(target, error) from error
    return contents


def restore_database(backup: Path, url: str, *, replace: bool) -> Contents:
    """Replace the contents of the database *url* by *backup*. Servers that use it follow.

    With *replace*, it may hold groups; they are replaced.

    Raises:
        DamagedFile: *backup* is damaged.
        StartupError: the database holds groups, or can't be used.
        JournalFailed: the groups could not be written.
    """
    contents = check_file(backup)
    journal, earlier = open_database(url)
    gc.freeze()  # others wait during the turn: no collection in it may walk all groups
    with closing(journal):
        present = {group.key.packed: group for group in earlier.groups}
        # Servers may push meanwhile: each turn first brings what they have changed.
        for _ in range(_ATTEMPTS):
            if _replace_in_turn(journal, present, contents, replace=replace):
                return contents
    raise StartupError(
        f"can't write to the database {journal.name}: it ended each attempt; try again when less "
        "is pushed"
    )


def copy(source: str, target: str, *, replace: bool) -> Contents:
    """Replace the contents of *target* by those of *source*, each a file or the URL of a database.

    This is a backup that is restored, with the same errors; but a file may not be in use.
    """
    with ExitStack() as stack:
        if _is_database(source):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pushgate-"))
            backup = Path(folder) / "backup"
            copy_database(source, backup)
        else:
            backup = Path(source)
            if may_exist(backup):  # if not, the restore says so
                # Until the end: a server would go on to change it.
                stack.callback(lock_file(backup, 0).release)
        if _is_database(target):
            return restore_database(backup, target, replace=replace)
        return restore_file(backup, Path(target), replace=replace)


def _is_database(place: str) -> bool:
    return place.startswith(("postgresql://", "postgres://"))


def _copy_checked(source: Path, draft: Path) -> Contents:
    """Copy *source* to *draft* and return its contents, all of them checked."""
    damage: DamagedFile | None = None
    for _ in range(_ATTEMPTS):
        remove_database(draft)
        if not _copy_with_log(source, draft):
            continue
        try:
            return _load(draft)
        except DamagedFile as error:  # perhaps only the copy: a frame of the log was half written
            damage = DamagedFile(str(error).replace(str(draft), str(source)))
    raise damage or StartupError(
        f"can't copy {source}: it changed too fast; take the backup when less is pushed"
    )


def _copy_with_log(source: Path, draft: Path) -> bool:
    """Copy *source* and its log; return whether the copies belong together."""
    log, copied_log = beside(source, "-wal"), beside(draft, "-wal")
    if not source.exists():
        raise StartupError(f"{source} does not exist: name another file")
    if _head(source)[: len(MAGIC)] != MAGIC:
        raise StartupError(f"{source} is not a persistence file of Pushgate: name another file")
    head = _head(log)
    create_private(draft)
    shutil.copyfile(source, draft)
    if not head:  # everything is in the file, unless a log began meanwhile
        return not _head(log)
    create_private(copied_log)
    shutil.copyfile(log, copied_log)
    # The server has cut a refused push off a log that became shorter; the copy may have it.
    return _head(log) == head and log.stat().st_size >= copied_log.stat().st_size


def _head(file: Path) -> bytes:
    """Return the first bytes of *file*; a log that begins anew has other salts there."""
    if not file.exists():
        return b""
    with file.open("rb") as opened:
        return opened.read(_HEAD_BYTES)


def _load(file: Path) -> Contents:
    """Return the contents of *file*, and write its log back, so that it is complete without it."""
    with closing(SqliteJournal(file)) as journal:
        contents = journal.load()
    if beside(file, "-wal").exists():
        raise OSError(f"the log of {file} could not be written back")
    return contents


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """Yield the name of a draft, and put that in the place of *target*, unless a server uses it.

    If a server that was killed left a log of *target*, it would be taken for one of the draft.
    """
    target.parent.stat()  # the lock would create it: perhaps a disk is not mounted there
    draft, lock = beside(target, ".incomplete"), FileLock(target)
    if not lock.acquire(0):  # perhaps by another backup, which writes the same draft
        raise in_use(target)
    try:
        yield draft
        remove_companions(target)
        put_in_place(draft, target)
    finally:
        remove_database(draft)
        lock.release()


def _keep_old(path: Path) -> None:
    """Give *path* and its log a second name, and remove the log under the first."""
    if path.exists():
        # The log of a server that was killed is written back, so that nothing is missing under the
        # first name meanwhile; that of a file which cannot be opened is kept.
        with suppress(StartupError):
            SqliteJournal(path).close()
    kept = dated(path, ".replaced")
    for suffix in ("", *COMPANIONS):
        old = beside(path, suffix)
        if old.exists():
            # A link, so that there is always a file at *path*: the old one, then the new one.
            beside(kept, suffix).hardlink_to(old)
    remove_companions(path)


def _replace_in_turn(
    journal: "PostgresJournal", present: dict[bytes, Group], contents: Contents, *, replace: bool
) -> bool:
    """Replace *present* by *contents* in one turn; return False if there was none."""
    news = journal.begin()
    if news is not None:
        for key, group in news.groups:
            if group is None:
                present.pop(key, None)
            else:
                present[key] = group
        if not news.in_turn:
            return False
    if present and not replace:
        raise StartupError(
            f"the database {journal.name} holds groups: give --replace to put the backup in "
            "their place"
        )
    try:
        steps = replacement(present.values(), contents.groups)
        journal.write(steps, dict(contents.applied_keys), replace_keys=replace)
    except TurnLost:
        return False
    return True
