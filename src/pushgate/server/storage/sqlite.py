"""The journal in an SQLite file: one connection, WAL mode, one synced transaction per batch."""

import errno
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from pushgate.errors import JournalFailed, StartupError
from pushgate.model.shape import PushShape
from pushgate.server.storage import wal
from pushgate.server.storage.codec import DamagedRecord, decode_group, decode_shape
from pushgate.server.storage.failures import reason, startup_error
from pushgate.server.storage.files import create_private, sync_directory
from pushgate.server.storage.ids import Ids, distinct_shapes
from pushgate.server.storage.journal import Contents, Journal
from pushgate.server.storage.lock import FileLock
from pushgate.server.storage.open_files import OpenFiles
from pushgate.server.store.group import Group
from pushgate.server.store.once import REMEMBERED
from pushgate.server.store.store import Step

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

MAGIC: Final = b"SQLite format 3\x00"
FORMAT: Final = 4
"""A block of format 3 has the time of one push only. Format 2 has no failures and histories either.
Format 1 has no checksums of shapes, and its files never shrink.
"""

_SET_FORMAT = f"PRAGMA user_version = {FORMAT}"
# One transaction, so that a start that dies in the middle leaves an empty file.
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE shapes (id INTEGER PRIMARY KEY, families BLOB NOT NULL);
CREATE TABLE groups (id INTEGER PRIMARY KEY, labels BLOB NOT NULL, state BLOB NOT NULL);
{_SET_FORMAT};
COMMIT;
"""
# Created with the first key: older files lack it, and a start should write nothing.
_KEYS_SCHEMA = (
    "CREATE TABLE applied_keys (key BLOB PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX applied_keys_time ON applied_keys (time)",
)
_READ_KEYS = "SELECT key, time FROM applied_keys ORDER BY time"
_FIND_KEYS = "SELECT 1 FROM sqlite_master WHERE name = 'applied_keys'"
# Old keys are deleted a few at a time: all pushes of the batch wait for it.
_KEYS_DELETED_EVERY = 10**9
_DELETE_OLD_KEYS = (
    "DELETE FROM applied_keys WHERE key IN "
    "(SELECT key FROM applied_keys WHERE time < ? ORDER BY time LIMIT 5000)"
)
_CHECKPOINT_FRAMES = 8000  # 32 MiB: pushes wait for the disk during each checkpoint
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",  # an answered push survives a power cut
    f"journal_size_limit = {_CHECKPOINT_FRAMES * 4096}",
    "cache_size = -8000",
)
# SQLite's default limit is 32,766 variables; a row takes three.
_ROWS_PER_STATEMENT = 512
# How many pages tidy() returns to the file system at a time, which takes some milliseconds.
_PAGES_PER_STEP = 256
_RETRY_SECONDS = 10
_MAX_NAMED = 5
# How quick_check reports a page that could not be read.
_UNREADABLE_PAGE = re.compile(r"error code=(\d+)")


class SqliteJournal(Journal):
    """A :class:`~pushgate.server.storage.journal.Journal` in the file *path*."""

    is_shared = False

    def __init__(self, path: Path, lock: FileLock | None = None, *, vfs: str | None = None) -> None:
        """Open *path*, and create it if it is missing; :meth:`close` releases *lock*.

        *vfs* is the SQLite VFS to read and write with; tests inject failures through it.

        Raises:
            StartupError: the file can't be used; the message says what to do.
        """
        self._path = path
        self._wal = Path(f"{path}-wal")
        self._lock = lock
        self._ids = Ids()
        self._wal_frames = 0
        self._is_full = False
        self._may_shrink = True
        self._keys_deleted_at = 0
        self._vacuumed = False
        self.tidy_failures = 0
        self._tidy_again = 0.0  # when, if the last attempt failed
        self._connection: apsw.Connection | None = None
        with self._as_startup_error():
            # SQLite would delete a log without its database, and with it what the log has.
            is_empty = not path.exists() or path.stat().st_size == 0
            if is_empty and self._wal.exists() and self._wal.stat().st_size > 0:
                raise ValueError("the file is gone or empty, but its write-ahead log is there")
            create_private(path)
            self._connection = apsw.Connection(os.fspath(path), vfs=vfs)
            # Replaces SQLite's automatic checkpoints, which hide their failures; see tidy().
            self._connection.set_wal_hook(self._note_wal_frames)
            # Set before the first read, so that SQLite keeps its lock and needs no -shm file.
            self._rows("PRAGMA locking_mode = EXCLUSIVE")
            self.format = self._known_format()
            # Must come before any write, which would overwrite the frames SQLite ignores.
            wal.check(self._wal, self._frames_in_use())
            if self.format == 0:
                self._rows("PRAGMA auto_vacuum = INCREMENTAL")  # only possible before any table
            for pragma in _PRAGMAS:
                self._rows(f"PRAGMA {pragma}")
            if self.format == 0:
                self._execute(_SCHEMA).fetchall()
                self._checkpoint()
                sync_directory(path.parent)
                self.format = FORMAT
            self._rows("SELECT id FROM shapes LIMIT 1")  # the first use creates the WAL
            self._files = OpenFiles(path)

    def _known_format(self) -> int:
        """Return the format of the file, 0 if it is new. Nothing has been written so far."""
        (version,) = self._rows("PRAGMA user_version")[0]
        if version not in range(FORMAT + 1):
            raise StartupError(
                f"{self._path} was written by a newer Pushgate (format {version}): "
                "start that version, or name another --persistence.file"
            )
        if version == 0 and self._rows("SELECT 1 FROM sqlite_master LIMIT 1"):
            raise StartupError(
                f"{self._path} is a database of another program: name another --persistence.file"
            )
        return int(version)

    def load(self) -> Contents:
        """Return everything as it was after the last append.

        Raises:
            DamagedFile: something in it is damaged; the message names what.
            StartupError: it can't be read.
        """
        with self._as_startup_error():
            damage: list[str] = []

            def shape(number: int, families: bytes) -> PushShape:
                return decode_shape(number, families, has_checksum=self.format > 1)

            def group(_: int, labels: bytes, state: bytes) -> Group:
                return decode_group(labels, state, shapes, has_past=self.format > 2)

            # Format 1 has texts.
            columns = "id, CAST(families AS BLOB)"
            shapes = distinct_shapes(self._decoded("shapes", columns, shape, damage))
            ids: dict[bytes, int] = {}
            groups: list[Group] = []
            for number, one in self._decoded("groups", "id, labels, state", group, damage):
                ids[one.key.packed] = number
                groups.append(one)
            damage += self._structural_damage()
            if damage:
                more = len(damage) - _MAX_NAMED
                rest = [f"and {more} more"] if more > 0 else []
                raise ValueError("; ".join([*damage[:_MAX_NAMED], *rest]))
            # Shapes that no group uses. A file in an older format is converted, not changed.
            for number in self._ids.load(ids, shapes, groups):
                if self.format == FORMAT:
                    self._execute("DELETE FROM shapes WHERE id = ?", (number,))
            return Contents(groups, self._rows(_READ_KEYS) if self._rows(_FIND_KEYS) else [])

    def _decoded(
        self, table: str, columns: str, decode: Callable[..., _T], damage: list[str]
    ) -> Iterator[tuple[int, _T]]:
        """Yield the first of *columns* of each row of *table*, and what *decode* makes of the row.

        What is wrong with the others, or with the table, is added to *damage*.
        """
        try:
            for row in self._execute(f"SELECT {columns} FROM {table}"):  # noqa: S608 - ours
                try:
                    yield row[0], decode(*row)
                except DamagedRecord as error:
                    damage.append(str(error))
        except (apsw.CorruptError, apsw.SQLError) as error:
            damage.append(f"table {table}: {error}")

    def _structural_damage(self) -> list[str]:
        """Return what SQLite finds wrong with the pages, including the free ones."""
        # A checksum protects each record, but not the pages in which SQLite finds them.
        ((found,),) = self._rows("PRAGMA quick_check(1)")
        if found == "ok":
            return []
        unreadable = _UNREADABLE_PAGE.search(found)
        if unreadable and int(unreadable[1]) & 0xFF == apsw.SQLITE_IOERR:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return [" ".join(found.split())]

    def begin(self) -> None:
        """Do nothing: nobody else may change the file, so it is always our turn."""

    def write(
        self, steps: Sequence[Step], applied_keys: Mapping[bytes, int], *, replace_keys: bool
    ) -> None:
        self._files.check()
        try:
            self._write(steps, applied_keys, replace_keys=replace_keys)
        except apsw.Error as error:
            # The reason first: the statements of _undo() overwrite it.
            cause = f"{self._path} could not be written: {reason(error, self._connection)}"
            self._is_full = isinstance(error, apsw.FullError)
            raise JournalFailed(cause, unknown=not self._undo()) from error
        except BaseException:
            self._undo()
            raise
        self._files.note_write()

    def check(self) -> None:
        self._files.check()

    def tidy(self) -> bool:
        """Checkpoint a long WAL, and shorten a file of mostly free pages in small steps.

        So is a WAL that can't grow on a full disk: then it begins anew, in its place.
        Returns whether there is more to do. The beginning and the end of an outage are logged; all
        failures are counted in :attr:`tidy_failures`.
        """
        has_long_wal = self._is_full or self._wal_frames >= _CHECKPOINT_FRAMES
        is_due = self._may_shrink or has_long_wal
        if not is_due or time.monotonic() < self._tidy_again or not self._files.are_in_place():
            return False
        try:
            if has_long_wal:
                self._is_full = False
                self._checkpoint()
            self._may_shrink = self._vacuum()
            if self._vacuumed and not self._may_shrink:
                self._checkpoint()  # shortens the file
        except apsw.Error as error:
            why = reason(error, self._connection)
            self.tidy_failures += 1
            if not self._tidy_again:
                _log.error(
                    "checkpoint failed; the write-ahead log grows until one succeeds",
                    extra={"file": str(self._path), "err": why},
                )
            self._tidy_again = time.monotonic() + _RETRY_SECONDS
            return False
        with suppress(JournalFailed):
            self._files.note_sizes()  # this may have shortened the files
        return self._may_shrink

    def _vacuum(self) -> bool:
        """Return some pages to the file system if more than half are free; return whether any."""
        ((free,),) = self._rows("PRAGMA freelist_count")
        if free < _PAGES_PER_STEP:
            return False
        ((pages,),) = self._rows("PRAGMA page_count")
        if free * 2 <= pages:
            return False
        self._execute(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})").fetchall()
        self._vacuumed = True
        return True

    def _checkpoint(self) -> None:
        assert self._connection is not None
        # PASSIVE suffices: no other connection can hold it up.
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._vacuumed = False
        self._wal_frames = 0
        if self._tidy_again:
            self._tidy_again = 0.0
            _log.info("checkpoints succeed again", extra={"file": str(self._path)})

    def close(self, *, keep_lock: bool = False) -> None:
        """Checkpoint, close the file, and release its lock unless *keep_lock*."""
        # If the file was replaced, SQLite would delete the WAL of the new one.
        self._close(checkpoint=self._files.are_in_place())
        if self._lock is not None and not keep_lock:
            self._lock.release()

    def _close(self, *, checkpoint: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(not checkpoint))
            connection.close()

    def _note_wal_frames(self, _connection: apsw.Connection, _name: str, frames: int) -> int:
        self._wal_frames = frames
        return apsw.SQLITE_OK

    def _frames_in_use(self) -> int:
        """Return how many frames at the start of the WAL SQLite treats as committed."""
        assert self._connection is not None
        frames, _ = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        return frames

    def _undo(self) -> bool:
        """Undo a failed transaction, on the disk as well; return whether that is certain.

        If only its sync failed, the transaction is complete in the WAL, and the next start would
        replay it. So it is cut off.
        """
        assert self._connection is not None
        self._files.may_shrink()
        try:
            if self._connection.in_transaction:
                with suppress(apsw.Error):
                    self._connection.execute("ROLLBACK")
            wal.cut(self._wal, self._frames_in_use())
        except (apsw.Error, OSError):
            return False
        return True

    def _execute(self, sql: str, parameters: Sequence[Any] = ()) -> apsw.Cursor:
        assert self._connection is not None
        return self._connection.execute(sql, parameters)

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._execute(sql).fetchall()

    def _write(
        self, steps: Sequence[Step], applied_keys: Mapping[bytes, int], *, replace_keys: bool
    ) -> None:
        """Write *steps* and keys in a transaction; update the ids once the file has them."""
        batch = self._ids.batch(steps)
        deleted, rows = batch.deleted, [*self._ids.group_rows(batch)]
        self._transact(
            [
                *_inserts("INSERT INTO shapes (id, families) VALUES", [*batch.shape_rows()]),
                *_inserts("REPLACE INTO groups (id, labels, state) VALUES", rows),
                *[("DELETE FROM groups WHERE id = ?", [number]) for number in deleted],
                *[("DELETE FROM shapes WHERE id = ?", [n]) for n in batch.unused.values()],
                *self._key_statements(applied_keys, replace=replace_keys),
            ]
        )
        self._ids.apply(batch)
        self._may_shrink = self._may_shrink or bool(deleted or batch.unused)

    def _key_statements(
        self, keys: Mapping[bytes, int], *, replace: bool
    ) -> Iterator[tuple[str, list[Any]]]:
        """Yield the statements that write *keys*, and delete the others or those too old."""
        has_table = bool((keys or replace) and self._rows(_FIND_KEYS))
        if replace and has_table:
            yield "DELETE FROM applied_keys", []
        if not keys:
            return
        if not has_table:
            yield from ((sql, []) for sql in _KEYS_SCHEMA)
        yield from _inserts("REPLACE INTO applied_keys (key, time) VALUES", [*keys.items()])
        latest = max(keys.values())
        if abs(latest - self._keys_deleted_at) > _KEYS_DELETED_EVERY:  # the clock may be set back
            self._keys_deleted_at = latest
            yield _DELETE_OLD_KEYS, [latest - REMEMBERED]

    def _transact(self, statements: list[tuple[str, list[Any]]]) -> None:
        """Run *statements* in one transaction; without any, find out whether one succeeds."""
        if not statements:
            statements = [(_SET_FORMAT, [])]
        if len(statements) == 1:
            # It is a transaction of its own: one call, during which other threads can run.
            self._execute(*statements[0])
            return
        self._execute("BEGIN IMMEDIATE")
        for statement in statements:
            self._execute(*statement)
        self._execute("COMMIT")

    @contextmanager
    def _as_startup_error(self) -> Iterator[None]:
        """If the block fails, close the file untouched and raise a StartupError that says why."""
        try:
            yield
        except (apsw.Error, OSError, ValueError, StartupError) as error:
            explained = startup_error(self._path, error, self._connection)
            with suppress(apsw.Error):
                self._close(checkpoint=False)
            if explained is error:
                raise
            raise explained from error


def _inserts(sql: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, list[Any]]]:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        some = rows[start : start + _ROWS_PER_STATEMENT]
        row = f"({','.join('?' * len(some[0]))})"
        yield f"{sql} {','.join([row] * len(some))}", list(chain.from_iterable(some))
