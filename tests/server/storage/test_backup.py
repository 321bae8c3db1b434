"""Backups of a real PostgreSQL database, and copies between one and a file."""

import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from pushgate.errors import StartupError
from pushgate.model.slices import finished
from pushgate.server.storage import backup as backup_module, database, postgres
from pushgate.server.storage.backup import (
    check_file,
    copy,
    copy_database,
    copy_file,
    restore_database,
    restore_file,
)
from pushgate.server.storage.journal import Contents, replacement
from pushgate.server.storage.opening import lock_file, open_database
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store.aggregation import Aggregation, Operation
from pushgate.server.store.change import Fail
from pushgate.server.store.group import Block, Failure, Group
from pushgate.server.store.rules import Rule, Rules
from pushgate.server.store.store import Step, Store
from tests.forked import status_of
from tests.postgres import Postgres
from tests.server.pushes import key, post, pushed, put
from tests.server.storage.dying import restore_and_die


def stored(url: str) -> dict[str, bytes]:
    """The numbers of each job in the database."""
    journal, contents = open_database(url)
    journal.close()
    return {group.key.job: group.blocks[0].pushed.numbers for group in contents.groups}


def store(url: str, **bodies: str) -> None:
    """Push one body to each of the jobs."""
    journal, _ = open_database(url)
    journal.begin()
    journal.append(
        [
            Step(
                None,
                Group(key(job), (), since=1).pushed((Block(pushed(body), 1),), 1),
                job.encode(),
            )
            for job, body in bodies.items()
        ]
    )
    journal.close()


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.url_of(postgres.database())


def test_a_backup_of_a_database_has_its_groups_and_idempotency_keys(url, tmp_path):
    store(url, a="m 1\n", b="m 2\n")
    contents = copy_database(url, tmp_path / "backup")
    assert sorted(group.key.job for group in contents.groups) == ["a", "b"]
    assert dict(contents.applied_keys) == {b"a": 1, b"b": 1}


def test_what_is_restored_replaces_what_came_since(url, tmp_path):
    store(url, a="m 1\n")
    copy_database(url, tmp_path / "backup")
    store(url, b="m 2\n")
    restore_database(tmp_path / "backup", url, replace=True)
    assert stored(url) == {"a": b"1"}


def test_a_restore_whose_every_turn_is_lost_is_an_error(file, url, monkeypatch):
    quickly = database.WRITING.replace("'5s'", "'1ms'")
    monkeypatch.setattr(postgres, "WRITING", quickly)

    def slowly(*arguments):
        time.sleep(0.01)
        return replacement(*arguments)

    monkeypatch.setattr(backup_module, "replacement", slowly)
    with pytest.raises(StartupError, match=r"can't write to the database .*: it ended each"):
        restore_database(Path(file), url, replace=True)
    assert stored(url) == {}


def test_a_damaged_database_is_restored_as_its_message_says(postgres, file):
    name = postgres.database()
    url = postgres.url_of(name)
    restore_database(Path(file), url, replace=True)
    postgres.psql("UPDATE pushgate_groups SET state = set_byte(state, 9, 77)", name)
    with pytest.raises(StartupError, match="it is damaged: restore") as damaged:
        restore_database(Path(file), url, replace=True)
    tables = str(damaged.value).rpartition("drop its tables: ")[2]
    postgres.psql(f"DROP TABLE {tables}", name)
    restore_database(Path(file), url, replace=True)
    assert stored(url).keys() == {"a", "b"}


def test_a_running_server_forgets_that_it_applied_what_a_restore_undid(url, tmp_path):
    push = post(key("a"), "# TYPE m counter\nm 1\n", 5)._replace(once=b"k")
    journal, contents = open_database(url)
    sums = Aggregation({"counter": Operation.SUM})
    server = Store(rules=Rules((Rule(aggregate=sums),)))
    server.load(*contents)
    copy_database(url, tmp_path / "backup")
    journal.begin()
    steps = server.admit(push)
    journal.append(steps)
    server.apply(steps)
    restore_database(tmp_path / "backup", url, replace=True)
    finished(server.renewal(journal.check()))
    journal.close()
    assert [*server.groups()] == []
    assert server.admit(push) != []


def test_a_database_that_holds_groups_is_only_replaced_if_asked_to(url, tmp_path):
    store(url, a="m 1\n")
    copy_database(url, tmp_path / "backup")
    with pytest.raises(StartupError, match="holds groups: give --replace"):
        restore_database(tmp_path / "backup", url, replace=False)
    assert stored(url) == {"a": b"1"}


@pytest.fixture
def file(tmp_path: Path) -> str:
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


def content(path: str) -> tuple[list, list]:
    """Everything in a file: its groups, and its idempotency keys."""
    with closing(SqliteJournal(Path(path))) as journal:
        groups, keys = journal.load()
    return [
        (
            *(one.key, one.pushed_at, one.failed_at, one.since, one.failure, one.history),
            [(block.pushed, block.received, block.times, block.dropped) for block in one.blocks],
        )
        for one in sorted(groups, key=lambda group: group.key)
    ], keys


def test_a_file_survives_the_way_to_a_database_and_back(file, url, tmp_path):
    again = str(tmp_path / "again.db")
    copy(file, url, replace=False)
    copied = copy(url, again, replace=False)
    assert {len(group.blocks) for group in copied.groups} == {1, 2}
    assert content(again) == content(file)


