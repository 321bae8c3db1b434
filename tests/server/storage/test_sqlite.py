"""The journal in a real SQLite file: what is appended is there again, whatever happened."""

import errno
import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, nullcontext, suppress
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings, strategies as st

from pushgate.errors import DamagedFile, JournalFailed, StartupError
from pushgate.model.shape import Pushed, PushShape
from pushgate.model.slices import finished
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store.change import Change, Delete, Fail, Replace
from pushgate.server.store.store import Store
from tests.server.pushes import apart, content, key, post, pushed, put, wipe
from tests.server.storage import failingdisk, powercut


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pushgate.db"


@pytest.fixture(scope="module")
def disk():
    return failingdisk.FailingDisk()


def append(journal: SqliteJournal, store: Store, *changes: Change) -> None:
    """Append *changes* as one batch, and make them visible."""
    steps = [step for one in changes for step in store.admit(one)]
    try:
        journal.append(steps)
    except JournalFailed:
        finished(store.withdrawal(reversed(steps)))
        raise
    store.apply(steps)


def state(groups) -> dict:
    return {
        group.key: (group.pushed_at, group.failed_at, group.since, content(group))
        for group in groups
    }


def reopened(path: Path) -> dict:
    with closing(SqliteJournal(path)) as journal:
        return state(journal.load().groups)


def shapes_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM shapes").fetchone()[0]


def test_everything_is_there_again(path):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        assert journal.load().groups == []
        append(journal, store, put(key("a"), "m 1\nn 2\n", 1), put(key("b"), "", 2))
        append(journal, store, post(key("a"), "m 3\n", 3), Fail(key("c"), 4))
    assert reopened(path) == state(store.groups())


jobs = st.sampled_from("abc").map(key)
bodies = st.sampled_from(["", "m 1\n", "m 2\n", "n 1\n", "m 1\nn 2\no 3\n"])
times = st.integers(1, 9)
changes = st.one_of(
    st.builds(put, jobs, bodies, times),
    st.builds(post, jobs, bodies, times),
    st.builds(Fail, jobs, times),
    st.builds(Delete, jobs),
)


@settings(max_examples=25)
@given(st.lists(st.lists(changes, max_size=5), min_size=1, max_size=5))
def test_any_batches_are_there_again_with_no_shape_too_many(batches):
    store = Store()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "pushgate.db")
        for batch in batches:
            with closing(SqliteJournal(path)) as journal:
                assert state(journal.load().groups) == state(store.groups())
                append(journal, store, *batch)
                append(journal, store, *batch)
        used = {block.pushed.shape for group in store.groups() for block in group.blocks}
        assert (reopened(path), shapes_in(path)) == (state(store.groups()), len(used))


def test_pushes_with_the_same_families_in_shapes_of_their_own_survive_any_restarts(path):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        journal.load()
        append(journal, store, *[Replace(key(job), apart(pushed("m 1\n")), 1) for job in "abc"])
    for job in "abc":
        assert reopened(path) == state(store.groups())
        store = Store()
        with closing(SqliteJournal(path)) as journal:
            store.load(*journal.load())
            append(journal, store, put(key(job), "n 1\n", 2))
    assert reopened(path) == state(store.groups())
    assert shapes_in(path) == 1


def test_a_large_batch(path):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        append(journal, store, *[put(key(str(i)), f'm{{i="{i}"}} 1\n') for i in range(1500)])
    assert len(reopened(path)) == shapes_in(path) == 1500


def test_groups_share_shapes_and_the_last_one_takes_its_shape_along(path):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        append(journal, store, put(key("a"), "m 1\n"), put(key("b"), "m 2\n"))
        append(journal, store, put(key("a"), "n 1\n"))
    assert shapes_in(path) == 2
    with closing(SqliteJournal(path)) as journal:
        journal.load()
        append(journal, store, Delete(key("b")))
    assert shapes_in(path) == 1


def test_equal_shapes_need_not_be_one_object(path):
    store = Store()
    shape = pushed('m{a="1"} 1\n').shape
    families = shape.families
    twins = [PushShape(families, shape.label_schema) for _ in range(2)]
    with closing(SqliteJournal(path)) as journal:
        for job, shape in zip("ab", twins, strict=True):
            append(journal, store, Replace(key(job), Pushed(shape, b"1"), 1))
    for job in "ab":
        with closing(SqliteJournal(path)) as journal:
            store = Store()
            store.load(*journal.load())
            held = [group.blocks[0].pushed.shape for group in store.groups()]
            assert all(shape.families == families for shape in held)
            assert len({*held}) == len(held)  # who uses which has to stay known
            append(journal, store, Delete(key(job)))
        assert reopened(path) == state(store.groups())
    assert shapes_in(path) == 0


