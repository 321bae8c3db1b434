"""The persistence file at start: that of the Go server is imported once, and nothing is lost."""

import os
import sqlite3
import struct
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from zlib import crc32

import apsw
import pytest

from pushgate.errors import DamagedFile, StartupError
from pushgate.server.storage import go_import, opening
from pushgate.server.storage.opening import lock_file, open_journal
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store.group import Group
from pushgate.server.store.store import Step
from tests import old_gateway, services
from tests.exchange import ask
from tests.forked import status_of
from tests.server.pushes import key
from tests.server.storage import failingdisk
from tests.server.storage.dying import start_and_die
from tests.waiting import until

SAMPLES = services.ROOT / "tests/data/gob-sample"
SAMPLE = (SAMPLES / "pushgateway-1.5.1.gob").read_bytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pushgateway.data"
    path.write_bytes(SAMPLE)
    return path


def opened(path: Path, *, reset_damaged: bool = False):
    return open_journal(path, lock_file(path, 0), reset_damaged=reset_damaged)


def started(path: Path, *, reset_damaged: bool = False) -> list[Group]:
    journal, contents = opened(path, reset_damaged=reset_damaged)
    journal.close()
    return contents.groups


def said(groups: list[Group]) -> dict[bytes, object]:
    return {
        group.key.packed: (
            group.pushed_at,
            group.failed_at,
            group.since,
            [(block.received, block.pushed) for block in group.blocks],
        )
        for group in groups
    }


EXPECTED = said(go_import.read(Path(), SAMPLE).groups)


def names(path: Path) -> list[str]:
    return sorted(entry.name.removeprefix("pushgateway.data") for entry in path.parent.iterdir())


def test_a_file_of_the_go_server_becomes_a_journal_and_is_kept_aside(file):
    assert said(started(file)) == EXPECTED
    assert file.read_bytes().startswith(b"SQLite format 3")
    aside = file.with_name("pushgateway.data.imported")
    assert aside.read_bytes() == SAMPLE
    assert aside.stat().st_mode & 0o777 == 0o600
    assert names(file) == ["", ".imported"]


def test_the_second_start_finds_the_journal_with_what_has_changed_since(file):
    journal, (groups, _) = opened(file)
    journal.append([Step(groups[0], None)])
    journal.close()
    assert said(started(file)) == said(groups[1:])


def test_another_go_file_under_the_same_name_is_kept_under_another_one(file):
    started(file)
    other = SAMPLE.replace(b"Untyped", b"untyped")
    assert other != SAMPLE
    file.write_bytes(other)
    started(file)
    assert file.with_name("pushgateway.data.imported").read_bytes() == SAMPLE
    [later] = file.parent.glob("pushgateway.data.imported-*Z")
    assert later.read_bytes() == other


def test_what_an_older_journal_left_behind_does_not_get_into_the_new_one(file):
    file.with_name("pushgateway.data-wal").write_bytes(b"something")
    assert said(started(file)) == EXPECTED


def test_a_file_that_is_neither_is_refused_and_left_alone(file):
    file.write_bytes(b"precious but unknown")
    with pytest.raises(DamagedFile, match=r"neither a journal nor a file of the Go"):
        started(file)
    assert file.read_bytes() == b"precious but unknown"
    assert names(file) == [""]


def test_a_go_file_that_was_cut_off_is_refused_unless_the_operator_gives_it_up(file):
    file.write_bytes(SAMPLE[:-100])
    with pytest.raises(DamagedFile, match=r"--persistence\.reset-damaged"):
        started(file)
    assert started(file, reset_damaged=True) == []
    [aside] = file.parent.glob("pushgateway.data.damaged-*Z")
    assert aside.read_bytes() == SAMPLE[:-100]


def test_a_missing_or_empty_file_is_a_new_journal(file):
    file.write_bytes(b"")
    assert started(file) == []
    file.unlink()
    assert started(file) == []


