"""The journal in a real PostgreSQL: servers that take turns have one history."""

import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from pushgate.errors import InconsistentPush, JournalFailed, StartupError
from pushgate.model.slices import finished
from pushgate.server.storage import database, postgres as postgres_journal
from pushgate.server.storage.journal import TurnLost
from pushgate.server.storage.postgres import PostgresJournal
from pushgate.server.storage.schema import VERSION
from pushgate.server.store.change import Change, Delete, Fail, Merge, Replace
from pushgate.server.store.group import Failure, Group
from pushgate.server.store.store import News, Step, Store
from tests.postgres import GUARDED, Postgres
from tests.server.pushes import apart, content, key, post, pushed, put
from tests.tcpproxy import proxied
from tests.waiting import until

_opened: list[PostgresJournal] = []


def opened(url: str) -> PostgresJournal:
    """A journal that is closed at the end of the test."""
    _opened.append(PostgresJournal(url))
    return _opened[-1]


@pytest.fixture(autouse=True)
def closed():
    yield
    close_all()


def close_all() -> None:
    while _opened:
        _opened.pop().close()


class Server:
    """A journal, and the store that follows it, without a gateway."""

    def __init__(self, url: str) -> None:
        self.journal = opened(url)
        self.store = Store()
        self.store.load(*self.journal.load())

    def look(self) -> News | None:
        return self.take_in(self.journal.check())

    def begin(self) -> None:
        """Take a turn, with all news before it."""
        while (news := self.take_in(self.journal.begin())) and not news.in_turn:
            pass

    def take_in(self, news: News | None) -> News | None:
        if news is not None:
            finished(self.store.renewal(news))
        return news

    def turn(self, *changes: Change) -> None:
        """Append *changes* in one turn, and make them visible; those that fail do nothing."""
        self.begin()
        self.append(*changes)

    def append(self, *changes: Change) -> None:
        steps = [step for one in changes for step in admitted(self.store, one)]
        try:
            self.journal.append(steps)
        except Exception:
            finished(self.store.withdrawal(reversed(steps)))
            raise
        self.store.apply(steps)


def admitted(store: Store, one: Change) -> list[Step]:
    try:
        return store.admit(one)
    except InconsistentPush as error:
        return store.admit(Fail(one.key, one.time, Failure(str(error), one.source)))


def whole(group: Group) -> tuple:
    """Everything that is stored of *group*."""
    times = group.pushed_at, group.failed_at, group.since
    return group.key, times, group.failure, group.history, content(group)


def state(store: Store) -> list[tuple]:
    return [whole(group) for group in store.groups()]


@pytest.fixture(scope="module")
def database_name(postgres):
    return postgres.database()


@pytest.fixture
def name(postgres, database_name):
    """The name of a database that is empty: emptying one is much cheaper than making one."""
    emptied(postgres, database_name)
    return database_name


def emptied(postgres: Postgres, name: str) -> None:
    tables = ("head", "turns", "groups", "shapes", "kept", "kept_groups")
    postgres.psql(f"DROP TABLE IF EXISTS {','.join(f'pushgate_{each}' for each in tables)}", name)


@pytest.fixture
def url(postgres, name):
    return postgres.url_of(name)


@pytest.fixture
def servers(url):
    """Two servers that share a database."""
    return [Server(url) for _ in range(2)]


def test_a_new_database_is_empty_and_has_no_news(servers):
    one, _ = servers
    assert (one.journal.load(), one.journal.check()) == (([], []), None)


def test_what_one_server_appended_another_has_with_everything_that_pages_show(servers, url):
    one, other = servers
    one.turn(put(key("a"), "m 1\n", 5), Fail(key("b"), 6, Failure("is bad", "::1")))
    assert other.look() is not None
    assert state(other.store) == state(one.store)
    assert len(other.store) == 2
    one.turn(Delete(key("a")), put(key("b"), "n 2\n", 7))
    other.look()
    assert state(other.store) == state(one.store) == state(Server(url).store)
    assert other.look() is None


def test_own_turns_are_no_news(servers):
    one, other = servers
    one.turn(put(key("a"), "m 1\n"))
    assert one.journal.check() is None
    other.turn(put(key("b"), "m 1\n"))
    news = one.journal.check()
    assert [packed for packed, _ in news.groups] == [key("b").packed]