def refused(path: Path) -> str:
    with pytest.raises(StartupError) as caught, closing(SqliteJournal(path)) as journal:
        journal.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def filled(path: Path) -> bytes:
    """Write some groups to *path*; return the bytes of the file."""
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        for i in range(40):
            append(journal, store, put(key(str(i)), f"# HELP m{i} {'y' * 999}\nm{i} 1\n"))
            append(journal, store, put(key(f"{i}b"), f'm{{i="{"y" * 999}"}} 1\n'))
    return path.read_bytes()


@pytest.mark.parametrize("damage", ["text", "half", "zeros", "head"])
def test_a_damaged_file_is_refused_and_left_alone(path, damage):
    whole = filled(path)
    middle = len(whole) // 2
    damaged = {
        "text": b"this is no database, and long enough to be one" * 99,
        "half": whole[:middle],
        "zeros": whole[:8192] + bytes(len(whole) - 8192),
        "head": whole[:100],
    }[damage]
    path.write_bytes(damaged)
    assert "damaged" in (message := refused(path))
    assert "--persistence.reset-damaged" in message
    assert path.read_bytes() == damaged


def test_a_shape_that_is_gone_is_damage(path):
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM shapes WHERE id = (SELECT max(id) FROM shapes)")
        connection.commit()
    assert "damaged" in refused(path)


def test_a_file_of_a_newer_version_is_refused(path):
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    assert "newer Pushgate (format 7)" in refused(path)
    assert path.read_bytes()[60:64] == b"\0\0\0\x07"


def test_a_database_of_another_program_is_refused_and_left_alone(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmarks (id)")
        connection.commit()
    before = path.read_bytes()
    assert "a database of another program" in refused(path)
    assert path.read_bytes() == before


def test_a_second_server_on_the_file_is_refused(path):
    with closing(SqliteJournal(path)) as journal:
        journal.load()
        script = (
            "import sys; from pathlib import Path; from pushgate.errors import StartupError\n"
            "from pushgate.server.storage.sqlite import SqliteJournal\n"
            "try: SqliteJournal(Path(sys.argv[1]))\n"
            "except StartupError as error: print(error)"
        )
        second = subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
        )
        append(journal, Store(), put(key(), "m 1\n"))
    assert second.stdout == (
        f"{path} is in use by another process: stop it, or name another file\n"
    )


