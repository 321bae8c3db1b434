"""What is copied between a file and a database is the same, or it is said that it is not."""

from contextlib import closing
from pathlib import Path

import pytest

from pushgate.errors import StartupError
from pushgate.server.storage import copying
from pushgate.server.storage.copying import copy
from pushgate.server.storage.opening import lock_file
from pushgate.server.storage.postgres import PostgresJournal
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store.change import Fail
from pushgate.server.store.group import Failure
from pushgate.server.store.store import Step, Store
from tests.server.pushes import key, post, put


@pytest.fixture
def file(tmp_path):
    """A persistence file with two groups and an idempotency key."""
    store, path = Store(), tmp_path / "pushgate.db"
    steps = [
        *store.admit(put(key("a"), 'm{x="1"} 1\nn 2\n', 5)),
        *store.admit(post(key("a"), "o 3\n", 6)),
        *store.admit(put(key("b", instance="é"), "m 4\n", 7)),
        *store.admit(Fail(key("b", instance="é"), 8, Failure("is bad", "::1"))),
    ]
    with closing(SqliteJournal(path)) as journal:
        journal.load()
        journal.append([steps[0], steps[1]._replace(once=b"k"), *steps[2:]])
    return str(path)


@pytest.fixture
def url(postgres):
    return postgres.url_of(postgres.database())


def content(journal) -> tuple[list, list]:
    with closing(journal):
        groups = sorted(journal.load(), key=lambda group: group.key)
        keys = journal.applied_keys()
    return [(group.key, copying._content(group)) for group in groups], keys


def test_a_file_survives_the_way_to_a_database_and_back(file, url, tmp_path):
    assert copy(file, url, replace=False) == (2, 4)
    again = str(tmp_path / "again.db")
    assert copy(url, again, replace=False) == (2, 4)
    assert content(SqliteJournal(Path(again))) == content(SqliteJournal(Path(file)))
    assert content(PostgresJournal(url)) == content(SqliteJournal(Path(file)))
    assert len(content(SqliteJournal(Path(file)))[0]) == 2


def test_a_target_that_is_not_empty_is_left_alone_unless_it_is_given_up(file, url):
    copy(file, url, replace=False)
    with closing(SqliteJournal(Path(file))) as journal:
        groups = {group.key.job: group for group in journal.load()}
        journal.append([Step(groups["a"], None)])
    with pytest.raises(StartupError, match="the database has 2 groups: choose an empty one"):
        copy(file, url, replace=False)
    assert len(content(PostgresJournal(url))[0]) == 2
    copy(file, url, replace=True)
    assert content(PostgresJournal(url)) == content(SqliteJournal(Path(file)))
    assert len(content(PostgresJournal(url))[0]) == 1


def test_with_what_is_replaced_its_idempotency_keys_go_so_a_retry_counts_again(file, url, tmp_path):
    empty = str(tmp_path / "empty.db")
    with closing(SqliteJournal(Path(empty))) as journal:
        journal.load()
    copy(file, url, replace=False)
    assert content(PostgresJournal(url))[1] == [(b"k", 6)]
    copy(empty, url, replace=True)
    assert content(PostgresJournal(url)) == ([], [])
    copy(empty, file, replace=True)
    assert content(SqliteJournal(Path(file))) == ([], [])


def test_what_a_server_uses_is_not_copied(file, url, tmp_path):
    lock = lock_file(tmp_path / "pushgate.db", 0)
    with pytest.raises(StartupError, match="in use by another process"):
        copy(file, url, replace=False)
    lock.release()


def test_a_file_that_is_missing_is_not_made(tmp_path, url):
    with pytest.raises(StartupError, match="none does not exist"):
        copy(str(tmp_path / "none"), url, replace=False)
    assert not (tmp_path / "none").exists()


def test_a_target_that_differs_afterwards_is_named(file, url, monkeypatch):
    replacing = copying.replacement
    monkeypatch.setattr(copying, "replacement", lambda *both: replacing(*both)[1:])
    with pytest.raises(StartupError, match=r'differs in 1 groups .* \{job="a"\}: stop its servers'):
        copy(file, url, replace=False)
