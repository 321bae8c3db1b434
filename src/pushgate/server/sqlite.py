"""The journal in a SQLite file: one connection, WAL, synchronous, one transaction a batch."""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pushgate.errors import DamagedFile, JournalFailed, StartupError
from pushgate.model.shape import PushShape
from pushgate.server.group import Group
from pushgate.server.record import decode_group, decode_shape, encode_group, encode_shape
from pushgate.server.store import Step

_FORMAT = 1
_SET_FORMAT = f"PRAGMA user_version = {_FORMAT}"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS shapes (id INTEGER PRIMARY KEY, families TEXT NOT NULL)",
    (
        "CREATE TABLE IF NOT EXISTS groups"
        " (id INTEGER PRIMARY KEY, labels BLOB NOT NULL, state BLOB NOT NULL)"
    ),
    _SET_FORMAT,
)
_PRAGMAS = (
    "locking_mode = EXCLUSIVE",  # a second server on the file is refused
    "journal_mode = WAL",
    "synchronous = FULL",  # an answered push survives a power cut
    "wal_autocheckpoint = 8000",  # 32 MiB: each checkpoint makes pushes wait for the disk
    "cache_size = -8000",
)
# SQLite's default limit is 32,766 variables; a row takes three.
_ROWS_PER_STATEMENT = 512


