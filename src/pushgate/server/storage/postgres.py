"""The journal in a PostgreSQL database, which any number of servers share.

A turn takes two round trips: the first takes the lock of the head and brings the news, the second
writes and commits. :mod:`.schema` describes the tables.
"""

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple, TypeVar

from pushgate.errors import JournalFailed, StartupError
from pushgate.model.shape import PushShape
from pushgate.server.storage.codec import DamagedRecord, decode_group, decode_shape
from pushgate.server.storage.database import (
    COMMIT,
    READING,
    STANDBY,
    WRITING,
    Away,
    Database,
    Refused,
    Row,
    array,
    literal,
)
from pushgate.server.storage.ids import Ids, distinct_shapes, shapes_of
from pushgate.server.storage.journal import Contents, Journal, TurnLost
from pushgate.server.storage.schema import VERSION, newer, prepare
from pushgate.server.store.group import Group
from pushgate.server.store.store import News, Step

_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")

# A server that has missed more turns than this loads everything anew.
_MAX_MISSED = 10_000
# After this long without a look there may be much news: it is taken in before a turn is taken.
_CURRENT_SECONDS = 3.0
# No answer is larger than one of these, unless a row is: it is in memory several times, and other
# threads wait while it is taken apart. A turn is given up while more news than that is read.
_ROWS_AT_ONCE = 1_000
_BYTES_AT_ONCE = 4 << 20
_CHARACTERS_AT_ONCE = 4 << 20  # of a statement
_KEPT = "65 minutes"  # idempotency keys count for an hour
_TIDY_SECONDS = 10.0
_TIDY_ROWS = 2_000
# For how long to try to find out what became of a commit whose answer did not arrive.
_FIND_OUT_SECONDS = 6.0
_RETRY_SECONDS = 0.2
# What is written, and deleted, to find out whether a full disk has room again.
_TRIED_BYTES = 6000


# Index of the head among the results: the statements before it return nothing.
_HEAD_AT: Final = WRITING.count(";")


class _Part(NamedTuple):
    """Rows of *source*, a FROM clause, and what is read of them.

    The last of *columns*, which are those of *table*, is the large one, of *size* bytes.
    """

    source: str
    table: str
    id: str
    columns: tuple[str, ...]
    size: str

    def sizes(self) -> str:
        return f"SELECT {self.id}, {self.size} FROM {self.source} ORDER BY {self.id}"

    def some(self, ids: Sequence[int]) -> str:
        """Return a query for the rows *ids*, in the order of their ids."""
        return (
            f"SELECT {', '.join([self.id, *self.columns])} "
            f"FROM unnest({array(ids)}::bigint[]) AS piece ({self.id}) "
            f"LEFT JOIN {self.table} USING ({self.id}) ORDER BY {self.id}"
        )

    def unless_many(self) -> str:
        """Return a query for the same, for all rows, preceded by whether they are too many."""
        # The sums are in each row, because everything has to come in one round trip.
        *small, large = self.columns
        bounded = f"CASE WHEN sum({self.size}) OVER w <= {_BYTES_AT_ONCE} THEN {large} END"
        return (
            f"SELECT count(*) OVER w > {_ROWS_AT_ONCE} OR sum({self.size}) OVER w > "
            f"{_BYTES_AT_ONCE}, {', '.join([self.id, *small, bounded])} "
            f"FROM {self.source} WINDOW w AS () ORDER BY {self.id} LIMIT {_ROWS_AT_ONCE}"
        )


def _parts(keys: str, groups: str, shapes: str) -> tuple[_Part, _Part, _Part]:
    """Return the parts of what a journal holds, from these sources."""
    return (
        _Part(keys, "pushgate_turns", "rev", ("times", "keys"), "32 * cardinality(keys)"),
        _Part(groups, "pushgate_groups", "id", ("labels", "state"), "octet_length(state)"),
        _Part(shapes, "pushgate_shapes", "id", ("families",), "octet_length(families)"),
    )


_EVERYTHING: Final = _parts(
    keys="pushgate_turns WHERE keys IS NOT NULL", groups="pushgate_groups", shapes="pushgate_shapes"
)


class _Place(NamedTuple):
    """A position in the history of changes. Different histories have different stamps."""

    rev: int
    stamp: int