def test_a_second_server_on_the_file_is_refused_at_once_also_without_a_push(file):
    file.unlink()
    journal, _ = opened(file)
    with pytest.raises(StartupError, match="in use by another process"):
        opened(file)
    link = file.with_name("link")
    link.symlink_to(file)
    with pytest.raises(StartupError, match="in use by another process"):
        opened(link)
    journal.close()
    assert started(file) == []


def test_a_link_is_followed_to_the_file_beside_which_its_log_is(file, tmp_path):
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(file)
    groups = started(link)
    assert said(started(file)) == said(groups) == EXPECTED
    as_format_1(file)
    assert said(started(link)) == EXPECTED
    assert [*link.parent.iterdir()] == [link]
    assert link.is_symlink()


def test_a_link_to_itself_is_said_in_one_line(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(StartupError, match=r"can't use .*/loop: Too many levels of symbolic links"):
        opened(loop)


def test_a_server_that_waits_starts_when_the_first_one_ends(file):
    journal, _ = opened(file)
    timer = threading.Timer(0.3, journal.close)
    timer.start()
    lock = lock_file(file, 30)
    timer.join()
    lock.release()


def test_a_lock_that_a_killed_server_left_is_no_hindrance(file):
    file.with_name("pushgateway.data.lock").touch()
    assert said(started(file)) == EXPECTED


def test_a_file_of_the_first_format_is_converted_and_can_shrink_from_then_on(file):
    groups = started(file)
    as_format_1(file)
    assert said(started(file)) == said(groups)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(4,)]
        assert connection.execute("PRAGMA auto_vacuum").fetchall() == [(2,)]
    assert said(started(file)) == said(groups)
    assert names(file) == ["", ".imported"]
    assert file.stat().st_mode & 0o777 == 0o600


def as_format_1(path: Path) -> None:
    """Makes of *path* what the first version wrote."""
    with closing(sqlite3.connect(path)) as connection:
        shapes = connection.execute("SELECT id, families FROM shapes").fetchall()
        groups = connection.execute("SELECT id, labels, state FROM groups").fetchall()
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE shapes (id INTEGER PRIMARY KEY, families TEXT NOT NULL)")
        connection.execute(
            "CREATE TABLE groups"
            " (id INTEGER PRIMARY KEY, labels BLOB NOT NULL, state BLOB NOT NULL)"
        )
        connection.executemany(
            "INSERT INTO shapes VALUES (?, ?)", [(n, s[4:].decode()) for n, s in shapes]
        )
        connection.executemany(
            "INSERT INTO groups VALUES (?, ?, ?)",
            [(number, labels, as_state_2(labels, state)) for number, labels, state in groups],
        )
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


def as_state_2(labels: bytes, state: bytes) -> bytes:
    """Return *state* without history and failure, which groups did not have until format 2."""
    times, past, blocks = state[4:28], state[28:33], state[33:]
    history, reason, source = struct.unpack("<BHH", past)
    left_out = history + (0 if reason == 0xFFFF else reason + source)
    old = times + blocks[left_out:]
    return struct.pack("<I", crc32(old, crc32(labels))) + old


def test_a_file_of_the_second_format_is_converted_with_its_idempotency_keys(file):
    journal, _ = opened(file)
    journal.begin()
    journal.append([Step(None, group("a", time=5), b"k")])
    journal.close()
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT id, labels, state FROM groups").fetchall()
        connection.executemany(
            "UPDATE groups SET state = ? WHERE id = ?",
            [(as_state_2(labels, state), number) for number, labels, state in rows],
        )
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    journal, contents = opened(file)
    assert "a" in {group.key.job for group in contents.groups}
    assert contents.applied_keys == [(b"k", 5)]
    journal.close()