def test_what_is_copied_replaces_everything_if_asked_to(file, url, tmp_path):
    empty, again = str(tmp_path / "empty.db"), str(tmp_path / "again.db")
    with closing(SqliteJournal(Path(empty))) as journal:
        journal.load()
    copy(file, url, replace=False)
    with pytest.raises(StartupError, match="holds groups: give --replace"):
        copy(empty, url, replace=False)
    copy(empty, url, replace=True)
    copy(url, again, replace=False)
    assert content(again) == ([], [])


def test_a_file_that_a_server_uses_is_not_copied(file, url):
    lock = lock_file(Path(file), 0)
    with pytest.raises(StartupError, match="in use by another process"):
        copy(file, url, replace=False)
    lock.release()
    assert stored(url) == {}


def test_no_server_can_use_a_file_while_it_is_copied(file, url, monkeypatch):
    def restore(*arguments, **options):
        with pytest.raises(StartupError, match="in use by another process"):
            lock_file(Path(file), 0)
        return restore_database(*arguments, **options)

    monkeypatch.setattr(backup_module, "restore_database", restore)
    copy(file, url, replace=False)
    lock_file(Path(file), 0).release()
    assert stored(url) != {}


def test_a_backup_does_not_replace_the_file_of_a_running_server(file, url):
    before = Path(file).read_bytes()
    lock = lock_file(Path(file), 0)
    with pytest.raises(StartupError, match="in use by another process"):
        copy_file(Path(file), Path(file))
    with pytest.raises(StartupError, match="in use by another process"):
        copy_database(url, Path(file))
    lock.release()
    assert Path(file).read_bytes() == before
    assert [*Path(file).parent.iterdir()] == [Path(file)]


def test_a_backup_creates_no_directory_where_a_disk_may_be_missing(file, url, tmp_path):
    target = tmp_path / "disk" / "backup.db"
    with pytest.raises(StartupError, match="No such file or directory"):
        copy_file(Path(file), target)
    with pytest.raises(StartupError, match="No such file or directory"):
        copy_database(url, target)
    assert not target.parent.exists()


def test_a_backup_does_not_begin_while_another_one_writes_the_same_file(
    file, tmp_path, monkeypatch
):
    backup, check = tmp_path / "backup.db", backup_module._copy_checked

    def meanwhile(*paths: Path) -> Contents:
        with pytest.raises(StartupError, match="in use by another process"):
            copy_file(Path(file), backup)
        return check(*paths)

    monkeypatch.setattr(backup_module, "_copy_checked", meanwhile)
    copy_file(Path(file), backup)
    assert content(str(backup)) == content(file)
    assert {path.name for path in tmp_path.iterdir()} == {"pushgate.db", "backup.db"}


def test_a_backup_is_not_changed_by_the_log_of_the_file_that_it_replaces(file, tmp_path):
    backup = tmp_path / "backup.db"
    as_a_killed_server_left(backup, "old")
    copy_file(Path(file), backup)
    assert content(str(backup)) == content(file)


def test_a_backup_of_a_link_has_what_is_in_the_log_of_the_file(tmp_path):
    link, backup = tmp_path / "link.db", tmp_path / "backup.db"
    (tmp_path / "data").mkdir()
    link.symlink_to(tmp_path / "data" / "pushgate.db")
    with closing(SqliteJournal(link.readlink())) as journal:
        journal.load()
        journal.append(Store().admit(put(key("a"), "m 1\n", 5)))
        assert len(copy_file(link, backup).groups) == 1
    restore_file(backup, link, replace=True)
    assert content(str(link.readlink())) == content(str(backup))
    assert link.is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_what_root_restores_belongs_to_whom_the_directory_belongs(file, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, 65534, 65533)
    restored = place / "pushgate.db"
    restore_file(Path(file), restored, replace=False)
    assert (restored.stat().st_uid, restored.stat().st_gid) == (65534, 65533)
    assert restored.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_given_to_anybody_is_restored_nevertheless(
    file, tmp_path, monkeypatch
):
    def squash(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "lchown", squash)  # as on a network file system
    restore_file(Path(file), tmp_path / "restored.db", replace=False)
    assert content(str(tmp_path / "restored.db")) == content(file)


def as_a_killed_server_left(path: Path, job: str) -> None:
    """Makes a file that holds nothing, with a log beside it that has a push to *job*."""
    with closing(SqliteJournal(path)) as journal:
        journal.load()
        empty = path.read_bytes()
        journal.append(Store().admit(put(key(job), "m 1\n", 9)))
        log = Path(f"{path}-wal").read_bytes()
    path.write_bytes(empty)
    Path(f"{path}-wal").write_bytes(log)


def test_a_log_whose_file_is_gone_does_not_get_into_what_is_restored(file, tmp_path):
    target = tmp_path / "target.db"
    as_a_killed_server_left(target, "old")
    target.unlink()
    restore_file(Path(file), target, replace=True)
    assert content(str(target)) == content(file)


def test_whenever_a_restore_dies_there_is_all_that_was_or_all_that_is_restored(file, tmp_path):
    target = tmp_path / "target.data"
    restored, old = ["a", "b"], ["old"]
    seen = []
    for step in range(60):
        for left in tmp_path.glob("target.data*"):
            left.unlink()
        as_a_killed_server_left(target, "old")
        status = status_of(restore_and_die, Path(file), target, step)
        seen.append(sorted(group.key.job for group in check_file(target).groups))
        if status == 0:
            break
    assert status == 0
    assert seen == [old] * seen.count(old) + [restored] * seen.count(restored)
    [kept] = tmp_path.glob("target.data.replaced-*Z")
    assert [group.key.job for group in check_file(kept).groups] == old