@pytest.mark.parametrize("name", ["file/pushgate.db", "directory"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    message = refused(tmp_path / name)
    assert message.startswith(f"can't use {tmp_path / name}: ")
    assert "--persistence.file=" in message


def in_child(test) -> None:
    """Run *test* in a forked process that may spoil its limits and rights."""
    child = os.fork()
    if not child:
        try:
            test()
        except BaseException:  # noqa: BLE001 - told by the exit status
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("mode", [0o400, 0o200, 0])
def test_a_file_that_may_not_be_opened_is_named_as_that(path, mode):
    path.write_bytes(b"somebody's")

    def test() -> None:
        os.chmod(path, mode)  # noqa: PTH101
        if os.geteuid() == 0:  # who may write anywhere
            os.seteuid(65534)
        message = refused(path)
        assert message.startswith(f"can't use {path}: Permission denied; make file and ")

    in_child(test)


def test_a_full_disk_takes_no_part_of_a_batch_and_later_batches_again(path):
    def test() -> None:
        store = Store()
        with closing(SqliteJournal(path)) as journal:
            append(journal, store, put(key("a"), "m 1\n", 1))
            before = state(store.groups())
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            size = max(file.stat().st_size for file in path.parent.iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, hard))
            large = [put(key(str(i)), f'm{{x="{i}{"y" * 5000}"}} 1\n') for i in range(50)]
            for _ in range(2):
                with pytest.raises(JournalFailed, match="File too large"):
                    append(journal, store, *large)
            assert state(store.groups()) == before
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            append(journal, store, put(key("b"), "n 1\n"), *large)
        assert reopened(path) == state(store.groups())

    in_child(test)


def crashed(path: Path, place: Path) -> Path:
    """Copies what a process that is killed now would leave behind; returns the copy."""
    place.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{place / path.name}{suffix}")
    return place / path.name


FAILURES = [
    pytest.param(apsw.SQLITE_FULL, "write", "disk full", id="full"),
    pytest.param(apsw.SQLITE_IOERR_WRITE, "write", "Input/output error", id="write"),
    pytest.param(apsw.SQLITE_IOERR_FSYNC, "sync", "Input/output error", id="sync"),
]


@pytest.mark.parametrize(("code", "operation", "reason"), FAILURES)
def test_a_refused_batch_is_not_there_after_a_crash(path, disk, tmp_path, code, operation, reason):
    store = Store()
    with closing(SqliteJournal(path, vfs=failingdisk.NAME)) as journal:
        append(journal, store, put(key("a"), "m 1\n"), put(key("b"), "n 1\n"))
        for batch in ([put(key("c"), "o 1\n"), Delete(key("b"))], [put(key("a"), "m 2\n")]):
            with disk.failing(code, operation, "-wal"):
                for _ in range(2):
                    with pytest.raises(JournalFailed, match=reason) as caught:
                        append(journal, store, *batch)
            assert not caught.value.unknown
            assert "rollback" not in str(caught.value)
            copy = crashed(path, tmp_path / batch[0].key.job)
            assert reopened(copy) == state(store.groups())
        append(journal, store, put(key("c"), "o 1\n"))
    assert reopened(path) == state(store.groups())


def test_when_the_disk_cannot_take_it_back_the_outcome_is_unknown(
    path, disk, tmp_path, monkeypatch
):
    def fails(_handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    store = Store()
    with closing(SqliteJournal(path, vfs=failingdisk.NAME)) as journal:
        append(journal, store, put(key("a"), "m 1\n"))
        monkeypatch.setattr(os, "fsync", fails)
        with (
            disk.failing(apsw.SQLITE_IOERR_FSYNC, "sync", "-wal"),
            pytest.raises(
                JournalFailed, match="it is unknown whether the push is stored"
            ) as caught,
        ):
            append(journal, store, put(key("b"), "m 1\n"))
        assert caught.value.unknown
        monkeypatch.undo()
        append(journal, store, put(key("c"), "m 1\n"))  # in the place of the unknown one
        assert reopened(crashed(path, tmp_path / "copy")) == state(store.groups())


@pytest.mark.parametrize(
    ("code", "operation", "reason"),
    [
        pytest.param(apsw.SQLITE_FULL, "write", "disk full; free space", id="full"),
        pytest.param(apsw.SQLITE_IOERR_WRITE, "write", "Input/output error", id="write"),
        pytest.param(apsw.SQLITE_IOERR_READ, "read", "I", id="read"),
        pytest.param(apsw.SQLITE_IOERR_FSYNC, "sync", "Input/output error", id="sync"),
        pytest.param(apsw.SQLITE_CANTOPEN, "open", "CantOpenError", id="open"),
    ],
)
@pytest.mark.parametrize("is_new", [True, False])
def test_a_failing_disk_at_the_start_is_no_damage(path, disk, code, operation, reason, is_new):
    if not is_new:
        filled(path)
    before = path.read_bytes() if not is_new else b""
    may_start = not is_new and operation in {"write", "sync"}
    with (
        disk.failing(code, operation),
        nullcontext()
        if may_start
        else pytest.raises(StartupError, match=re.escape(f"can't use {path}: {reason}")) as caught,
        closing(SqliteJournal(path, vfs=failingdisk.NAME)) as journal,
    ):
        journal.load()
    assert may_start or not isinstance(caught.value, DamagedFile)
    if not is_new:
        assert path.read_bytes() == before
    with closing(SqliteJournal(path)) as journal:
        assert len(journal.load().groups) == (0 if is_new else 80)


def test_each_page_that_cannot_be_read_is_named_as_that(path, disk):
    pages = len(filled(path)) // 4096
    for page in range(pages):
        with (
            disk.unreadable(page * 4096),
            pytest.raises(StartupError, match="can't use") as caught,
            closing(SqliteJournal(path, vfs=failingdisk.NAME)) as journal,
        ):
            journal.load()
        assert not isinstance(caught.value, DamagedFile), page


def test_a_start_that_dies_while_it_creates_the_tables_starts_again(path, disk):
    operations: list[str] = []
    disk.rule = lambda operation, _: operations.append(operation) or 0
    SqliteJournal(path, vfs=failingdisk.NAME).close()
    for number in range(len(operations)):
        for file in path.parent.iterdir():
            file.unlink()
        left = iter(range(number))
        disk.rule = lambda *_, left=left: 0 if next(left, None) is not None else apsw.SQLITE_FULL
        with suppress(StartupError, apsw.Error):
            SqliteJournal(path, vfs=failingdisk.NAME).close()
        disk.rule = None
        with closing(SqliteJournal(path)) as journal:
            assert journal.load().groups == []
    assert len(operations) > 20


def test_a_flipped_bit_is_reported_or_changes_nothing(path):
    whole = filled(path)
    expected = reopened(path)
    choose = random.Random(7)
    places = [*range(100), *(choose.randrange(len(whole)) for _ in range(400))]
    reported = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << choose.randrange(8)
        path.write_bytes(damaged)
        try:
            assert reopened(path) == expected
        except StartupError:
            reported += 1
    assert reported > 200


def test_a_report_of_damage_names_the_groups(path):
    filled(path)
    with closing(sqlite3.connect(path)) as connection:
        changed = "CAST(replace(CAST(families AS TEXT), 'm1', 'm2') AS BLOB)"
        connection.execute(f"UPDATE shapes SET families = {changed} WHERE id = 3")
        connection.execute("UPDATE groups SET state = substr(state, 1, 40) WHERE id = 7")
        connection.commit()
    message = refused(path)
    assert (
        'shape 3: its checksum is wrong; group {job="1"}: it needs shape 3; '
        'group {job="3"}: its checksum is wrong' in message
    )


@pytest.mark.parametrize("part", ["head", "first", "middle"])
def test_a_flipped_bit_in_the_wal_is_reported_instead_of_losing_what_follows(path, tmp_path, part):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        for number in range(20):
            append(journal, store, put(key("a"), f"m {number}\n"))
        copy = crashed(path, tmp_path / "copy")
    wal = Path(f"{copy}-wal")
    whole = bytearray(wal.read_bytes())
    whole[{"head": 9, "first": 32 + 100, "middle": len(whole) // 2}[part]] ^= 0x10
    wal.write_bytes(whole)
    assert "write-ahead log is wrong" in refused(copy)
    assert wal.read_bytes() == whole


@pytest.mark.parametrize("what", ["pushgate.db", "pushgate.db-wal", "."])
@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_deleted_or_replaced_under_the_server_takes_no_push(tmp_path, what, replaced):
    store, path = Store(), tmp_path / "data" / "pushgate.db"
    path.parent.mkdir()
    with closing(SqliteJournal(path)) as journal:
        append(journal, store, put(key("a"), "m 1\n"))
        victim = path.parent / what
        aside = victim.rename(tmp_path / "aside")
        if replaced:
            (shutil.copytree if what == "." else shutil.copy)(aside, victim)
        with pytest.raises(JournalFailed, match="put "):
            journal.check()
        with pytest.raises(JournalFailed, match="put "):
            append(journal, store, put(key("a"), "m 2\n"))
        if replaced:
            shutil.rmtree(victim) if what == "." else victim.unlink()
        aside.rename(victim)
        journal.check()
        append(journal, store, put(key("a"), "m 3\n"))
    assert reopened(path) == state(store.groups())


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_cut_short_under_the_server_takes_no_push(path, suffix):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        append(journal, store, put(key("a"), "m 1\n"))
        os.truncate(f"{path}{suffix}", 0)
        for _ in range(2):
            with pytest.raises(
                JournalFailed, match="was cut short under the running server: restart"
            ):
                append(journal, store, put(key("a"), "m 2\n"))


def test_the_wal_of_a_database_that_was_put_in_place_meanwhile_is_left_alone(path, tmp_path):
    other, store = tmp_path / "other.db", Store()
    journal = SqliteJournal(path)
    with closing(SqliteJournal(other)) as restored:
        append(restored, store, put(key("a"), "m 1\n"))
        for suffix in ("", "-wal"):
            shutil.copy(f"{other}{suffix}", f"{path}{suffix}.new")
    for suffix in ("", "-wal"):
        os.replace(f"{path}{suffix}.new", f"{path}{suffix}")  # noqa: PTH105
    journal.close()
    assert reopened(path) == state(store.groups())


def test_a_log_whose_database_is_gone_is_refused_instead_of_deleted(path, tmp_path):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        append(journal, store, put(key("a"), "m 1\n"))
        copy = crashed(path, tmp_path / "copy")
    log = Path(f"{copy}-wal")
    content = log.read_bytes()
    for remove in (copy.unlink, copy.touch):
        remove()
        assert "the file is gone or empty, but its write-ahead log is there" in refused(copy)
        assert log.read_bytes() == content


def test_a_bug_within_a_batch_leaves_no_transaction_open(path, monkeypatch):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        append(journal, store, put(key("a"), "m 1\n"), put(key("b"), "n 1\n"))
        with monkeypatch.context() as patch:
            execute, statements = journal._execute, []

            def fails(sql, parameters=()):
                statements.append(sql)
                if len(statements) == 3:
                    raise RuntimeError("a bug")
                return execute(sql, parameters)

            patch.setattr(journal, "_execute", fails)
            with pytest.raises(RuntimeError):
                journal.append(store.admit(put(key("c"), "o 1\n")))
        append(journal, store, put(key("d"), "p 1\n"))
    assert [group.job for group in reopened(path)] == ["a", "b", "d"]


def test_files_are_private(path):
    with closing(SqliteJournal(path)) as journal:
        append(journal, Store(), put(key("a"), "m 1\n"))
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"pushgate.db": 0o600, "pushgate.db-wal": 0o600}


def test_the_file_shrinks_in_small_steps_after_most_of_it_was_deleted(path, monkeypatch):
    monkeypatch.setattr("pushgate.server.storage.sqlite._CHECKPOINT_FRAMES", 100)
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        large = [put(key(str(i)), f'm{{x="{i}{"y" * 5000}"}} 1\n') for i in range(2000)]
        append(journal, store, *large)
        assert not journal.tidy()
        append(journal, store, *[Delete(key(str(i))) for i in range(1, 2000)])
        size = path.stat().st_size
        steps = 0
        while journal.tidy():
            steps += 1
        assert steps > 5
        assert path.stat().st_size < size / 5
        assert journal.tidy_failures == 0
    assert reopened(path) == state(store.groups())


def test_a_checkpoint_that_keeps_failing_is_logged_once_and_counted(
    path, disk, caplog, monkeypatch
):
    store = Store()
    monkeypatch.setattr("pushgate.server.storage.sqlite._RETRY_SECONDS", 0)
    monkeypatch.setattr("pushgate.server.storage.sqlite._CHECKPOINT_FRAMES", 10)
    caplog.set_level("INFO")
    with closing(SqliteJournal(path, vfs=failingdisk.NAME)) as journal:
        large = [put(key(str(i)), f'm{{x="{i}{"y" * 30000}"}} 1\n') for i in range(5)]
        append(journal, store, *large)
        with disk.failing(apsw.SQLITE_IOERR_WRITE, "write", "pushgate.db"):
            for _ in range(3):
                assert not journal.tidy()
                append(journal, store, put(key("a"), "m 1\n"))
        assert journal.tidy_failures == 3
        assert not journal.tidy()
    said = [(record.levelname, record.message.partition(";")[0]) for record in caplog.records]
    assert said == [("ERROR", "checkpoint failed"), ("INFO", "checkpoints succeed again")]
    assert reopened(path) == state(store.groups())


def test_on_a_full_disk_the_log_begins_anew_in_its_place(path, disk):
    store = Store()
    with closing(SqliteJournal(path, vfs=failingdisk.NAME)) as journal:
        for number in range(10):
            append(journal, store, put(key("a"), f"m {number}\n"))
        with disk.full():
            with pytest.raises(JournalFailed, match="disk full"):
                append(journal, store, put(key("a"), "m 10\n"))
            journal.tidy()
            for number in range(10):
                append(journal, store, put(key("a"), f"m {number}\n"))
    assert reopened(path) == state(store.groups())


def restored(left: dict[str, bytes], place: Path) -> dict:
    """What a server finds in the files *left*."""
    place.mkdir(exist_ok=True)
    for file in place.iterdir():
        file.unlink()
    for name, data in left.items():
        (place / name).write_bytes(data)
    return reopened(place / "pushgate.db")


def test_after_a_power_cut_at_any_write_everything_answered_is_there(path, tmp_path, monkeypatch):
    """With any part of what was written since the last sync; never is that called damage."""
    choose, store, cuts = random.Random(11), Store(), 0
    disk = powercut.PowerCutDisk(choose)
    monkeypatch.setattr("pushgate.server.storage.sqlite._CHECKPOINT_FRAMES", 20)
    with closing(SqliteJournal(path, vfs=powercut.NAME)) as journal:
        for number in range(100):
            before = state(store.groups())
            label = "y" * choose.choice([1, 5000, 20000])
            jobs = choose.sample("abcdef", choose.randint(1, 3))
            changes = [put(key(job), f'm{{x="{label}"}} {number}\n', number) for job in jobs]
            disk.left.clear()
            append(journal, store, *changes, *([wipe(store)] if choose.random() < 0.1 else []))
            after = state(store.groups())
            for left in disk.left:
                assert restored(left, tmp_path / "left") in (before, after)
            cuts += len(disk.left)
            disk.left.clear()
            journal.tidy()
            for left in [*disk.left, disk.after_a_cut()]:
                assert restored(left, tmp_path / "left") == after
                cuts += 1
    assert cuts > 200