def test_a_file_of_the_third_format_is_converted(file):
    groups = started(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 3")
    assert said(started(file)) == said(groups)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchall() == [(4,)]


def group(job: str, *, time: int) -> Group:
    return Group(key(job), (), pushed_at=time, failed_at=0, since=time)


def test_a_disk_that_fails_is_never_damage_and_reset_damaged_touches_nothing(file, monkeypatch):
    started(file)
    disk = failingdisk.FailingDisk()
    monkeypatch.setattr(opening, "SqliteJournal", partial(SqliteJournal, vfs=failingdisk.NAME))
    lock = lock_file(file, 0)
    with (
        disk.failing(apsw.SQLITE_IOERR_READ, "read"),
        pytest.raises(StartupError, match="can't use") as caught,
    ):
        open_journal(file, lock, reset_damaged=True)
    assert not isinstance(caught.value, DamagedFile)
    monkeypatch.undo()
    assert said(started(file)) == EXPECTED
    assert names(file) == ["", ".imported"]


def test_what_is_no_file_is_refused_without_reading_it(file):
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(StartupError, match="Invalid argument"):
        opened(file)


def test_a_full_directory_leaves_everything_as_it_was(file):
    file.with_name("pushgateway.data.importing-copy").mkdir()
    with pytest.raises(StartupError, match=r"can't import .* it is unchanged"):
        started(file)
    assert file.read_bytes() == SAMPLE


def test_whenever_the_process_dies_while_it_converts_nothing_is_lost(file):
    started(file)
    as_format_1(file)
    first_format = file.read_bytes()
    for step in range(40):
        file.write_bytes(first_format)
        status = status_of(start_and_die, file, step)
        assert said(started(file)) == EXPECTED
        assert names(file) == ["", ".imported"]
        if status == 0:
            break
    assert step > 3


def test_whenever_the_process_dies_nothing_is_lost_or_imported_twice(file):
    for step in range(40):
        file.write_bytes(SAMPLE)
        status = status_of(start_and_die, file, step)
        assert said(started(file)) == EXPECTED
        assert file.with_name("pushgateway.data.imported").read_bytes() == SAMPLE
        assert names(file) == ["", ".imported"]
        if status == 0:
            break
        for path in file.parent.iterdir():
            path.unlink()
    assert step > 5


def test_what_contradicts_itself_is_left_out_so_that_scrapes_work(tmp_path):
    """As the Go server stores it with --push.disable-consistency-check."""
    path = tmp_path / "pushgateway.data"
    flags = f"--persistence.file={path}", "--push.disable-consistency-check"
    with services.go_pushgateway(*flags) as old:
        for group, body in (
            ("a", b"# TYPE m counter\nm 1\nfine 1\n"),
            ("b", b"# TYPE m gauge\nm 1\nfine 1\n"),
            ("c", b"m_twice 1\nm_twice 1\nfine 1\n"),
            ("a/instance/", b"like_a 1\n"),
        ):
            assert ask(old.port, "PUT", f"/metrics/job/{group}", body).status == 202
        wait_until_stored(old, 4)
    groups = {group.key: group for group in started(path)}
    families = [
        family.name
        for group in groups.values()
        for block in group.blocks
        for family in block.pushed.shape.families
    ]
    assert sorted(families) in (["fine", "fine", "fine", "m"], ["fine", "fine", "like_a", "m"])
    assert len(groups) == 3


def wait_until_stored(service: services.Service, groups: int) -> None:
    until(lambda: service.get("/api/v1/metrics").count('"last_push_successful"') == groups)


def test_the_exposition_after_the_change_of_servers_is_the_old_one(tmp_path):
    path = tmp_path / "pushgateway.data"
    with services.go_pushgateway(f"--persistence.file={path}") as old:
        old_gateway.fill(old)
        lines = old_gateway.lines_of(old, times=True)
        messages = old_gateway.messages_of(old)
    assert len(lines) > 60
    assert len(messages) == len(old_gateway.families()) - 1
    with services.pushgate(data=path) as new:
        assert old_gateway.lines_of(new, times=True) == lines
        assert old_gateway.messages_of(new) == messages
    with services.pushgate(data=path) as again:
        assert old_gateway.lines_of(again, times=True) == lines


def test_an_empty_go_server_is_an_empty_journal(tmp_path):
    path = tmp_path / "pushgateway.data"
    with services.go_pushgateway(f"--persistence.file={path}"):
        pass
    assert path.exists()
    assert started(path) == []