def test_a_turn_brings_the_news_that_it_is_admitted_against(servers):
    one, other = servers
    one.turn(put(key("a"), "# TYPE m gauge\nm 1\n"))
    other.turn(put(key("b"), "# TYPE m counter\nm 1\n", 9))
    assert other.store.get(key("b")).failed_at == 9
    one.look()
    assert state(one.store) == state(other.store)


def test_a_turn_that_changes_nothing_leaves_no_trace(servers):
    one, other = servers
    one.turn()
    one.turn(Delete(key("a")))
    one.begin()
    one.journal.append([])
    assert other.journal.check() is None


def test_a_group_that_came_and_went_between_two_looks_is_no_news(servers):
    one, other = servers
    one.turn(put(key("a"), "m 1\n"))
    one.turn(Delete(key("a")))
    assert other.journal.check().groups == []


def test_groups_that_were_deleted_and_pushed_anew_between_two_looks_are_the_new_ones(servers):
    one, other = servers
    keys = [key(f"job{number}") for number in range(50)]
    one.turn(*[put(each, "m 1\n") for each in keys])
    other.look()
    for each in keys:
        one.turn(Delete(each))
        one.turn(put(each, "m 2\n"))
    other.look()
    assert state(other.store) == state(one.store)
    other.turn(*[put(each, "m 3\n") for each in keys])
    one.look()
    assert state(one.store) == state(other.store)
    assert len(one.store) == len(keys)


def test_servers_agree_who_uses_which_of_several_shapes_with_the_same_families(servers, url):
    one, other = servers
    one.turn(*[Replace(key(job), apart(pushed("m 1\n")), 1) for job in "abc"])
    other.look()
    for job in "cba":
        one.turn(Delete(key(job)))
        other.turn(put(key(f"{job}2"), "m 3\n", 3))
        one.look()
        assert state(one.store) == state(other.store) == state(Server(url).store)


def test_only_one_server_at_a_time_has_the_turn(servers):
    one, other = servers
    one.begin()
    began = threading.Event()
    thread = threading.Thread(target=lambda: (other.begin(), began.set()), daemon=True)
    thread.start()
    assert not began.wait(0.1)
    one.append(put(key("a"), "m 1\n"))
    assert began.wait(10)
    assert other.store.get(key("a"))
    other.journal.append([])


def test_idempotency_keys_are_news_and_survive(servers, url):
    one, other = servers
    one.begin()
    steps = [step._replace(once=b"k") for step in one.store.admit(put(key("a"), "m 1\n", 7))]
    one.journal.append(steps)
    assert other.journal.check().applied_keys == [(b"k", 7)]
    assert opened(url).load().applied_keys == [(b"k", 7)]


groups = st.sampled_from([key("a"), key("b"), key("b", instance="1")])
bodies = st.sampled_from(["", "m 1\n", "# TYPE m counter\nm 2\n", 'm{x="1"} 3\nn 4\n', "o 5\n"])
changes = (
    st.builds(put, groups, bodies) | st.builds(post, groups, bodies) | st.builds(Delete, groups)
)
acts = st.tuples(st.integers(0, 2), st.none() | st.lists(changes, max_size=3))


@given(st.lists(acts, max_size=12))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_turns_and_looks_of_three_servers_are_one_history(postgres, database_name, history):
    emptied(postgres, database_name)
    url = postgres.url_of(database_name)
    servers, serial = [Server(url) for _ in range(3)], Store()
    for who, batch in history:
        if batch is None:
            servers[who].look()
            continue
        servers[who].turn(*batch)
        for one in batch:
            serial.apply(admitted(serial, one))
        assert state(servers[who].store) == state(serial)
    for each in servers:
        each.look()
    servers.append(Server(url))
    assert [state(each.store) for each in servers] == [state(serial)] * 4
    assert all(each.store.series == serial.series for each in servers)
    used = {block.pushed.shape for group in serial.groups() for block in group.blocks}
    assert int(
        postgres.psql("SELECT count(*) FROM pushgate_shapes", url.rpartition("/")[2])
    ) == len(used)
    close_all()


