import subprocess

import pytest

from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store.group import Group
from pushgate.server.store.store import Step
from tests import services
from tests.cli.commands import pushgate
from tests.server.pushes import key


@pytest.fixture
def data(tmp_path):
    """A persistence file with two groups, one of which was never pushed to."""
    path = tmp_path / "pushgate.db"
    journal = SqliteJournal(path)
    journal.load()
    pushed = Group(key("backup"), (), pushed_at=1_700_000_000 * 10**9, failed_at=0, since=1)
    refused = Group(key("refused"), (), pushed_at=0, failed_at=1, since=1)
    journal.append([Step(None, pushed), Step(None, refused)])
    journal.close()
    return path


def test_a_backup_is_checked_and_restored(data, tmp_path):
    backup = tmp_path / "backup.db"
    size = f"{data.stat().st_size} bytes"
    done = pushgate("backup", backup, "--persistence.file", data)
    assert (done.exit_code, done.output) == (
        0,
        f"{backup}: 2 groups, 0 series, {size}, undamaged\n",
    )
    assert backup.stat().st_mode & 0o777 == 0o600
    done = pushgate("check", backup)
    assert done.output.splitlines()[1] == 'oldest push: 2023-11-14T22:13:20Z, {job="backup"}'
    done = pushgate("restore", backup, "--persistence.file", tmp_path / "new" / "pushgate.db")
    assert (done.exit_code, done.output) == (0, f"restored 2 groups, 0 series, {size}, undamaged\n")
    assert (tmp_path / "new" / "pushgate.db").exists()


def test_what_is_there_is_only_replaced_if_asked_to(data, tmp_path):
    pushgate("backup", tmp_path / "backup.db", "--persistence.file", data)
    before = data.read_bytes()
    done = pushgate("restore", tmp_path / "backup.db", "--persistence.file", data)
    assert (done.exit_code, data.read_bytes()) == (2, before)
    assert "give --replace" in done.stderr
    replaced = pushgate("restore", tmp_path / "backup.db", "--persistence.file", data, "--replace")
    assert replaced.exit_code == 0
    assert len([*tmp_path.glob("pushgate.db.replaced-*")]) == 1


def test_damage_is_status_2_and_nothing_is_restored(data, tmp_path):
    content = data.read_bytes()
    at = content.index(b"backup")
    data.write_bytes(content[:at] + b"B" + content[at + 1 :])
    for command in (["check", data], ["restore", data, "--persistence.file", tmp_path / "new.db"]):
        done = pushgate(*command)
        assert done.exit_code == 2
        assert f'{data} is damaged (group {{job="Backup"}}: its checksum is wrong)' in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pushgate.db"]


def test_a_file_is_copied(data, tmp_path):
    none = pushgate("copy", tmp_path / "none", tmp_path / "copy.db")
    assert none.exit_code == 2
    assert none.stderr == f"pushgate: {tmp_path / 'none'} does not exist: name another file\n"
    done = pushgate("copy", data, tmp_path / "copy.db")
    assert (done.exit_code, done.output) == (0, "copied 2 groups with 0 series\n")


def test_a_database_that_is_away_is_one_line_without_its_password(tmp_path):
    done = pushgate("copy", "postgresql://u:s3cret@127.0.0.1:1/db", tmp_path / "copy.db")
    assert done.exit_code == 2
    assert done.stderr.startswith("pushgate: can't use the database 127.0.0.1:1/db: ")
    assert "s3cret" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_a_database_of_the_environment_does_not_take_the_place_of_a_file(
    data, tmp_path, monkeypatch, command
):
    monkeypatch.setenv("PUSHGATE_PERSISTENCE_URL", "postgresql://u@127.0.0.1:1/db")
    done = pushgate(command, tmp_path / "backup.db", "--persistence.file", data)
    assert done.exit_code == 2
    assert "PUSHGATE_PERSISTENCE_URL: leave one of them out" in done.stderr
    assert "can't use the database" in pushgate(command, data).stderr


@pytest.mark.parametrize(
    "arguments", [("check", ""), ("check", "/"), ("backup", "."), ("copy", "/", "copy.db")]
)
def test_a_directory_in_place_of_a_file_is_said_in_one_line(data, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    flags = ("--persistence.file", data) if arguments[0] == "backup" else ()
    done = pushgate(*arguments, *flags)
    assert done.exit_code == 2
    assert done.stderr.startswith("pushgate: can't copy ")


@services.needs_setpriv
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("backup", "locked/b.db", "--persistence.file=x.db"), "can't copy x.db to locked/b.db: "),
        (("backup", "b.db", "--persistence.file=locked/x.db"), "can't copy locked/x.db to b.db: "),
        (("restore", "x.db", "--persistence.file=locked/x.db"), "can't use locked/x.db: "),
        (("copy", "locked/x.db", "y.db"), "can't use locked/x.db: "),
        (("copy", "x.db", "locked/y.db"), "can't use locked/y.db: "),
    ],
)
def test_a_directory_that_may_not_be_read_is_said_in_one_line(data, arguments, said):
    data.rename(data.parent / "x.db")
    (data.parent / "locked").mkdir(mode=0o000)
    done = subprocess.run(
        [*services.WITHOUT_PRIVILEGES, services.PUSHGATE, *arguments],
        cwd=data.parent, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"pushgate: {said}Permission denied")
