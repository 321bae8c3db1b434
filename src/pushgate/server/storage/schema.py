"""The tables in a PostgreSQL database, and how each version of them is made from the one before.

* ``pushgate_head``: one row, the last turn. Only the server that holds its lock changes anything.
  ``stamp`` is random: a database that lost the end of its history and went on from there has other
  stamps.
* ``pushgate_turns``: one row for each turn of the last hour. ``groups`` has the ids of the groups
  that it changed; those that are no longer in ``pushgate_groups`` were deleted.
* ``pushgate_groups`` and ``pushgate_shapes``: as in a file, see :mod:`.codec`. An id is never
  assigned twice.

No index has a column that changes, and pages have room, so that updates stay within their page
(HOT), and most of what they leave behind is cleaned up without vacuum.
"""

from typing import Final

from pushgate.errors import StartupError
from pushgate.server.storage.database import READING, WRITING, Database

# The tables are small and change all the time; the default of 20 % would let them grow.
_OFTEN = "autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0"

_VERSIONS: Final = (
    f"""
    CREATE TABLE pushgate_head (
        version integer NOT NULL,
        rev bigint NOT NULL,
        stamp bigint NOT NULL,
        last_group bigint NOT NULL,
        last_shape bigint NOT NULL
    ) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, {_OFTEN});
    CREATE TABLE pushgate_turns (
        rev bigint PRIMARY KEY,
        stamp bigint NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        groups bigint[] NOT NULL,
        keys bytea[],
        times bigint[]
    ) WITH ({_OFTEN});
    CREATE TABLE pushgate_groups (
        id bigint PRIMARY KEY,
        labels bytea NOT NULL,
        state bytea NOT NULL
    ) WITH (fillfactor = 70, {_OFTEN}, toast.autovacuum_vacuum_scale_factor = 0.05);
    CREATE TABLE pushgate_shapes (
        id bigint PRIMARY KEY,
        families bytea NOT NULL
    ) WITH ({_OFTEN});
    INSERT INTO pushgate_head VALUES (0, 0, (random() * 1e18)::bigint, 0, 0);
    INSERT INTO pushgate_turns (rev, stamp, groups) SELECT rev, stamp, '{{}}' FROM pushgate_head;
    """,
    # The tables stay. A group may have blocks with the times of several pushes, which servers of
    # version 1 can't read.
    "",
)
VERSION: Final = len(_VERSIONS)
"""The version of the tables that this program reads and writes."""

# Servers that start at the same time make the tables once. The number is "pushgate" in ASCII.
_ONE_AT_A_TIME = f"SELECT pg_advisory_xact_lock({int.from_bytes(b'pushgate')})"


def prepare(database: Database) -> None:
    """Create the tables that are missing, or bring them to this version.

    Raises:
        StartupError: they are newer.
        Away: the database can't be reached.
        Refused: it does not allow that.
    """
    database.start(READING)
    version = _version(database)
    database.run("COMMIT")
    if version > VERSION:
        raise newer(database, version)
    if version < VERSION:
        database.start(f"{WRITING}{_ONE_AT_A_TIME}")
        version = _version(database)
        if version:
            # Waits for the turn in progress: nobody writes to tables that are being changed.
            database.run("SELECT 1 FROM pushgate_head FOR UPDATE")
        for number, sql in enumerate(_VERSIONS[version:], version + 1):
            database.run(f"{sql};UPDATE pushgate_head SET version = {number}")
        database.run("COMMIT")


def newer(database: Database, version: int) -> StartupError:
    """Return the error that the tables are of a newer *version*."""
    return StartupError(
        f"the tables in the database {database.name} are of a newer Pushgate (version {version}): "
        "start that version, or name another --persistence.url"
    )


def _version(database: Database) -> int:
    """Return the version of the tables, 0 if there are none."""
    # Not to_regclass(), which may not see yet what another session has just created.
    (found,) = database.run(
        "SELECT 1 FROM pg_class WHERE relname = 'pushgate_head' AND pg_table_is_visible(oid)"
    )
    if not found:
        return 0
    (((version,),),) = database.run("SELECT version FROM pushgate_head")
    return int(version)
