"""Opens the persistence file at startup: locks it, imports or converts it, and loads it."""

import errno
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pushgate.errors import DamagedFile, JournalFailed, NotWritable, StartupError
from pushgate.server.storage import go_import
from pushgate.server.storage.failures import in_use, startup_error
from pushgate.server.storage.files import (
    COMPANIONS,
    beside,
    dated,
    followed,
    put_in_place,
    remove_companions,
    remove_database,
    write_private,
)
from pushgate.server.storage.journal import Contents
from pushgate.server.storage.lock import FileLock
from pushgate.server.storage.sqlite import FORMAT, MAGIC, SqliteJournal
from pushgate.server.store.store import Step

if TYPE_CHECKING:
    from pushgate.server.storage.postgres import PostgresJournal

_log = logging.getLogger(__name__)

_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


def lock_file(path: Path, wait: float) -> FileLock:
    """Return an exclusive lock on *path*; wait up to *wait* seconds for another process.

    Raises:
        NotWritable: *path* does not exist, and the directory is not writable.
        StartupError: it is in use, or can't be used.
    """
    lock = FileLock(path)
    try:
        if lock.acquire(0):
            return lock
        if wait:
            _log.info("waiting for the process that uses the file", extra={"file": str(path)})
            if lock.acquire(wait):
                return lock
    except OSError as error:
        explained = startup_error(path, error)
        # A server without a file yet may start in memory; one that has a file must not.
        if error.errno in _NOT_ALLOWED and not may_exist(path):
            raise NotWritable(str(explained)) from error
        raise explained from error
    raise in_use(path)


def may_exist(path: Path) -> bool:
    """Return whether there is a file at *path*, or a directory above it may not be read."""
    try:
        path.stat()
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return True


def open_journal(
    path: Path, lock: FileLock, *, reset_damaged: bool
) -> tuple[SqliteJournal, Contents]:
    """Return the journal in *path*, which releases *lock* when it closes, and its contents.

    A file of the Go server is imported first, and kept as ``<path>.imported``; a file in an
    earlier format is converted. With *reset_damaged*, a damaged file is moved aside and the
    journal starts empty.

    Raises:
        StartupError: the file can't be used; the message says what to do.
    """
    path = followed(path)
    try:
        try:
            return _open_and_load(path, lock)
        except DamagedFile as error:
            if not reset_damaged:
                raise
            kept = _move_aside(path)
            _log.warning(
                "damaged persistence file moved aside", extra={"file": str(kept), "err": str(error)}
            )
            return _open_and_load(path, lock)
    except OSError as error:
        lock.release()
        raise startup_error(path, error) from error
    except StartupError:
        lock.release()
        raise


def open_database(url: str) -> tuple["PostgresJournal", Contents]:
    """Return the journal in the database that *url* names, and its contents.

    Raises:
        StartupError: it can't be used, or the driver is missing; the message says what to do.
    """
    try:
        from pushgate.server.storage.postgres import PostgresJournal
    except ImportError as error:
        raise StartupError(
            f"a database needs psycopg ({error}): run pip install '.[server,postgres]' in a "
            "checkout, or install a wheel with these extras"
        ) from error
    journal = PostgresJournal(url)
    return journal, journal.load()


def _open_and_load(path: Path, lock: FileLock) -> tuple[SqliteJournal, Contents]:
    data = _foreign_content(path)
    if data:
        _import(path, data)
    journal = SqliteJournal(path, lock)
    contents = journal.load()
    if journal.format == FORMAT:
        return journal, contents
    journal.close(keep_lock=True)  # nobody else may take the file while it is converted
    _convert(path, contents)
    # Loaded again: ids and shapes in the new file are others.
    journal = SqliteJournal(path, lock)
    return journal, journal.load()


def _foreign_content(path: Path) -> bytes:
    """Return the content of *path* unless it is a database or does not exist."""
    if not path.exists():
        return b""
    if path.is_fifo() or path.is_char_device():  # reading from one may never end
        raise OSError(errno.EINVAL, "Not a regular file")
    with path.open("rb") as file:
        # Without SQLite, which must not touch a file that is not its own.
        head = file.read(len(MAGIC))
        return b"" if head == MAGIC else head + file.read()


def _import(path: Path, data: bytes) -> None:
    """Replace the file of the Go server at *path*, whose content is *data*, by a journal.

    *path* changes in one step, after the journal and a copy of *data* are on disk. Whenever the
    process dies, the next start finds either the Go file, and imports it again, or the journal.
    """
    imported = go_import.read(path, data)
    with _as_it_was_on_failure(path, "import"):
        draft = write_journal(Contents(imported.groups), beside(path, ".importing"))
        kept = _keep_copy(path, data)
        remove_companions(path)
        put_in_place(draft, path)
    _log.info(
        "imported the persistence file of the Go Pushgateway",
        extra={"groups": len(imported.groups), "file": str(kept)},
    )
    for what in imported.left_out:
        _log.warning("not imported", extra={"what": what})


def _convert(path: Path, contents: Contents) -> None:
    """Replace the closed journal of an earlier format at *path* by one of ours, in one step."""
    with _as_it_was_on_failure(path, "convert"):
        if beside(path, "-wal").exists():
            raise JournalFailed("its write-ahead log could not be written back")
        put_in_place(write_journal(contents, beside(path, ".converting")), path)
    _log.info("converted the persistence file to a newer format", extra={"file": str(path)})


@contextmanager
def _as_it_was_on_failure(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except (OSError, JournalFailed) as error:
        why = error.cause if isinstance(error, JournalFailed) else error.strerror or str(error)
        raise StartupError(
            f"can't {verb} {path} ({why}): it is unchanged; free some space, make the directory "
            "writable, then start again"
        ) from error


def write_journal(contents: Contents, path: Path) -> Path:
    """Write *contents* to a new journal at *path*, replacing it; closed and on disk."""
    remove_database(path)
    steps = [Step(None, group) for group in contents.groups]
    with closing(SqliteJournal(path)) as journal:
        journal.load()
        journal.write(steps, dict(contents.applied_keys), replace_keys=False)
    # SQLite removes them when everything is in the file; it does not report that it could not.
    if any(beside(path, suffix).exists() for suffix in COMPANIONS):
        raise JournalFailed(f"{path} could not be completed")
    return path


def _keep_copy(path: Path, data: bytes) -> Path:
    """Keep *data*, the content of *path*, in a file beside it, on disk; return its name."""
    target = beside(path, ".imported")
    if target.exists() and target.read_bytes() != data:  # of an earlier import
        target = dated(path, ".imported")
    draft = beside(path, ".importing-copy")
    write_private(draft, data)
    put_in_place(draft, target)
    return target


def _move_aside(path: Path) -> Path:
    """Move the database *path* and its companions to ``<path>.damaged-<time>``."""
    target = dated(path, ".damaged")
    for suffix in ("", *COMPANIONS):
        if beside(path, suffix).exists():
            beside(path, suffix).rename(beside(target, suffix))
    return target
