"""Files that are private, and directories that are made."""

import os
import time
from pathlib import Path

import pytest

from pushgate.server.storage.files import create_private, dated, make_directories, write_private


def test_a_new_file_is_private_and_an_old_one_is_left_as_it_is(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_bytes(b"content")
    old.chmod(0o640)
    create_private(new)
    create_private(old)
    assert new.stat().st_mode & 0o777 == 0o600
    assert (old.stat().st_mode & 0o777, old.read_bytes()) == (0o640, b"content")


def test_a_file_that_is_kept_is_named_with_the_time_in_utc(monkeypatch):
    gmtime = time.gmtime
    monkeypatch.setattr(time, "gmtime", lambda: gmtime(1_795_339_500.0))
    assert dated(Path("/data/db"), ".damaged") == Path("/data/db.damaged-20261122T092500Z")


@pytest.mark.parametrize("place", ["/dev/null", "/dev/full"])
def test_what_is_no_regular_file_is_an_error(place):
    with pytest.raises(OSError, match="Not a regular file"):
        create_private(Path(place))


def test_what_is_written_is_private_whatever_was_there(tmp_path):
    path = tmp_path / "copy"
    path.write_bytes(b"longer than before")
    write_private(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)


def test_each_directory_that_is_made_is_synced_in_its_parent(tmp_path, monkeypatch):
    synced, sync = [], os.fsync

    def fsync(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    make_directories(tmp_path / "a" / "b")
    make_directories(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert synced == [tmp_path, tmp_path / "a"]