def test_updates_stay_within_their_page(servers, postgres, name):
    one, _ = servers
    for number in range(300):
        one.turn(put(key("a"), f"m {number}\n"))
    one.journal.close()
    query = (
        "SELECT min(n_tup_upd), bool_and(n_tup_upd = n_tup_hot_upd) FROM pg_stat_user_tables "
        "WHERE relname IN ('pushgate_head', 'pushgate_groups')"
    )
    until(lambda: postgres.psql(query, name) == "299|t")  # the statistics come late


def test_a_large_batch_is_one_turn(servers, monkeypatch):
    monkeypatch.setattr(postgres_journal, "_CHARACTERS_AT_ONCE", 100)
    one, other = servers
    one.turn(*[put(key(f"j{number}"), f"m {number}\n") for number in range(50)])
    assert len(other.look().groups) == 50
    assert state(other.store) == state(one.store)


def test_what_a_lost_connection_had_written_of_a_large_batch_is_gone(servers, monkeypatch, url):
    monkeypatch.setattr(postgres_journal, "_CHARACTERS_AT_ONCE", 100)
    one, _ = servers
    one.begin()
    batch = [put(key(f"j{number}"), "m 1\n") for number in range(50)]
    steps = [step for each in batch for step in one.store.admit(each)]
    run, calls = one.journal._database.run, []

    def breaks(sql: str):
        calls.append(sql)
        if len(calls) == 3:
            one.journal._database.disconnect()
        return run(sql)

    monkeypatch.setattr(one.journal._database, "run", breaks)
    with pytest.raises(TurnLost):
        one.journal.append(steps)
    assert Server(url).journal.load().groups == []


def test_a_database_without_room_is_no_journal_that_works(servers, postgres, name):
    full = (
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'No space left on device' USING ERRCODE = '53100'; END $$;"
        "CREATE TRIGGER no_room BEFORE INSERT ON pushgate_groups EXECUTE FUNCTION fail()"
    )
    postgres.psql(full, name)
    one, other = servers
    with pytest.raises(JournalFailed, match="No space left"):
        one.turn(put(key("a"), "m 1\n"))
    with pytest.raises(JournalFailed, match="No space left"):
        one.turn()
    other.turn()  # it has not failed, and so need not try
    postgres.psql("DROP FUNCTION fail CASCADE", name)
    one.turn()
    assert other.look() is None
    one.turn(put(key("a"), "m 1\n"))
    other.look()
    assert state(other.store) == state(one.store)


@pytest.mark.parametrize("limit", ["_ROWS_AT_ONCE", "_BYTES_AT_ONCE"])
def test_long_news_are_taken_in_without_keeping_the_turn(servers, monkeypatch, limit):
    monkeypatch.setattr(postgres_journal, limit, 3)
    one, other = servers
    one.turn(*[put(key(f"j{number}"), "m 1\n") for number in range(4)])
    assert not other.take_in(other.journal.begin()).in_turn
    one.turn(put(key("more"), "m 1\n"))  # would wait for the lock otherwise
    other.turn(put(key("mine"), "m 1\n"))
    one.look()
    assert state(one.store) == state(other.store)


def test_a_turn_comes_even_while_others_bring_long_news_again_and_again(servers, monkeypatch):
    monkeypatch.setattr(postgres_journal, "_ROWS_AT_ONCE", 3)
    one, other = servers
    for number in range(2):
        one.turn(*[put(key(f"j{each}"), f"m {number}\n") for each in range(4)])
        news = other.take_in(other.journal.begin())
        other.journal._looked_at -= 60  # it takes its time
    assert news.in_turn
    other.append(put(key("mine"), "m 1\n"))
    one.look()
    assert state(one.store) == state(other.store)


def test_long_news_whose_connection_breaks_are_all_taken_in_later(servers, monkeypatch):
    one, other = servers
    one.turn(*[put(key(f"j{number}"), f"m{number} 1\n") for number in range(10)])
    other.look()
    one.begin()
    changes = [
        *[post(key(f"j{number}"), f"n{number} 1\n") for number in range(9)],
        Delete(key("j9")),
    ]
    steps = [step for each in changes for step in one.store.admit(each)]
    one.journal.append([step._replace(once=step.key.packed) for step in steps])
    one.store.apply(steps)
    monkeypatch.setattr(postgres_journal, "_ROWS_AT_ONCE", 3)
    run, left = other.journal._database.run, 0

    def breaks(sql: str):
        nonlocal left
        left -= 1
        if left == 0:
            other.journal._database.disconnect()
        return run(sql)

    monkeypatch.setattr(other.journal._database, "run", breaks)
    for call in range(3, 8):  # the first two start transactions
        left = call
        with pytest.raises(JournalFailed):
            other.look()
    news = other.look()
    assert state(other.store) == state(one.store)
    assert [once for once, _ in news.applied_keys] == [step.key.packed for step in steps[:9]]