class _Known(NamedTuple):
    """A group as the database has it: its packed key, and the shapes of its blocks."""

    key: bytes
    shapes: Sequence[PushShape]


class PostgresJournal(Journal):
    """A :class:`~pushgate.server.storage.journal.Journal` in the database that *url* names."""

    is_shared = True

    def __init__(self, url: str) -> None:
        """Connect, and create the tables if they are missing.

        Raises:
            StartupError: the database can't be used; the message says what to do.
        """
        try:
            self._database = Database(url)
        except ValueError as error:
            raise StartupError(f"--persistence.url: {error}") from error
        self.losses = 0
        """How often the database was found to lack changes that this server had seen."""
        self._seen = _Place(-1, 0)
        self._ids = Ids()
        self._groups: dict[int, _Known] = {}
        self._shape_of: dict[int, PushShape] = {}
        self._tidy_at = 0.0
        self._looked_at = 0.0
        self._has_failed = False
        self._gave_up = False
        with self._as_startup_error():
            prepare(self._database)

    @property
    def name(self) -> str:
        return self._database.name

    def load(self) -> Contents:
        """Return everything as of the last turn; raise StartupError if it can't be read."""
        with self._as_startup_error():
            return self._load()

    def begin(self) -> News | None:
        # Once in a row: others may bring much news as fast as it is taken in.
        may_give_up = not self._gave_up
        is_current = time.monotonic() - self._looked_at < _CURRENT_SECONDS
        news = self.check() if may_give_up and not is_current else None
        if news is None:
            with self._as_journal_failure():
                # READ COMMITTED: queries after the lock see what was committed before it was given.
                head_query = f"{WRITING}{self._head_query()} FOR UPDATE"
                news = self._look(head_query, keeps_turn=not may_give_up)
        self._gave_up = news is not None and not news.in_turn
        return news

    def check(self) -> News | None:
        """Return what others have changed, as of one moment after this was called.

        Raises:
            JournalFailed: the database can't be reached, or does not allow it.
        """
        with self._as_journal_failure():
            # REPEATABLE READ: head and news are of one moment, without a lock.
            news = self._look(f"{READING}{self._head_query()}", ";COMMIT")
            return news and news._replace(in_turn=False)

    def write(
        self, steps: Sequence[Step], applied_keys: Mapping[bytes, int], *, replace_keys: bool
    ) -> None:
        if not steps and not applied_keys and not replace_keys:
            # Committed as well, so that it waits until a standby has what it may repeat.
            self._commit(self._seen, [*(_trial() if self._has_failed else ()), COMMIT])
            return
        batch = self._ids.batch(steps)
        # After such a gap, other servers load everything anew: they have to forget keys as well.
        gap = _MAX_MISSED if replace_keys else 0
        place = _Place(self._seen.rev + gap + 1, int.from_bytes(os.urandom(8), signed=True))
        statements = chain(
            _inserts(
                "INSERT INTO pushgate_shapes (id, families) VALUES ",
                (f"({number},{literal(shape)})" for number, shape in batch.shape_rows()),
            ),
            _inserts(
                "INSERT INTO pushgate_groups (id, labels, state) VALUES ",
                (
                    f"({number},{literal(key)},{literal(state)})"
                    for number, key, state in self._ids.group_rows(batch)
                ),
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state",
            ),
            [_FORGET_KEYS] if replace_keys else [],
            _deletion("pushgate_groups", batch.deleted),
            _deletion("pushgate_shapes", [*batch.unused.values()]),
        )
        turn = (
            "INSERT INTO pushgate_turns (rev, stamp, groups, keys, times) VALUES "
            f"({place.rev},{place.stamp},{array([*batch.groups.values()])},{_keys(applied_keys)});"
            f"UPDATE pushgate_head SET rev = {place.rev}, stamp = {place.stamp},"
            f" last_group = {batch.last_group}, last_shape = {batch.last_shape};"
            f"{COMMIT}"
        )
        self._commit(place, chain(statements, [turn]))
        # Only now: until then, a lost turn must leave everything as it was.
        self._seen = place
        self._ids.apply(batch)
        self._shape_of |= {number: shape for shape, number in batch.new.items()}
        for number in batch.unused.values():
            del self._shape_of[number]
        for step in steps:
            self._note(batch.groups[step.key.packed], step.key.packed, step.after)

    def tidy(self) -> bool:
        """Delete some of the turns that are too old to be useful, every few seconds."""
        if time.monotonic() < self._tidy_at:
            return False
        self._tidy_at = time.monotonic() + _TIDY_SECONDS
        try:
            *_, deleted, _ = self._database.start(
                f"{WRITING}DELETE FROM pushgate_turns WHERE rev <= (SELECT max(rev) FROM "
                f"(SELECT rev, at FROM pushgate_turns ORDER BY rev LIMIT {_TIDY_ROWS}) AS oldest "
                f"WHERE at < now() - interval '{_KEPT}') AND rev < (SELECT rev FROM pushgate_head) "
                "RETURNING rev;COMMIT"
            )
        except Away:  # the next turn will report it
            return False
        except Refused as error:
            _log.warning("old turns could not be deleted", extra={"err": str(error)})
            return False
        if len(deleted) == _TIDY_ROWS:
            self._tidy_at = 0.0
        return not self._tidy_at

    def close(self) -> None:
        self._database.disconnect()

    def _load(self) -> Contents:
        database = self._database
        *_, (head,) = database.start(f"{READING}{self._head_query()}")
        self._check(head)
        *_, rev, stamp, last_group, last_shape = head
        keys, found, encoded = map(self._in_pieces, _EVERYTHING)
        shapes = distinct_shapes((row[0], decode_shape(*row)) for row in encoded)
        by_id = {number: decode_group(labels, state, shapes) for number, labels, state in found}
        applied_keys = sorted(dict(_keys_with_times(keys)).items(), key=itemgetter(1))
        database.run("COMMIT")
        groups = [*by_id.values()]
        self._ids = Ids()
        self._ids.load({g.key.packed: number for number, g in by_id.items()}, shapes, groups)
        self._ids.last_group, self._ids.last_shape = last_group, last_shape
        self._shape_of, self._groups = shapes, {}
        for number, group in by_id.items():
            self._note(number, group.key.packed, group)
        self._seen = _Place(rev, stamp)
        return Contents(groups, applied_keys)

    def _in_pieces(self, part: _Part) -> Iterator[Row]:
        """Yield the rows of *part* in the order of their ids, in the transaction that was begun."""

        def size(row: Row) -> int:
            return row[1] or 0  # a group that was deleted has none

        sized = self._database.rows(part.sizes(), _ROWS_AT_ONCE)
        for some in _in_parts(sized, size, _BYTES_AT_ONCE, _ROWS_AT_ONCE):
            yield from self._database.run(part.some([number for number, _ in some]))[0]

    def _head_query(self) -> str:
        # The stamp of the last turn seen tells whether history is still the same.
        return (
            "SELECT version, pg_is_in_recovery(), "
            f"(SELECT stamp FROM pushgate_turns WHERE rev = {self._seen.rev}), "
            "rev, stamp, last_group, last_shape FROM pushgate_head"
        )

    def _missed(self) -> tuple[_Part, _Part, _Part]:
        """Return what others have written since the last look."""
        rev = self._seen.rev
        turns = f"pushgate_turns WHERE rev > {rev} AND rev <= {rev + _MAX_MISSED}"
        changed = f"(SELECT DISTINCT unnest(groups) AS id FROM {turns}) AS changed"
        return _parts(
            keys=f"{turns} AND keys IS NOT NULL",
            # A group that was deleted has no state any more.
            groups=f"{changed} LEFT JOIN pushgate_groups USING (id)",
            shapes=f"pushgate_shapes WHERE id > {self._ids.last_shape}",
        )

    def _look(self, head_query: str, end: str = "", *, keeps_turn: bool = False) -> News | None:
        """Return the news, after a query for the head that starts a transaction.

        A turn is given up, and the transaction with it, if there is much news, unless *keeps_turn*;
        and in any case if everything has to be loaded anew.
        """
        parts = self._missed()
        queries = ";".join([head_query, *(part.unless_many() for part in parts)])
        (head,), *answers = self._database.start(queries + end)[_HEAD_AT : _HEAD_AT + 4]
        found: list[Iterable[Row]] = [[row[1:] for row in rows] for rows in answers]
        is_much = any(rows and rows[0][0] for rows in answers)
        gives_up = is_much and not keeps_turn
        if gives_up:
            self._database.roll_back()
            *_, (head,) = self._database.start(f"{READING}{self._head_query()}")
        if is_much:
            found = [*map(self._in_pieces, parts)]
        self._check(head)
        *_, last_stamp, rev, stamp, last_group, last_shape = head
        is_known = last_stamp == self._seen.stamp or self._seen == (rev, stamp)
        if not is_known or rev > self._seen.rev + _MAX_MISSED:
            differs = last_stamp not in {None, self._seen.stamp}
            return self._reload(is_loss=differs or rev < self._seen.rev)
        news = None
        if self._seen != (rev, stamp):
            keys, groups, shapes = found
            applied_keys = _keys_with_times(keys)
            # The last to read: from then on nothing may fail.
            changed = self._take_in(groups, shapes)
            news = News(changed, applied_keys, in_turn=not gives_up)
        if gives_up:
            self._database.roll_back()
        self._ids.last_group, self._ids.last_shape = last_group, last_shape
        self._seen = _Place(rev, stamp)
        self._looked_at = time.monotonic()
        return news

    def _take_in(
        self, groups: Iterable[Row], encoded: Iterable[Row]
    ) -> list[tuple[bytes, Group | None]]:
        """Return the groups that changed, and note them and their shapes."""
        shapes = distinct_shapes(
            ((row[0], decode_shape(*row)) for row in encoded), self._ids.shapes
        )
        self._shape_of |= shapes
        found = [
            (number, labels, None if state is None else decode_group(labels, state, self._shape_of))
            for number, labels, state in groups
        ]
        uses: Counter[PushShape] = Counter()
        changed: list[tuple[bytes, Group | None]] = []
        for number, labels, group in found:
            old = self._groups.get(number)
            if old is not None:
                uses.subtract(old.shapes)
            elif group is None:
                continue  # it was created and deleted between two looks
            uses.update(shapes_of(group))
            key = old.key if old else labels
            changed.append((key, group))
            self._note(number, key, group)
            if group is None:
                del self._ids.groups[key]
            else:
                self._ids.groups[key] = number
        for number in self._ids.follow(shapes, uses):
            del self._shape_of[number]
        return changed

    def _reload(self, *, is_loss: bool) -> News:
        """Load everything anew: the last turn that this server saw is no longer there."""
        self._database.roll_back()
        before = [known.key for known in self._groups.values()]
        contents = self._load()
        changed: list[tuple[bytes, Group | None]]
        changed = [(group.key.packed, group) for group in contents.groups]
        if is_loss:  # said now, because whatever fails is tried again
            self.losses += 1
            _log.error(
                "the database has lost changes that this server had seen (a standby without them "
                "was promoted, or a backup restored); everything was loaded anew",
                extra={"database": self.name},
            )
        else:
            _log.warning(
                "this server has missed too many changes, or a backup was restored; everything "
                "was loaded anew",
                extra={"database": self.name},
            )
        changed += [(key, None) for key in before if key not in self._ids.groups]
        return News(changed, contents.applied_keys, is_all=True)

    def _note(self, number: int, key: bytes, group: Group | None) -> None:
        """Remember what the database has for a group."""
        if group is None:
            del self._groups[number]
        else:
            self._groups[number] = _Known(key, shapes_of(group))

    def _commit(self, place: _Place, statements: Iterable[str]) -> None:
        """Run *statements*, the last of which commits; from then on, *place* is the last turn."""
        self._has_failed = True
        pending: list[str] = []
        with self._as_journal_failure():
            try:
                for statement in statements:
                    if sum(map(len, pending)) > _CHARACTERS_AT_ONCE:
                        self._database.run(";".join(pending))
                        pending = []
                    pending.append(statement)
            except Away as error:
                raise TurnLost(self._cause(error)) from error
            try:
                self._database.run(";".join(pending))
            except Away as error:
                if not self._was_committed(place):
                    raise TurnLost(self._cause(error)) from error
            if self._database.has_warned:
                # PostgreSQL warns if it stopped waiting for the standby: the commit may get lost.
                raise JournalFailed(f"{self.name} committed with a warning", unknown=True)
        self._has_failed = False

    def _was_committed(self, place: _Place) -> bool:
        """Find out whether the turn at *place* was committed before the connection broke."""
        give_up = time.monotonic() + _FIND_OUT_SECONDS
        while True:
            try:
                # The lost transaction held this lock, so it has ended when the lock is given. It
                # may have ended without its standby, for which this commit waits.
                *_, found, _, _ = self._database.start(
                    f"{WRITING}SELECT 1 FROM pushgate_head FOR UPDATE;SELECT 1 FROM pushgate_turns"
                    f" WHERE rev = {place.rev} AND stamp = {place.stamp};{COMMIT}"
                )
            except (Away, Refused) as error:
                if time.monotonic() >= give_up:
                    raise JournalFailed(self._cause(error), unknown=True) from error
                time.sleep(_RETRY_SECONDS)
            else:
                return bool(found)

    def _check(self, head: Row) -> None:
        version, is_standby, *_ = head
        if version > VERSION:
            raise newer(self._database, version)
        if is_standby:  # it may lack what was acknowledged
            raise ValueError(STANDBY)

    def _cause(self, error: Exception) -> str:
        return f"database {self.name}: {error}"

    @contextmanager
    def _as_journal_failure(self) -> Iterator[None]:
        """If the block fails, end the transaction, and raise the JournalFailed that says why."""
        try:
            yield
        except (Away, Refused, ValueError, StartupError) as error:
            self._database.roll_back()
            raise JournalFailed(self._cause(error)) from error
        except BaseException:
            self._database.roll_back()
            raise

    @contextmanager
    def _as_startup_error(self) -> Iterator[None]:
        """If the block fails, disconnect, and raise the StartupError that says what to do."""
        try:
            yield
        except (Away, Refused, ValueError, StartupError) as error:
            self._database.disconnect()
            if isinstance(error, StartupError):
                raise
            advice = _DEFAULT_ADVICE
            if isinstance(error, DamagedRecord):
                advice = _RESTORE
            elif isinstance(error, Refused) and error.state == _NOT_ALLOWED:
                advice = _GRANT
            raise StartupError(f"can't use the {self._cause(error)}; {advice}") from error