class Connection(Protocol):
    """What ``apsw`` and ``sqlite3`` have in common."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        """Run one statement."""
        ...

    def close(self) -> None: ...


def _connect(path: str) -> tuple[Connection, type[Exception]]:
    """Open *path* with apsw, which brings a current SQLite, or else with the standard library."""
    try:
        import apsw
    except ImportError:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False), sqlite3.Error
    return apsw.Connection(path), apsw.Error


class SqliteJournal:
    """A :class:`~pushgate.server.journal.Journal` in the file *path*."""

    def __init__(self, path: Path) -> None:
        """Open *path*, new if it is not there.

        Raises:
            StartupError: the file can't be used; the message says what to do.
        """
        self._path = path
        self._group_ids: dict[bytes, int] = {}
        self._last_group = self._last_shape = 0
        self._shapes: dict[PushShape, _Stored] = {}
        self._connection, self._error = _opened(path)
        with self._explained():
            version = self._known_format()
            for pragma in _PRAGMAS:
                self._connection.execute(f"PRAGMA {pragma}").fetchall()
            for statement in () if version else _SCHEMA:
                self._connection.execute(statement)

    def _known_format(self) -> int:
        """Return the format of the file, 0 if it is new; nothing was written yet."""
        (version,) = self._rows("PRAGMA user_version")[0]
        if version not in {0, _FORMAT}:
            raise StartupError(
                f"{self._path} was written by a newer Pushgate (format {version}): "
                "start that version, or name another --persistence.file"
            )
        if version == 0 and self._rows("SELECT name FROM sqlite_master"):
            raise StartupError(
                f"{self._path} is a database of another program: name another --persistence.file"
            )
        return int(version)

    def load(self) -> list[Group]:
        """Return every group as it was after the last append.

        Raises:
            StartupError: the file is damaged.
        """
        with self._explained():
            found = self._rows("PRAGMA quick_check(1)")
            if found != [("ok",)]:
                raise ValueError(" ".join(found[0][0].split()))
            shapes = {n: decode_shape(s) for n, s in self._rows("SELECT id, families FROM shapes")}
            self._last_shape = max(shapes, default=0)
            used: set[int] = set()

            def shape(number: int) -> PushShape:
                used.add(number)
                return shapes[number]

            groups = [
                self._loaded(number, labels, state, shape)
                for number, labels, state in self._rows("SELECT id, labels, state FROM groups")
            ]
            self._shapes = {shapes[number]: _Stored(number) for number in used}
            for one in chain.from_iterable(map(_shapes, groups)):
                self._shapes[one].users += 1
            for number in shapes.keys() - used:
                self._connection.execute("DELETE FROM shapes WHERE id = ?", (number,))
        return groups

    def append(self, steps: Sequence[Step]) -> None:
        """Make *steps* durable in one transaction with one sync.

        Without steps, find out whether the file can be written.

        Raises:
            JournalFailed: the disk did not take them; the journal is as before.
        """
        try:
            self._write(_coalesced(steps))
        except self._error as error:
            raise JournalFailed(
                f"{self._path} could not be written ({error}): free space on the disk or "
                "repair it; the gateway tries again with the next push"
            ) from error

    def close(self) -> None:
        """Checkpoint and close the file."""
        self._connection.close()

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._connection.execute(sql)]

    def _loaded(
        self, number: int, labels: bytes, state: bytes, shape: Callable[[int], PushShape]
    ) -> Group:
        self._group_ids[labels] = number
        self._last_group = max(self._last_group, number)
        return decode_group(labels, state, shape)

    def _write(self, steps: list[Step]) -> None:
        """Write *steps*, one for each group, then keep the books: they follow the file."""
        change = self._shape_change(steps)
        numbers = {shape: stored.number for shape, stored in change.new.items()}

        def shape_id(shape: PushShape) -> int:
            return numbers.get(shape) or self._shapes[shape].number

        group_ids: dict[bytes, int] = {}
        rows: list[tuple[int, bytes, bytes]] = []
        for key, after in ((step.key.packed, step.after) for step in steps):
            if after is None:
                continue
            number = self._group_ids.get(key)
            if number is None:
                number = group_ids[key] = self._last_group + len(group_ids) + 1
            rows.append((number, key, encode_group(after, shape_id)))
        gone = [step.key.packed for step in steps if step.after is None]
        self._execute(change, rows, [self._group_ids[key] for key in gone])
        self._last_group += len(group_ids)
        self._group_ids |= group_ids
        for key in gone:
            del self._group_ids[key]
        change.keep(self._shapes)
        self._last_shape += len(change.new)

    def _shape_change(self, steps: list[Step]) -> "_ShapeChange":
        users: Counter[PushShape] = Counter()
        for before, after in steps:
            if before and after and _shapes(before) == _shapes(after):
                continue
            users.update(_shapes(after))
            users.subtract(_shapes(before))
        new = [shape for shape, more in users.items() if more > 0 and shape not in self._shapes]
        first = self._last_shape + 1
        return _ShapeChange(
            users,
            {shape: _Stored(number) for number, shape in enumerate(new, first)},
            [
                s
                for s, more in users.items()
                if s in self._shapes and not self._shapes[s].users + more
            ],
        )

    def _execute(
        self, change: "_ShapeChange", rows: list[tuple[int, bytes, bytes]], gone: list[int]
    ) -> None:
        shapes = [(stored.number, encode_shape(shape)) for shape, stored in change.new.items()]
        dropped = [self._shapes[shape].number for shape in change.unused]
        statements = [
            *_inserts("INSERT INTO shapes (id, families) VALUES", shapes),
            *_inserts("REPLACE INTO groups (id, labels, state) VALUES", rows),
            *[("DELETE FROM groups WHERE id = ?", [number]) for number in gone],
            *[("DELETE FROM shapes WHERE id = ?", [number]) for number in dropped],
        ]
        if not statements:
            statements = [(_SET_FORMAT, [])]
        if len(statements) == 1:
            # Its own transaction: one call, during which other threads run.
            self._connection.execute(*statements[0])
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                self._connection.execute(*statement)
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except StartupError:
            self._connection.close()
            raise
        except (self._error, ValueError, KeyError) as error:
            self._connection.close()
            raise _unusable(self._path, error) from error


class _Stored:
    """A shape in the file, and how many blocks hold it."""

    __slots__ = ("number", "users")

    def __init__(self, number: int) -> None:
        self.number = number
        self.users = 0


class _ShapeChange(NamedTuple):
    """What a batch does to the shapes: how many users more, which are new, which go."""

    users: Counter[PushShape]
    new: dict[PushShape, _Stored]
    unused: list[PushShape]

    def keep(self, shapes: dict[PushShape, _Stored]) -> None:
        """Make the change in *shapes*."""
        shapes |= self.new
        for shape, more in self.users.items():
            if shape in shapes:
                shapes[shape].users += more
        for shape in self.unused:
            del shapes[shape]


def _shapes(group: Group | None) -> list[PushShape]:
    return [block.pushed.shape for block in group.blocks] if group else []


def _inserts(sql: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[str, list[Any]]]:
    for start in range(0, len(rows), _ROWS_PER_STATEMENT):
        some = rows[start : start + _ROWS_PER_STATEMENT]
        row = f"({','.join('?' * len(some[0]))})"
        yield f"{sql} {','.join([row] * len(some))}", list(chain.from_iterable(some))


def _coalesced(steps: Sequence[Step]) -> list[Step]:
    """Return one step for each group: from what it was before to what it is after."""
    out: dict[bytes, Step] = {}
    for step in steps:
        key = step.key.packed
        first = out.get(key)
        out[key] = step if first is None else Step(first.before, step.after)
    return [step for step in out.values() if step.before or step.after]


def _opened(path: Path) -> tuple[Connection, type[Exception]]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as error:
        raise StartupError(
            f"can't write {path}: {error.strerror}. Make the directory writable, name another "
            "file with --persistence.file, or keep metrics in memory with --persistence.file="
        ) from error
    return _connect(os.fspath(path))


def _unusable(path: Path, error: Exception) -> StartupError:
    if "locked" in str(error) or "busy" in str(error).lower():
        return in_use(path)
    return damaged(path, str(error))


def in_use(path: Path) -> StartupError:
    """Return the error that another process works with *path*."""
    return StartupError(
        f"{path} is in use by another process: stop it, or name another --persistence.file"
    )


def damaged(path: Path, reason: str) -> DamagedFile:
    """Return the error that nothing can be read from *path*."""
    return DamagedFile(
        f"{path} is damaged ({reason}): restore it from a backup, or start with "
        "--persistence.reset-damaged to move it aside and start empty"
    )


def move_aside(path: Path, now: float) -> Path:
    """Move the database *path* and its companions to ``<path>.damaged-<time>``."""
    target = path.with_name(f"{path.name}.damaged-{stamp(now)}")
    for suffix in ("", "-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(target.with_name(target.name + suffix))
    return target


def stamp(now: float) -> str:
    """Return the time *now*, in Unix seconds, as it stands in the names of files."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