def test_a_server_that_did_not_look_for_long_catches_up_before_it_takes_the_turn(servers):
    one, other = servers
    other.look()
    one.turn(put(key("a"), "m 1\n"))
    other.journal._looked_at -= 60
    assert not other.take_in(other.journal.begin()).in_turn
    one.turn(put(key("b"), "m 1\n"))  # would wait for the lock otherwise
    assert other.take_in(other.journal.begin()).in_turn
    other.append(put(key("c"), "m 1\n"))
    one.look()
    assert state(one.store) == state(other.store)


def test_a_connection_that_broke_while_nobody_used_it_is_replaced(servers, postgres, name):
    one, _ = servers
    for use in (one.journal.check, lambda: one.turn(put(key("a"), "m 1\n"))):
        end_sessions(postgres, name)
        use()
    assert len(Server(postgres.url_of(name)).store) == 1


def end_sessions(postgres: Postgres, name: str) -> None:
    postgres.psql(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = "
        f"'{name}' AND pid <> pg_backend_pid()"
    )


def test_a_turn_whose_connection_breaks_is_lost_and_can_be_taken_again(servers, postgres, name):
    one, _ = servers
    one.begin()
    end_sessions(postgres, name)
    with pytest.raises(TurnLost):
        one.append(put(key("a"), "m 1\n"))
    one.turn(put(key("a"), "m 2\n"))
    assert state(Server(postgres.url_of(name)).store) == state(one.store)


@pytest.mark.parametrize("place", ["before", "after"])
def test_what_became_of_a_commit_without_an_answer_is_found_out(postgres, name, place):
    with proxied(postgres.port) as proxy:
        one = Server(postgres.url_of(name, port=proxy.port))
        one.begin()
        setattr(proxy, f"cut_{place}", b"COMMIT")
        if place == "before":
            with pytest.raises(TurnLost):
                one.append(put(key("a"), "m 1\n"))
            assert one.journal.check() is None
        else:
            one.append(put(key("a"), "m 1\n"))
            assert one.journal.check() is None
        one.turn(put(key("b"), "m 1\n"))
        other = Server(postgres.url_of(name))
        assert state(other.store) == state(one.store)
        assert len(other.store) == (1 if place == "before" else 2)
        one.journal.close()


def test_a_commit_whose_outcome_cannot_be_found_out_is_unknown(postgres, name, monkeypatch):
    monkeypatch.setattr(postgres_journal, "_FIND_OUT_SECONDS", 0.1)
    with proxied(postgres.port) as proxy:
        one = Server(postgres.url_of(name, port=proxy.port))
        one.begin()
        proxy.cut_after, proxy.target = b"COMMIT", 1
        with pytest.raises(JournalFailed) as failed:
            one.append(put(key("a"), "m 1\n"))
        assert failed.value.unknown
        proxy.target = postgres.port
        assert [packed for packed, _ in one.look().groups] == [key("a").packed]


def test_a_network_that_swallows_bytes_is_given_up(postgres, name, monkeypatch):
    with proxied(postgres.port) as proxy:
        one = Server(postgres.url_of(name, port=proxy.port))
        proxy.swallows = True
        with monkeypatch.context() as patch:
            patch.setattr(database, "_ANSWER_SECONDS", 0.3)
            with pytest.raises(JournalFailed, match=r"no answer within 0\.3 seconds"):
                one.journal.check()
        proxy.swallows = False
        proxy.cut()
        assert one.journal.check() is None


def test_a_server_that_is_frozen_in_its_turn_loses_it(servers, monkeypatch):
    one, other = servers
    with monkeypatch.context() as patch:
        patch.setattr(postgres_journal, "WRITING", database.WRITING.replace("'5s'", "'200ms'"))
        one.begin()
    other.turn(put(key("b"), "m 1\n"))
    with pytest.raises(TurnLost):
        one.append(put(key("a"), "m 1\n"))
    one.turn(put(key("a"), "m 1\n"))
    other.look()
    assert state(one.store) == state(other.store)


