"""A connection to PostgreSQL that never hangs, reconnects by itself, and explains its errors.

Nothing is kept in the session, so PgBouncer may give each transaction another one: there are no
prepared statements and no session locks, and settings are made with ``SET LOCAL`` only. All SQL is
sent as simple queries of several statements, because round trips are most of the cost of a turn.
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

# How long the database may take for an answer, whatever hangs: itself, the network, a proxy.
_ANSWER_SECONDS = 10.0
_CONNECT_SECONDS = 3
# A server that freezes in its turn loses the turn after the first of these, before the others,
# which wait for the lock, give up. All are shorter than _ANSWER_SECONDS, so that the database
# reports a timeout before the connection is given up.
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
"""A commit that may wait for a standby: a timeout would end the wait, but not undo the commit."""

# The SQLSTATEs of a write on a standby, and of BEGIN READ WRITE there.
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
        # If the URL names several hosts, libpq has to find the primary.
        defaults: dict[str, Any] = {
            "target_session_attrs": "read-write",
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "pushgate",
        }
        self._conninfo = make_conninfo(**(defaults | given))
        self.name = _name(given)
        """Host and name of the database, for messages."""
        self._connection: _Connection | None = None
        self.has_warned = False
        """Whether the database answered the last :meth:`run` with a warning."""

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
            except Hangs:  # the caller has waited long enough
                raise
            except Away:
                pass
        try:
            # psycopg would prepare a statement after some uses, in the session.
            self._connection = _Connection.connect(
                self._conninfo, autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise Away(self.explained(error)) from error
        self._connection.add_notice_handler(self._note)
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
        except BaseException:  # interrupted: the next statement would get this one's answer
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
            # A named cursor is one in the server, so that memory holds *at_once* rows.
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
        # The further lines are of use only where several hosts failed.
        said = " ".join([first, *map(str.strip, more)]) if first.endswith(":") else first
        if "session is read-only" in said:
            said += f": default_transaction_read_only is on, or {STANDBY}"
        elif error.sqlstate in _READ_ONLY:
            said += f": {STANDBY}"
        for secret in self._secrets:
            said = said.replace(secret, "xxxxx")
        return said

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
        """Drive *gen*, as psycopg does, within the time. After it, the connection is busy."""
        return super().wait(gen, interval, timeout or _ANSWER_SECONDS)

    def cut(self) -> None:
        """Close the connection without sending anything, which could block."""
        with (
            suppress(OSError, psycopg.Error),
            # A duplicate, because libpq closes its own descriptor.
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
