"""The journal in an SQLite file: one connection, WAL mode, one synced transaction per batch."""

import errno
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

import apsw

from pushgate.errors import JournalFailed, StartupError
from pushgate.model.shape import PushShape
from pushgate.server.storage import wal
from pushgate.server.storage.codec import (
    decode_group,
    decode_group_2,
    decode_shape,
    decode_shape_1,
    encode_group,
    encode_shape,
    labels_of,
)
from pushgate.server.storage.failures import error_number, reason, startup_error
from pushgate.server.storage.files import create_private, sync_directory
from pushgate.server.storage.journal import coalesced, named
from pushgate.server.storage.lock import FileLock
from pushgate.server.storage.shapes import ShapeIds, told_apart
from pushgate.server.store.group import Group
from pushgate.server.store.once import REMEMBERED
from pushgate.server.store.store import Step

_log = logging.getLogger(__name__)

MAGIC: Final = b"SQLite format 3\x00"
FORMAT: Final = 4
"""In format 3 no block had the times of several pushes; format 2 did not keep failures and
histories either; format 1 had no checksums of shapes, and never gave space back to the file system.
"""

_SET_FORMAT = f"PRAGMA user_version = {FORMAT}"
# One transaction, so that a start that dies in between leaves an empty file.
_SCHEMA = f"""
BEGIN IMMEDIATE;
DROP TABLE IF EXISTS shapes;
DROP TABLE IF EXISTS groups;
CREATE TABLE shapes (id INTEGER PRIMARY KEY, families BLOB NOT NULL);
CREATE TABLE groups (id INTEGER PRIMARY KEY, labels BLOB NOT NULL, state BLOB NOT NULL);
{_SET_FORMAT};
COMMIT;
"""
_TABLES = {"shapes", "groups"}
# Made with the first key: files from before there were keys lack it, and a start writes nothing.
_KEYS_SCHEMA = (
    "CREATE TABLE applied_keys (key BLOB PRIMARY KEY, time INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX applied_keys_time ON applied_keys (time)",
)
_FIND_KEYS = "SELECT 1 FROM sqlite_master WHERE name = 'applied_keys'"
_KEYS_DELETED_EVERY = 60 * 10**9
_CHECKPOINT_FRAMES = 8000  # 32 MiB: each checkpoint makes pushes wait for the disk
_PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",  # an answered push survives a power cut
    f"journal_size_limit = {_CHECKPOINT_FRAMES * 4096}",
    "cache_size = -8000",
)
# SQLite's default limit is 32,766 variables; a row takes three.
_ROWS_PER_STATEMENT = 512
# How many pages one step of tidy() gives back: some milliseconds.
_PAGES_PER_STEP = 256
_RETRY_SECONDS = 10
_MAX_NAMED = 5
# How quick_check names a page that could not be read.
_UNREADABLE_PAGE = re.compile(r"error code=(\d+)")