def test_a_turn_that_does_not_come_is_refused(servers, monkeypatch):
    one, other = servers
    one.begin()
    with monkeypatch.context() as patch:
        patch.setattr(postgres_journal, "WRITING", database.WRITING.replace("'8s'", "'100ms'"))
        with pytest.raises(JournalFailed, match="lock timeout"):
            other.begin()
    one.append(put(key("a"), "m 1\n"))
    other.turn(put(key("b"), "m 1\n"))
    assert len(other.store) == 2


REWIND = """
CREATE TABLE pushgate_kept AS SELECT * FROM pushgate_head;
CREATE TABLE pushgate_kept_groups AS SELECT * FROM pushgate_groups;
"""
RESTORE = """
DELETE FROM pushgate_turns WHERE rev > (SELECT rev FROM pushgate_kept);
TRUNCATE pushgate_head, pushgate_groups;
INSERT INTO pushgate_head SELECT * FROM pushgate_kept;
INSERT INTO pushgate_groups SELECT * FROM pushgate_kept_groups;
"""


@pytest.mark.parametrize("turns_since", [0, 1, 3])
def test_a_database_that_lost_its_last_changes_is_noticed(
    servers, postgres, name, caplog, turns_since
):
    one, other = servers
    one.turn(put(key("a"), "m 1\n"))
    other.look()
    postgres.psql(REWIND, name)
    one.turn(put(key("b"), "m 1\n"), put(key("a"), "m 2\n"))
    postgres.psql(RESTORE, name)
    for number in range(turns_since):
        other.turn(put(key("c"), f"m {number}\n"))
    news = one.take_in(one.journal.begin())
    assert (news.is_all, news.in_turn, one.journal.losses) == (True, False, 1)
    assert state(one.store) == state(other.store)
    assert "has lost changes" in caplog.text
    one.turn(put(key("d"), "m 1\n"))
    other.look()
    assert state(one.store) == state(other.store)
    assert other.journal.losses == 0


def test_a_server_that_missed_too_much_loads_everything_anew(servers, caplog, monkeypatch):
    monkeypatch.setattr(postgres_journal, "_MAX_MISSED", 2)
    one, other = servers
    other.turn(put(key("mine"), "m 1\n"))
    for number in range(2):
        one.turn(put(key("a"), f"m {number}\n"))
    assert not other.look().is_all
    one.turn(Delete(key("mine")))
    for number in range(2):
        one.turn(put(key("a"), f"m {number}\n"))
    assert other.look().is_all
    assert state(other.store) == state(one.store)
    assert other.journal.losses == 0
    assert "has missed too many changes" in caplog.text


def test_a_database_whose_turns_were_all_deleted_is_loaded_anew_once(servers, postgres, name):
    one, other = servers
    one.turn(put(key("a"), "m 1\n"))
    postgres.psql("DELETE FROM pushgate_turns", name)
    assert one.look() is None
    assert other.look().is_all
    assert other.look() is None
    other.turn(put(key("b"), "m 1\n"))
    one.look()
    assert state(one.store) == state(other.store)
    assert (one.journal.losses, other.journal.losses) == (0, 0)


def test_old_turns_are_deleted_but_for_the_last_one(servers, postgres, name, monkeypatch):
    monkeypatch.setattr(postgres_journal, "_TIDY_ROWS", 2)
    one, other = servers
    for number in range(5):
        one.turn(put(key("a"), f"m {number}\n"))
    assert not one.journal.tidy()
    assert count(postgres, name) == 6
    postgres.psql("UPDATE pushgate_turns SET at = now() - interval '70 minutes'", name)
    one.journal._tidy_at = 0
    assert one.journal.tidy()
    while one.journal.tidy():
        pass
    assert count(postgres, name) == 1
    assert one.journal.check() is None
    assert other.look().is_all
    assert other.journal.losses == 0
    assert state(other.store) == state(one.store)


def count(postgres: Postgres, name: str) -> int:
    return int(postgres.psql("SELECT count(*) FROM pushgate_turns", name))


