"""The exclusive right to a file, between processes."""

import subprocess
import sys

import pytest

from pushgate.server.storage.files import make_directories
from pushgate.server.storage.lock import FileLock

HOLDS = """
import sys
from pathlib import Path
from pushgate.server.storage.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(float(sys.argv[2])), flush=True)
sys.stdin.read()
"""


def process(path, wait: float = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDS, path, str(wait)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_of_many_processes_that_start_at_the_same_moment_one_gets_the_file(tmp_path):
    path = tmp_path / "new" / "directory" / "file"
    processes = [process(path) for _ in range(6)]
    answers = [one.stdout.readline().strip() for one in processes]
    for one in processes:
        one.communicate()
    assert sorted(answers) == ["False"] * 5 + ["True"]


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "file"
    with process(path) as first:
        assert first.stdout.readline() == "True\n"
        assert not FileLock(path).acquire(0)
        first.kill()
    lock = FileLock(path)
    assert lock.acquire(5)
    lock.release()
    assert [*tmp_path.iterdir()] == []


def test_waiting_processes_get_it_one_after_the_other(tmp_path):
    path = tmp_path / "file"
    lock = FileLock(path)
    assert lock.acquire(0)
    waiting = [process(path, 30) for _ in range(3)]
    for one in waiting:
        one.stdin.close()  # each lets go as soon as it has said that it holds the lock
    lock.release()
    for one in waiting:
        with one:
            assert one.stdout.read() == "True\n"
        assert one.returncode == 0


def test_the_lock_file_is_private(tmp_path):
    lock = FileLock(tmp_path / "file")
    assert lock.acquire(0)
    assert (tmp_path / "file.lock").stat().st_mode & 0o777 == 0o600
    lock.release()


def test_what_is_no_directory_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        make_directories(tmp_path / "file" / "below")
