"""The real PostgreSQL that tests use does what they rely on."""

import pytest

from tests.postgres import GUARDED, PASSWORD, Postgres


def test_each_database_is_empty(postgres):
    one, other = postgres.database(), postgres.database()
    postgres.psql("CREATE TABLE t (n int)", one)

    assert postgres.psql("SELECT count(*) FROM pg_tables WHERE tablename = 't'", other) == "0"


def test_an_error_says_what_the_server_said(postgres):
    with pytest.raises(RuntimeError, match=r"relation .nothing. does not exist"):
        postgres.psql("SELECT * FROM nothing")


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_what_was_committed_is_there_after_a_stop(how):
    with Postgres.running() as cluster:
        cluster.psql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        cluster.stop(how)
        with pytest.raises(RuntimeError, match="refused"):
            cluster.psql("SELECT 1")
        cluster.start()

        assert cluster.psql("SELECT n FROM t") == "7"


def test_a_synchronous_standby_has_everything_when_it_is_promoted():
    with Postgres.running() as primary:
        standby = primary.standby(synchronous=True)
        primary.psql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        primary.stop("kill")
        standby.promote()
        standby.psql("INSERT INTO t VALUES (8)")

        assert standby.psql("SELECT n FROM t ORDER BY n") == "7\n8"


def test_a_guarded_role_needs_its_password(postgres):
    assert postgres.psql("SELECT 1", user=f"{GUARDED}:{PASSWORD}") == "1"
    with pytest.raises(RuntimeError, match="password authentication failed"):
        postgres.psql("SELECT 1", user=f"{GUARDED}:wrong")