def test_servers_that_start_together_make_the_tables_once(url):
    failures: list[Exception] = []

    def start() -> None:
        try:
            PostgresJournal(url).close()
        except Exception as error:  # noqa: BLE001 - whatever it is
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []


def refused(url: str) -> str:
    with pytest.raises(StartupError) as caught:
        PostgresJournal(url)
    (line,) = str(caught.value).splitlines()
    return line


def test_older_tables_become_ours_and_keep_their_groups(servers, postgres, name, url):
    one, _ = servers
    one.turn(put(key("a"), "m 1\n"))
    postgres.psql("UPDATE pushgate_head SET version = 1", name)
    assert [group.key for group in opened(url).load().groups] == [key("a")]
    assert postgres.psql("SELECT version FROM pushgate_head", name) == f"{VERSION}"


def test_newer_tables_are_refused_at_the_start_and_at_run_time(servers, postgres, name, url):
    one, _ = servers
    postgres.psql("UPDATE pushgate_head SET version = 7", name)
    assert "newer Pushgate (version 7): start that version" in refused(url)
    for use in (one.journal.check, one.journal.begin):
        with pytest.raises(JournalFailed, match=r"newer Pushgate \(version 7\)"):
            use()
    postgres.psql(f"UPDATE pushgate_head SET version = {VERSION}", name)
    assert one.journal.check() is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"port": 1}, "Connection refused; check --persistence.url"),
        ({"user": "nobody"}, 'role "nobody" does not exist; check --persistence.url'),
        ({"database": "nothing"}, 'database "nothing" does not exist; check'),
    ],
)
def test_a_database_that_cannot_be_reached_is_one_line(postgres, name, change, message):
    line = refused(postgres.url_of(**{"database": name} | change))
    assert line.startswith("can't use the database 127.0.0.1:")
    assert message in line


def test_a_wrong_password_is_one_line_without_it(postgres, name):
    line = refused(postgres.url_of(name, user=f"{GUARDED}:wr0ng"))
    assert f'password authentication failed for user "{GUARDED}"' in line
    assert "wr0ng" not in line


def test_a_missing_right_is_one_line(postgres, name, servers):
    postgres.psql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    line = refused(postgres.url_of(name, user="guest"))
    assert "permission denied for table pushgate_head; grant the role the right" in line


def test_a_database_that_is_read_only_by_its_settings_is_not_just_called_a_standby(postgres, name):
    postgres.psql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    line = refused(postgres.url_of(name))
    postgres.psql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert "read-only: default_transaction_read_only is on, or it is a standby; name the" in line


def test_a_standby_is_refused_however_it_is_named():
    with Postgres.running() as primary:
        standby = primary.standby(synchronous=True)
        Server(primary.url).turn(put(key("a"), "m 1\n"))
        # A standby has a commit on disk a moment before it shows it.
        until(lambda: standby.psql("SELECT to_regclass('pushgate_head')"))
        said = "it is a standby; name the primary, or all hosts"
        assert said in refused(standby.url)
        one = opened(f"{standby.url}?target_session_attrs=any")
        with pytest.raises(StartupError, match=said):
            one.load()
        for use in (one.check, one.begin):
            with pytest.raises(JournalFailed, match=said):
                use()


def test_with_several_hosts_a_server_follows_the_primary():
    with Postgres.running() as primary:
        standby = primary.standby(synchronous=True)
        both = f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres"
        one = Server(both)
        one.turn(put(key("a"), "m 1\n"))
        primary.stop("kill")
        with pytest.raises(JournalFailed):
            one.journal.check()
        standby.promote()
        standby.psql("ALTER SYSTEM RESET synchronous_standby_names")
        assert one.journal.check() is None
        one.turn(put(key("b"), "m 1\n"))
        assert one.journal.losses == 0
        assert state(Server(standby.url).store) == state(one.store)