_NOT_ALLOWED: Final = "42501"
_GRANT: Final = "grant the role the right to create tables, or to use the existing ones"
_RESTORE: Final = (
    "it is damaged: restore the database from a backup; before pushgate restore, drop its tables: "
    "pushgate_head, pushgate_turns, pushgate_groups, pushgate_shapes"
)
_DEFAULT_ADVICE: Final = "check --persistence.url, and that the database runs and accepts the role"


def _keys_with_times(rows: Iterable[Row]) -> list[tuple[bytes, int]]:
    return [pair for _, times, keys in rows for pair in zip(keys, times, strict=True)]


def _trial() -> Iterator[str]:
    """Yield statements that fail without room in the files of the groups, and leave nothing."""
    # Random bytes, which can't be compressed: too many to be stored in the row itself.
    row = f"(0,'',{literal(os.urandom(_TRIED_BYTES))})"
    yield f"INSERT INTO pushgate_groups (id, labels, state) VALUES {row}"
    yield "DELETE FROM pushgate_groups WHERE id = 0"


def _inserts(head: str, rows: Iterable[str], tail: str = "") -> Iterator[str]:
    """Yield statements that insert *rows*, each of a bounded size unless a row is larger."""
    # A statement is a text in memory on both sides.
    for some in _in_parts(rows, len, _CHARACTERS_AT_ONCE):
        yield head + ",".join(some) + tail


def _in_parts(
    items: Iterable[_Item], size: Callable[[_Item], int], most: int, count: int = sys.maxsize
) -> Iterator[list[_Item]]:
    """Yield *items* in lists that end as soon as their *size* exceeds *most*, or at *count*."""
    part: list[_Item] = []
    total = 0
    for item in items:
        part.append(item)
        total += size(item)
        if total > most or len(part) == count:
            yield part
            part, total = [], 0
    if part:
        yield part


_FORGET_KEYS = "UPDATE pushgate_turns SET keys = NULL, times = NULL WHERE keys IS NOT NULL"


def _deletion(table: str, ids: Sequence[int]) -> Iterator[str]:
    if ids:
        yield f"DELETE FROM {table} WHERE id = ANY({array(ids)}::bigint[])"


def _keys(keys: Mapping[bytes, int]) -> str:
    if not keys:
        return "NULL,NULL"
    return f"ARRAY[{','.join(map(literal, keys))}]::bytea[],{array([*keys.values()])}"
