"""A connection to PostgreSQL that never hangs, comes back by itself, and says what is wrong.

Nothing is kept in the session, so PgBouncer may hand each transaction to another one: no
prepared statements, no session locks, settings with ``SET LOCAL`` only. All SQL is sent as
simple queries, several statements at once: a round trip is what a turn mostly costs.
"""

import os
import socket
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

_T = TypeVar("_T")

# How long the database may take for an answer, whatever hangs: it, the network, a proxy.
_ANSWER_SECONDS = 10.0
_CONNECT_SECONDS = 3
# A server that is frozen in its turn loses it after the first of these, and the others, which
# wait for the lock, go on.
_LIMITS: Final = (
    "SET LOCAL idle_in_transaction_session_timeout = '5s';"
    "SET LOCAL lock_timeout = '8s';"
    "SET LOCAL statement_timeout = '9s';"
    "SET LOCAL standard_conforming_strings = on;"
)
WRITING: Final = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;{_LIMITS}"
"""Starts a transaction in which each statement sees what is committed before it."""
READING: Final = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;{_LIMITS}"
"""Starts a transaction that sees one state."""
COMMIT: Final = "SET LOCAL statement_timeout = 0;COMMIT"
"""A commit that waits for a standby: the timeout would only end the wait, not undo it."""

# The SQLSTATEs of a write to a standby, and of BEGIN READ WRITE there.
_READ_ONLY: Final = ("25006", "0A000")
STANDBY: Final = "it is a standby; name the primary, or all hosts"
"""What is wrong with a database that follows another one."""

Row = tuple[Any, ...]


class Away(Exception):
    """The database can't be reached, or the connection broke; the message is one line."""


class Hangs(Away):
    """The database did not answer in time."""


class Refused(Exception):
    """The database did not do what it was asked for; the message is one line.

    ``state`` is the SQLSTATE. https://www.postgresql.org/docs/current/errcodes-appendix.html
    """

    def __init__(self, why: str, state: str) -> None:
        super().__init__(why)
        self.state = state


class Database:
    """The database that *url* names. Used from one thread at a time."""

    def __init__(self, url: str) -> None:
        """Remember *url*; the first use connects.

        Raises:
            ValueError: it names no database; the message does not repeat it.
        """
        try:
            given = conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise ValueError("it is no PostgreSQL URL, or has an unknown parameter") from error
        self._secrets = [str(v) for k, v in given.items() if k.endswith("password") and v]
        # Of several hosts, only the primary will do.
        defaults: dict[str, str | int] = {
            "target_session_attrs": "read-write",
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "pushgate",
        }
        self._conninfo = make_conninfo(
            url, **{k: v for k, v in defaults.items() if given.get(k) is None}
        )
        self.name = _name(given)
        """Host and name of the database, to be shown."""
        self._connection: _Connection | None = None
        self.has_warned = False
        """Whether the database answered the last :meth:`run` with a warning."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection that is not known to be broken."""
        return self._connection is not None

    def start(self, sql: str) -> list[list[Row]]:
        """Run statements that start a transaction, and return the rows of each.

        Connects if there is no connection. One that has gone stale is replaced.

        Raises:
            Away: the database can't be reached.
            Refused: one of the statements failed; there is no transaction.
        """
        if self._connection is not None:
            try:
                return self.run(sql)
            except Hangs:  # who waits for an answer has waited long enough
                raise
            except Away:
                pass
        self._connection = self._connect()
        return self.run(sql)

    def run(self, sql: str) -> list[list[Row]]:
        """Run statements, and return the rows of each.

        Raises:
            Away: the connection is gone; it is unknown how far they got.
            Refused: one of them failed. The transaction, if there was one, is rolled back.
        """
        if self._connection is None:
            raise Away("the connection was closed")
        self.has_warned = False
        try:
            cursor = self._connection.execute(sql.encode())
            results = [cursor.fetchall() if cursor.description else []]
            while cursor.nextset():
                results.append(cursor.fetchall() if cursor.description else [])
            return results
        except psycopg.Error as error:
            raise self._failure(error) from error
        except BaseException:
            self.disconnect()
            raise

    def rows(self, sql: str, at_once: int) -> Generator[Row, None, None]:
        """Yield the rows of a query in the transaction that :meth:`run` has started.

        Raises:
            Away: the connection broke.
            Refused: the query failed.
        """
        assert self._connection is not None
        try:
            with self._connection.cursor("pushgate", binary=True) as cursor:
                cursor.itersize = at_once
                cursor.execute(sql.encode())
                yield from cursor
        except psycopg.Error as error:
            raise self._failure(error) from error

    def roll_back(self) -> None:
        """End the transaction, if there is one, without its changes."""
        connection = self._connection
        if connection is None or connection.info.transaction_status == TransactionStatus.IDLE:
            return
        try:
            connection.execute(b"ROLLBACK")
        except psycopg.Error:
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; the next use opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cut()

    def explained(self, error: psycopg.Error) -> str:
        """Return in one line why *error* happened, without secrets."""
        said = error.diag.message_primary or str(error) or type(error).__name__
        first, *more = said.splitlines()
        # Only where several hosts failed, the further lines tell more.
        said = " ".join([first, *map(str.strip, more)]) if first.endswith(":") else first
        if error.sqlstate in _READ_ONLY or "session is read-only" in said:
            said += f": {STANDBY}"
        for secret in self._secrets:
            said = said.replace(secret, "xxxxx")
        return said

    def _connect(self) -> "_Connection":
        try:
            connection = _Connection.connect(
                self._conninfo, autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise Away(self.explained(error)) from error
        connection.add_notice_handler(self._note)
        return connection

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        self.has_warned = self.has_warned or notice.severity_nonlocalized == "WARNING"

    def _failure(self, error: psycopg.Error) -> Away | Refused:
        connection = self._connection
        is_busy = connection and connection.info.transaction_status == TransactionStatus.ACTIVE
        if connection is None or connection.closed or is_busy:
            self.disconnect()
            if is_busy:
                return Hangs(f"no answer within {_ANSWER_SECONDS:g} seconds")
            return Away(self.explained(error))
        self.roll_back()
        return Refused(self.explained(error), error.sqlstate or "")


class _Connection(psycopg.Connection[Row]):
    """A connection on which nothing waits longer than :data:`_ANSWER_SECONDS`."""

    def wait(
        self, gen: PQGen[_T], interval: float = _ANSWER_SECONDS, timeout: float | None = None
    ) -> _T:
        """Drive *gen*, as psycopg demands. After the end of the time, the connection is busy."""
        return super().wait(gen, interval, timeout or _ANSWER_SECONDS)

    def cut(self) -> None:
        """Close the connection without a word that could block."""
        with (
            suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(self.pgconn.socket)) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)
        self.close()


def _name(given: dict[str, Any]) -> str:
    hosts = str(given.get("host") or given.get("hostaddr") or "").split(",")
    ports = str(given.get("port") or "").split(",")
    if len(ports) < len(hosts):
        ports = ports[:1] * len(hosts)
    shown = ",".join(
        f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=False)
    )
    return f"{shown or 'local'}/{given.get('dbname') or given.get('user') or ''}"


def literal(data: bytes) -> str:
    """Return *data* as a literal of the type ``bytea``."""
    return f"'\\x{data.hex()}'"


def array(numbers: Sequence[int]) -> str:
    """Return *numbers* as a literal of the type ``bigint[]``."""
    return f"'{{{','.join(map(str, numbers))}}}'"
