"""Files and pipes of the configuration, real ones."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pushgate.properties.files import read_file, read_text
from tests.named_pipes import pipe

pytestmark = pytest.mark.timeout(12)


def test_text_has_no_byte_order_mark(tmp_path):
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbfs\xc3\xa4cret")
    assert read_text(tmp_path / "file") == "säcret"


def test_a_file_is_read_whole(tmp_path):
    (tmp_path / "token").write_bytes(b"x" * 200_000)
    assert len(read_file(tmp_path / "token")) == 200_000
    assert read_file("/dev/null") == b""


@pytest.mark.parametrize("pieces", [(b"token",), (b"to", b"ken"), (b"x" * 100_000, b"y"), (b"",)])
def test_a_writer_that_waits_in_open_is_let_in_and_writes_in_its_own_time(tmp_path, pieces):
    with pipe(tmp_path / "token", *pieces) as path:
        assert read_file(path) == b"".join(pieces)


def test_a_writer_that_comes_late_is_waited_for(tmp_path):
    with pipe(tmp_path / "token", b"token", after=0.2) as path:
        assert read_file(path) == b"token"


@pytest.mark.parametrize("written", [b"token", b""])
def test_a_writer_may_have_ended_already_as_in_a_shell(written):
    ours, its = os.pipe()
    os.write(its, written)
    os.close(its)
    assert read_file(f"/dev/fd/{ours}") == written
    os.close(ours)


def test_a_writer_that_never_comes_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("pushgate.properties.files._PIPE_SECONDS", 0.1)
    with (
        pipe(tmp_path / "token") as path,
        pytest.raises(TimeoutError, match="nothing came from the pipe"),
    ):
        read_file(path)


def test_half_a_token_is_none(monkeypatch):
    monkeypatch.setattr("pushgate.properties.files._PIPE_SECONDS", 0.1)
    ours, its = os.pipe()
    os.write(its, b"to")
    with pytest.raises(TimeoutError, match="it is a pipe that was not closed"):
        read_file(f"/dev/fd/{ours}")
    os.close(ours)
    os.close(its)


def test_a_pipe_is_read_once_and_what_came_out_is_kept():
    ours, its = os.pipe()
    os.write(its, b"token")
    os.close(its)
    assert [read_file(f"/dev/fd/{ours}") for _ in range(2)] == [b"token", b"token"]
    os.close(ours)


def test_what_is_written_to_a_pipe_later_is_read(tmp_path):
    with pipe(tmp_path / "token", b"old") as path:
        assert read_file(path) == b"old"
    path.unlink()
    with pipe(path, b"new") as path:
        assert read_file(path) == b"new"


def test_threads_that_want_one_pipe_get_the_same(tmp_path):
    with pipe(tmp_path / "token", b"to", b"ken") as path, ThreadPoolExecutor() as threads:
        assert set(threads.map(read_file, [path] * 4)) == {b"token"}


def test_a_directory_is_an_error_that_leaves_nothing_open(tmp_path):
    before = set(Path("/dev/fd").iterdir())
    with pytest.raises(IsADirectoryError):
        read_file(tmp_path)
    assert set(Path("/dev/fd").iterdir()) <= before  # garbage may be closed at any time
