"""One connection to a real PostgreSQL: what it says, and how it comes back."""

from collections.abc import Iterator

import psycopg
import pytest

from pushgate.server.storage.database import (
    READING,
    WRITING,
    Away,
    Database,
    Refused,
    array,
    literal,
)
from tests.postgres import Postgres


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    one = Database(postgres.url)
    yield one
    one.disconnect()


def test_statements_in_one_string_answer_one_after_the_other(database):
    *_, ones, two, _ = database.start(f"{READING}SELECT 1 UNION ALL SELECT 1;SELECT 2,3;COMMIT")
    assert (ones, two) == ([(1,), (1,)], [(2, 3)])


@pytest.mark.parametrize("data", [b"", b"\0'\\\xff"])
def test_literals_mean_what_they_were_made_of(database, data):
    query = f"SELECT {literal(data)}::bytea, {array([1, -(2**63)])}::bigint[]"
    assert database.start(query) == [[(data, [1, -(2**63)])]]


def test_a_refused_statement_leaves_no_transaction_and_the_same_connection(database):
    database.start(f"{WRITING}SELECT 1")
    with pytest.raises(Refused, match="division by zero") as refused:
        database.run("SELECT 1/0")
    assert refused.value.state == "22012"
    assert database.run("SELECT pg_current_xact_id_if_assigned()") == [[(None,)]]


def test_the_start_of_a_transaction_replaces_a_connection_that_broke(database, postgres):
    [[(backend,)]] = database.start("SELECT pg_backend_pid()")
    postgres.psql(f"SELECT pg_terminate_backend({backend}, 5000)")
    [[(other,)]] = database.start("SELECT pg_backend_pid()")
    assert other != backend


def test_within_a_transaction_a_broken_connection_is_an_error(database, postgres):
    *_, [(backend,)] = database.start(f"{WRITING}SELECT pg_backend_pid()")
    postgres.psql(f"SELECT pg_terminate_backend({backend}, 5000)")
    with pytest.raises(Away):
        database.run("SELECT 1")
    with pytest.raises(Away, match="the connection was closed"):
        database.run("SELECT 1")


def test_a_warning_of_the_database_is_noticed(database):
    database.start("DO $$ BEGIN RAISE NOTICE 'fine'; END $$")
    assert not database.has_warned
    database.run("DO $$ BEGIN RAISE WARNING 'not so fine'; END $$")
    assert database.has_warned


def test_nothing_shows_the_password():
    database = Database("postgresql://user:s3cret@127.0.0.1:1/metrics")
    assert database.name == "127.0.0.1:1/metrics"
    assert database.explained(psycopg.OperationalError("s3cret is wrong")) == "xxxxx is wrong"


@pytest.mark.parametrize("url", ["no url", "postgresql://127.0.0.1/a?colour=red"])
def test_what_names_no_database_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError, match="no PostgreSQL URL") as refused:
        Database(url)
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql:///metrics", "local/metrics"),
        ("postgresql://a,b:7/m", "a,b:7/m"),
        ("postgresql://a:1,b:2/m", "a:1,b:2/m"),
        ("postgresql://me@a", "a/me"),
    ],
)
def test_a_database_is_shown_by_its_hosts_and_its_name(url, name):
    assert Database(url).name == name
