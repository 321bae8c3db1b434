"""The journal in a real SQLite file: what is appended is there again, whatever happened."""

import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from pushgate.errors import JournalFailed, StartupError
from pushgate.model.shape import Pushed, PushShape, frame_of, interned
from pushgate.server.change import Change, Delete, Fail, Replace, Wipe
from pushgate.server.sqlite import SqliteJournal
from pushgate.server.store import Store
from tests.server.pushes import content, key, post, pushed, put


@pytest.fixture(params=["apsw", "sqlite3"])
def library(request, monkeypatch):
    """Both libraries, one after the other."""
    if request.param == "sqlite3":
        monkeypatch.setitem(sys.modules, "apsw", None)
    return request.param


@pytest.fixture
def path(tmp_path, library):
    return tmp_path / "data" / "pushgate.db"


def append(journal: SqliteJournal, store: Store, *changes: Change) -> None:
    """Append *changes* as one batch, and make them visible."""
    steps = [step for one in changes for step in store.admit(one)]
    try:
        journal.append(steps)
    except JournalFailed:
        store.withdraw(reversed(steps))
        raise
    store.apply(steps)


def state(groups) -> dict:
    return {
        group.key: (group.pushed_at, group.failed_at, group.since, content(group))
        for group in groups
    }


def reopened(path: Path) -> dict:
    with closing(SqliteJournal(path)) as journal:
        return state(journal.load())


def shapes_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM shapes").fetchone()[0]


def test_everything_is_there_again(path):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        assert journal.load() == []
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
    st.builds(Wipe),
)


@settings(max_examples=25)
@given(st.lists(st.lists(changes, max_size=5), min_size=1, max_size=5))
def test_any_batches_are_there_again_with_no_shape_too_many(batches):
    store = Store()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "pushgate.db")
        for batch in batches:
            with closing(SqliteJournal(path)) as journal:
                assert state(journal.load()) == state(store.groups())
                append(journal, store, *batch)
                append(journal, store, *batch)
        used = {block.pushed.shape for group in store.groups() for block in group.blocks}
        assert (reopened(path), shapes_in(path)) == (state(store.groups()), len(used))


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
    families = pushed('m{a="1"} 1\n').shape.families
    twins = [PushShape(families, frame_of(families)) for _ in range(2)]
    with closing(SqliteJournal(path)) as journal:
        for job, shape in zip("ab", twins, strict=True):
            append(journal, store, Replace(key(job), Pushed(shape, b"1"), 1))
    for job in "ab":
        with closing(SqliteJournal(path)) as journal:
            store = Store()
            store.load(journal.load())
            for group in store.groups():
                assert group.blocks[0].pushed.shape is interned(families)
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
    path.parent.mkdir()
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
            "from pushgate.server.sqlite import SqliteJournal\n"
            "try: SqliteJournal(Path(sys.argv[1]))\n"
            "except StartupError as error: print(error)"
        )
        second = subprocess.run(
            [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
        )
        append(journal, Store(), put(key(), "m 1\n"))
    assert second.stdout == (
        f"{path} is in use by another process: stop it, or name another --persistence.file\n"
    )


@pytest.mark.parametrize("name", ["file/pushgate.db", "directory"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, library, name):
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    message = refused(tmp_path / name)
    assert message.startswith(f"can't write {tmp_path / name}: ")
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


def test_a_directory_that_is_not_ours_is_refused(path):
    path.parent.mkdir(mode=0o555)

    def test() -> None:
        if os.geteuid() == 0:  # who may write anywhere
            os.seteuid(65534)
        assert refused(path).startswith(f"can't write {path}: Permission denied. Make the ")

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
                with pytest.raises(JournalFailed, match="free space on the disk"):
                    append(journal, store, *large)
            assert state(store.groups()) == before
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            append(journal, store, put(key("b"), "n 1\n"), *large)
        assert reopened(path) == state(store.groups())

    in_child(test)


class Failing:
    """A connection whose statements fail from number *after* on."""

    def __init__(self, connection, error: type[Exception]) -> None:
        self._connection, self._error, self.left = connection, error, -1

    def execute(self, sql: str, parameters=(), /):
        if self.left == 0 and sql != "ROLLBACK":
            raise self._error("disk I/O error")
        self.left -= 1
        return self._connection.execute(sql, parameters)

    def close(self) -> None:
        self._connection.close()


def test_a_batch_that_fails_at_any_statement_leaves_nothing_behind(path):
    store = Store()
    with closing(SqliteJournal(path)) as journal:
        append(journal, store, put(key("a"), "m 1\n"), put(key("b"), "n 1\n"))
        before = state(store.groups())
        connection = journal._connection = Failing(journal._connection, journal._error)
        batch = [put(key("c"), "o 1\n"), put(key("a"), "p 1\n"), Delete(key("b"))]
        for number in range(7):  # BEGIN, shapes, groups, a group, two shapes, COMMIT
            connection.left = number
            with pytest.raises(JournalFailed):
                append(journal, store, *batch)
            assert state(store.groups()) == before
        connection.left = -1
        append(journal, store, *batch)
    assert reopened(path) == state(store.groups())
    assert shapes_in(path) == 2