@pytest.mark.parametrize("ends", ["cancelled", "given up"])
def test_a_commit_that_no_standby_confirmed_is_not_acknowledged(monkeypatch, ends):
    monkeypatch.setattr(postgres_journal, "_FIND_OUT_SECONDS", 0.0)
    monkeypatch.setattr(postgres_journal, "WRITING", database.WRITING.replace("'8s'", "'100ms'"))
    with Postgres.running() as primary:
        standby = primary.standby(synchronous=True)
        one = Server(primary.url)
        standby.stop("immediate")
        one.begin()
        if ends == "given up":
            monkeypatch.setattr(database, "_ANSWER_SECONDS", 1.0)
        else:
            threading.Thread(target=cancel_waiting_commit, args=(primary,), daemon=True).start()
        with pytest.raises(JournalFailed) as failed:
            one.append(put(key("a"), "m 1\n"))
        assert failed.value.unknown
        standby.start()
        monkeypatch.setattr(database, "_ANSWER_SECONDS", 10.0)
        until(one.look)
        assert one.store.get(key("a"))


def cancel_waiting_commit(primary: Postgres) -> None:
    while primary.psql(CANCEL) != "t":
        time.sleep(0.05)


def test_what_no_standby_has_is_not_acknowledged_after_a_restart_of_the_primary_either(monkeypatch):
    monkeypatch.setattr(postgres_journal, "_FIND_OUT_SECONDS", 2.0)
    monkeypatch.setattr(postgres_journal, "WRITING", database.WRITING.replace("'8s'", "'100ms'"))
    monkeypatch.setattr(database, "_ANSWER_SECONDS", 1.0)
    with Postgres.running() as primary:
        standby = primary.standby(synchronous=True)
        one = Server(primary.url)
        standby.stop("immediate")
        one.begin()
        threading.Thread(target=restart_at_commit, args=(primary,), daemon=True).start()
        with pytest.raises(JournalFailed) as failed:
            one.append(put(key("a"), "m 1\n"))
        assert failed.value.unknown
        primary.psql(CANCEL)
        other = Server(primary.url)
        assert other.store.get(key("a"))
        with pytest.raises(JournalFailed) as failed:  # what repeats the push changes nothing
            other.turn()
        assert failed.value.unknown
        standby.start()
        other.turn()


CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def restart_at_commit(primary: Postgres) -> None:
    waiting = "SELECT true FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    until(lambda: primary.psql(waiting) == "t", 0.9)
    primary.stop("fast")
    primary.start()


@pytest.mark.parametrize("url", ["postgresql://u:s3cret@h/?a=b", "postgresql://u:s3cret@[h/"])
def test_what_libpq_does_not_understand_is_refused_without_its_password(url):
    line = refused(url)
    assert line.startswith("--persistence.url: ")
    assert "s3cret" not in line


def test_damage_is_named(servers, postgres, name, url):
    one, other = servers
    one.turn(put(key("a"), "m 1\n"))
    postgres.psql("UPDATE pushgate_groups SET state = set_byte(state, 9, 77)", name)
    with pytest.raises(StartupError, match=r'group \{job="a"\}: its checksum is wrong; it is d'):
        opened(url).load()
    for use in (other.journal.check, other.journal.begin):
        with pytest.raises(JournalFailed, match="its checksum is wrong"):
            use()
    one.turn(put(key("a"), "m 2\n"))  # nobody has the turn
    other.look()
    assert state(other.store) == state(one.store)


def test_nothing_of_a_session_is_relied_on(servers):
    """PgBouncer hands the next transaction to another session."""
    one, other = servers
    one.turn(put(key("a"), "m 1\n"))
    one.journal._database._connection.execute("DISCARD ALL")
    other.look()
    one.turn(put(key("b"), "m 1\n"))
    one.journal._database._connection.execute("DISCARD ALL")
    assert other.look() is not None
    assert state(one.store) == state(other.store)


def test_labels_and_metrics_of_any_bytes_survive(servers):
    one, other = servers
    odd = key("j'\\é😀", instance="\x00%s;--")
    one.turn(Merge(odd, pushed('m{a="\\\\\\n\\"\'%s"} NaN\n'), 5, "'x'"))
    other.look()
    assert state(other.store) == state(one.store)


def test_without_psycopg_a_start_says_what_to_install(monkeypatch, url):
    from pushgate.server.compose import compose
    from pushgate.server.settings import Settings

    for module in [name for name in sys.modules if name.startswith("psycopg")]:
        monkeypatch.setitem(sys.modules, module, None)
    for module in ("postgres", "database", "schema"):
        monkeypatch.delitem(sys.modules, f"pushgate.server.storage.{module}", raising=False)
    with pytest.raises(StartupError, match=r"needs psycopg .* pip install"):
        compose(Settings(persistence_url=url))
