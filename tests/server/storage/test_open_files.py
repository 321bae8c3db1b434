import os
from pathlib import Path

import pytest

from pushgate.errors import JournalFailed
from pushgate.server.storage.open_files import OpenFiles


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "x.db"
    for suffix in ("", "-wal"):
        Path(f"{file}{suffix}").write_bytes(b"12345678")
    return file


def replace(path: Path) -> None:
    (path.parent / "other").write_bytes(b"12345678")
    (path.parent / "other").replace(path)


def test_files_that_grow_are_still_in_place(path):
    files = OpenFiles(path)
    for size in (8, 9, 9):
        os.truncate(path, size)
        files.check()
    assert files.are_in_place()


def test_a_file_that_comes_back_is_in_place_again(path):
    files = OpenFiles(path)
    aside = path.rename(path.parent / "aside")
    with pytest.raises(JournalFailed, match="put it back, or restart"):
        files.check()
    replace(path)
    with pytest.raises(JournalFailed, match="put the file that was there back"):
        files.check()
    aside.replace(path)
    files.check()


def test_a_file_that_became_shorter_is_lost_however_it_grows_afterwards(path):
    files = OpenFiles(path)
    files.check()
    os.truncate(path, 7)
    for size in (7, 100):
        os.truncate(path, size)
        with pytest.raises(JournalFailed, match="was cut short under the running server: restart"):
            files.check()


@pytest.mark.parametrize("accept", [OpenFiles.may_shrink, OpenFiles.note_sizes])
def test_a_file_that_was_shortened_on_purpose_is_in_place(path, accept):
    files = OpenFiles(path)
    files.check()
    os.truncate(f"{path}-wal", 0)
    accept(files)
    files.check()


def test_after_a_write_to_a_replaced_file_nothing_more_is_written(path):
    files = OpenFiles(path)
    aside = path.rename(path.parent / "aside")
    with pytest.raises(JournalFailed, match="deleted or replaced") as failed:
        files.note_write()
    assert failed.value.unknown
    aside.replace(path)
    assert not files.are_in_place()