class SqliteJournal:
    """A :class:`~pushgate.server.storage.journal.Journal` in the file *path*."""

    is_shared = False

    def __init__(self, path: Path, lock: FileLock | None = None, *, vfs: str | None = None) -> None:
        """Open *path*, new if it is not there; *lock* is released by :meth:`close`.

        *vfs* is the SQLite VFS to read and write with; tests inject failures through it.

        Raises:
            StartupError: the file can't be used; the message says what to do.
        """
        self._path = path
        self._wal = Path(f"{path}-wal")
        self._names = str(path), f"{path}-wal"  # stat of a Path costs ten times as much
        self._lock = lock
        self._group_ids: dict[bytes, int] = {}
        self._last_group = 0
        self._shapes = ShapeIds()
        self._wal_frames = 0
        self._sizes = [0, 0]
        """What the file and its WAL have at least."""
        self._tidy_again = 0.0
        self._may_shrink = True
        self._keys_deleted_at = 0
        self._vacuumed = False
        self._lost: str | None = None
        self._inodes: list[tuple[int, int]] = []
        self.tidy_failures = 0
        self._tidy_failed = False
        self._connection: apsw.Connection | None = None
        with self._explained():
            self._refuse_lone_wal()
            create_private(path)
            self._connection = apsw.Connection(os.fspath(path), vfs=vfs)
            # Replaces SQLite's automatic checkpoints, which hide their failures; see tidy().
            self._connection.set_wal_hook(self._count_wal_frames)
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
            self._inodes = [(file.st_dev, file.st_ino) for file in self._files()]

    def _refuse_lone_wal(self) -> None:
        """Refuse a log without its database: SQLite would delete it, and what it holds."""
        is_empty = not self._path.exists() or self._path.stat().st_size == 0
        if is_empty and self._wal.exists() and self._wal.stat().st_size > 0:
            raise ValueError("the file is gone or empty, but its write-ahead log is there")

    def _known_format(self) -> int:
        """Return the format of the file, 0 if it is new; nothing was written yet."""
        (version,) = self._rows("PRAGMA user_version")[0]
        if version not in range(FORMAT + 1):
            raise StartupError(
                f"{self._path} was written by a newer Pushgate (format {version}): "
                "start that version, or name another --persistence.file"
            )
        tables = {name for (name,) in self._rows("SELECT name FROM sqlite_master")}
        # Earlier versions could die between the creation of their tables.
        left_empty = tables <= _TABLES and not any(
            self._rows(f"SELECT 1 FROM {name} LIMIT 1")  # noqa: S608 - one of two names
            for name in tables
        )
        if version == 0 and not left_empty:
            raise StartupError(
                f"{self._path} is a database of another program: name another --persistence.file"
            )
        return int(version)

    def load(self) -> list[Group]:
        """Return every group as it was after the last append.

        Raises:
            DamagedFile: something in it is damaged; the message names what.
            StartupError: it can't be read.
        """
        with self._explained():
            damage: list[str] = []
            shapes = self._load_shapes(damage)
            groups = self._load_groups(shapes, damage)
            damage += self._structural_damage()
            if damage:
                raise ValueError(_summary(damage))
            for number in self._shapes.load(shapes, groups):
                if self.format == FORMAT:
                    self._execute("DELETE FROM shapes WHERE id = ?", (number,))
            return groups

    def _load_shapes(self, damage: list[str]) -> dict[int, PushShape]:
        shapes: list[tuple[int, PushShape]] = []
        with _noted(damage, "shapes"):
            for number, encoded in self._execute("SELECT id, families FROM shapes"):
                try:
                    shape = (
                        decode_shape_1(encoded)
                        if self.format == 1
                        else decode_shape(number, encoded)
                    )
                    shapes.append((number, shape))
                except ValueError as error:
                    damage.append(f"shape {number}: {error}")
        return told_apart(shapes)

    def _load_groups(self, shapes: dict[int, PushShape], damage: list[str]) -> list[Group]:
        groups: list[Group] = []
        decode = decode_group_2 if self.format < 3 else decode_group
        with _noted(damage, "groups"):
            for number, labels, state in self._execute("SELECT id, labels, state FROM groups"):
                self._last_group = max(self._last_group, number)
                try:
                    groups.append(decode(labels, state, shapes.__getitem__))
                    self._group_ids[labels] = number
                except KeyError as error:
                    damage.append(f"group {labels_of(labels)}: it needs shape {error}")
                except (ValueError, TypeError) as error:
                    damage.append(f"group {labels_of(labels)}: {error}")
        return groups

    def _structural_damage(self) -> list[str]:
        """Return what SQLite finds wrong with the pages, the free ones included."""
        ((found,),) = self._rows("PRAGMA quick_check(1)")
        if found == "ok":
            return []
        unreadable = _UNREADABLE_PAGE.search(found)
        if unreadable and int(unreadable[1]) & 0xFF == apsw.SQLITE_IOERR:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return [" ".join(found.split())]

    def begin(self) -> None:
        """Do nothing: nobody else may change the file, so it is always our turn."""

    def append(self, steps: Sequence[Step]) -> None:
        """Make *steps* durable in one transaction with one sync.

        Without steps, find out whether the file can be written.

        Raises:
            JournalFailed: the disk did not take them; the journal is as before, unless the
                error says that this is unknown.
        """
        self.write(coalesced(steps), named(steps), replace_keys=False)

    def write(
        self, steps: Sequence[Step], applied_keys: Mapping[bytes, int], *, replace_keys: bool
    ) -> None:
        """Write *steps*, one for each group, and idempotency keys as :meth:`append` does."""
        self.check()
        try:
            self._write(steps, applied_keys, replace_keys=replace_keys)
        except apsw.Error as error:
            cause = f"{self._path} could not be written: {self._why(error)}"
            raise JournalFailed(cause, unknown=not self._undo()) from error
        except BaseException:
            self._undo()
            raise
        try:
            self._locate()
        except JournalFailed as error:
            # Written, but perhaps to a deleted file: memory and file differ from here on.
            self._lost = f"{self._path} was deleted or replaced under the running server: restart"
            raise JournalFailed(self._lost, unknown=True) from error

    def check(self) -> None:
        """Find out, with two ``stat``, whether the file is still the one that was opened.

        Raises:
            JournalFailed: it or its WAL was deleted, replaced or cut short.
        """
        sizes = self._sizes
        self._locate()
        if any(now < before for now, before in zip(self._sizes, sizes, strict=True)):
            # SQLite would go on behind the gap. What stood in it is gone.
            self._lost = f"{self._path} was cut short under the running server: restart"
            raise JournalFailed(self._lost)

    def _locate(self) -> None:
        """Raise JournalFailed unless the files are those that were opened; note their sizes."""
        if self._lost:
            raise JournalFailed(self._lost)
        try:
            files = self._files()
        except OSError as error:
            raise JournalFailed(
                f"{self._path} can't be found any more ({error.strerror}): put it back, or restart"
            ) from error
        if self._inodes != [(file.st_dev, file.st_ino) for file in files]:
            raise JournalFailed(
                f"{self._path} was replaced under the running server: put the file that was there "
                "back, or restart"
            )
        self._sizes = [file.st_size for file in files]

    def tidy(self) -> bool:
        """Checkpoint a long WAL, and shorten a file of mostly free pages in small steps.

        Returns whether there is more to do. The first failure of an outage is logged, and so is
        its end; all are counted in :attr:`tidy_failures`.
        """
        is_due = self._may_shrink or self._wal_frames >= _CHECKPOINT_FRAMES
        if not is_due or time.monotonic() < self._tidy_again or not self._is_in_place():
            return False
        try:
            if self._wal_frames >= _CHECKPOINT_FRAMES:
                self._checkpoint()
            self._may_shrink = self._vacuum()
            if self._vacuumed and not self._may_shrink:
                self._checkpoint()  # shortens the file
        except apsw.Error as error:
            why = self._why(error)
            self.tidy_failures += 1
            self._tidy_again = time.monotonic() + _RETRY_SECONDS
            if not self._tidy_failed:
                _log.error(
                    "checkpoint failed; the write-ahead log grows until one succeeds",
                    extra={"file": str(self._path), "err": why},
                )
            self._tidy_failed = True
            return False
        with suppress(JournalFailed):
            self._locate()  # this may have shortened the files
        return self._may_shrink

    def _vacuum(self) -> bool:
        """Return pages to the file system while more than half are free; report whether any."""
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
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._vacuumed = False
        self._wal_frames = 0
        if self._tidy_failed:
            self._tidy_failed = False
            _log.info("checkpoints succeed again", extra={"file": str(self._path)})

    def close(self, *, keep_lock: bool = False) -> None:
        """Checkpoint, close the file, and release its lock unless *keep_lock*."""
        # Of a file that was replaced, SQLite would delete the WAL of the new one.
        self._close(checkpoint=self._is_in_place())
        if self._lock is not None and not keep_lock:
            self._lock.release()

    def _close(self, *, checkpoint: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(not checkpoint))
            connection.close()

    def _is_in_place(self) -> bool:
        try:
            self.check()
        except JournalFailed:
            return False
        return True

    def _files(self) -> list[os.stat_result]:
        return [*map(os.stat, self._names)]

    def _count_wal_frames(self, _connection: apsw.Connection, _name: str, frames: int) -> int:
        self._wal_frames = frames
        return apsw.SQLITE_OK

    def _frames_in_use(self) -> int:
        """Return how many frames, from the start of the WAL, SQLite treats as committed."""
        assert self._connection is not None
        frames, _ = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        return frames

    def _undo(self) -> bool:
        """Undo a failed transaction, on disk too; return whether that is certain.

        If only its sync failed, the transaction is complete in the WAL, and the next start would
        replay it. So it is cut off.
        """
        assert self._connection is not None
        self._sizes = [0, 0]  # whatever becomes of them
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
        """Write *steps*, one per group, and keys; update the ids only once the file has them."""
        change = self._shapes.change(steps)
        new_ids: dict[bytes, int] = {}
        rows: list[tuple[int, bytes, bytes]] = []
        gone: list[bytes] = []
        for step in steps:
            key = step.key.packed
            if step.after is None:
                gone.append(key)
                continue
            number = self._group_ids.get(key)
            if number is None:
                number = new_ids[key] = self._last_group + len(new_ids) + 1
            state = encode_group(step.after, lambda shape: self._shapes.id_of(shape, change))
            rows.append((number, key, state))
        shapes = [(number, encode_shape(number, shape)) for shape, number in change.new.items()]
        self._transact(
            [
                *_inserts("INSERT INTO shapes (id, families) VALUES", shapes),
                *_inserts("REPLACE INTO groups (id, labels, state) VALUES", rows),
                *[("DELETE FROM groups WHERE id = ?", [self._group_ids[key]]) for key in gone],
                *[("DELETE FROM shapes WHERE id = ?", [n]) for n in change.unused.values()],
                *(self._forgotten_keys() if replace_keys else ()),
                *self._written_keys(applied_keys),
            ]
        )
        self._shapes.apply(change)
        self._last_group += len(new_ids)
        self._group_ids |= new_ids
        for key in gone:
            del self._group_ids[key]
        self._may_shrink = self._may_shrink or bool(gone or change.unused)

    def _forgotten_keys(self) -> Iterator[tuple[str, list[Any]]]:
        if self._rows(_FIND_KEYS):
            yield "DELETE FROM applied_keys", []

    def _written_keys(self, keys: Mapping[bytes, int]) -> Iterator[tuple[str, list[Any]]]:
        """Yield the statements that write *keys*, and delete those too old."""
        if not keys:
            return
        if not self._rows(_FIND_KEYS):
            yield from ((sql, []) for sql in _KEYS_SCHEMA)
        yield from _inserts("REPLACE INTO applied_keys (key, time) VALUES", [*keys.items()])
        latest = max(keys.values())
        if latest - self._keys_deleted_at > _KEYS_DELETED_EVERY:
            self._keys_deleted_at = latest
            yield "DELETE FROM applied_keys WHERE time < ?", [latest - REMEMBERED]

    def applied_keys(self) -> list[tuple[bytes, int]]:
        """Return the idempotency keys of the pushes of the last hour, the oldest first.

        Call it after :meth:`load`.
        """
        if not self._rows(_FIND_KEYS):
            return []
        return self._rows("SELECT key, time FROM applied_keys ORDER BY time")

    def _transact(self, statements: list[tuple[str, list[Any]]]) -> None:
        """Run *statements* in one transaction; without any, find out whether one succeeds."""
        if not statements:
            statements = [(_SET_FORMAT, [])]
        if len(statements) == 1:
            # Its own transaction: one call, during which other threads run.
            self._execute(*statements[0])
            return
        self._execute("BEGIN IMMEDIATE")
        for statement in statements:
            self._execute(*statement)
        self._execute("COMMIT")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Close the file untouched if the block fails, with a :exc:`StartupError` that says why."""
        try:
            yield
        except (apsw.Error, OSError, ValueError, StartupError) as error:
            explained = startup_error(self._path, error, self._connection)
            with suppress(apsw.Error):
                self._close(checkpoint=False)
            if explained is error:
                raise
            raise explained from error

    def _why(self, error: apsw.Error) -> str:
        return reason(error, error_number(error, self._connection))


def _inserts(sql: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, list[Any]]]:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        some = rows[start : start + _ROWS_PER_STATEMENT]
        row = f"({','.join('?' * len(some[0]))})"
        yield f"{sql} {','.join([row] * len(some))}", list(chain.from_iterable(some))


@contextmanager
def _noted(damage: list[str], table: str) -> Iterator[None]:
    """Add to *damage* that *table* can't be read to its end, if the block finds that."""
    try:
        yield
    except (apsw.CorruptError, apsw.SQLError) as error:
        damage.append(f"table {table}: {error}")


def _summary(damage: Sequence[str]) -> str:
    """Return the first few of *damage*, and how many there are."""
    more = len(damage) - _MAX_NAMED
    return "; ".join([*damage[:_MAX_NAMED], *([f"and {more} more"] if more > 0 else [])])
