"""The write-ahead log of a real SQLite, damaged and cut."""

import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from pushgate.server.storage import wal

COMMITS = 6


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> bytes:
    """The log after some transactions, one frame each but for the first."""
    path = tmp_path_factory.mktemp("wal") / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
        for number in range(COMMITS - 1):
            connection.execute("INSERT INTO t VALUES (?)", (number,))
        return Path(f"{path}-wal").read_bytes()


FRAME = 24 + 4096


def frames(log: bytes) -> int:
    return (len(log) - 32) // FRAME


def checked(tmp_path: Path, log: bytes, in_use: int) -> None:
    path = tmp_path / "x.db-wal"
    path.write_bytes(log)
    wal.check(path, in_use)


def test_a_whole_log_is_fine_and_so_is_none(tmp_path, log):
    checked(tmp_path, log, frames(log))
    checked(tmp_path, b"", 0)
    checked(tmp_path, bytes(32), 0)
    wal.check(tmp_path / "not there", 0)


@pytest.mark.parametrize("place", range(FRAME * 1, FRAME * 2, 997))
def test_damage_before_the_last_transactions_is_noticed(tmp_path, log, place):
    damaged = bytearray(log)
    damaged[32 + FRAME + place - FRAME] ^= 4
    in_use = 1  # as far as SQLite reads
    with pytest.raises(ValueError, match="frame 2 of its write-ahead log is wrong"):
        checked(tmp_path, bytes(damaged), in_use)


def test_damage_to_the_head_is_noticed(tmp_path, log):
    for place in range(32):
        damaged = bytearray(log)
        damaged[place] ^= 1
        with pytest.raises(ValueError, match="head of its write-ahead log"):
            checked(tmp_path, bytes(damaged), 0)


def test_a_torn_end_is_no_damage(tmp_path, log):
    count = frames(log)
    for length in range(32 + FRAME * (count - 1), len(log), 500):
        checked(tmp_path, log[:length], count - 1)
    torn = bytearray(log)
    torn[-100:] = bytes(100)
    checked(tmp_path, bytes(torn), count - 1)


def test_frames_of_an_earlier_use_of_the_log_are_no_damage(tmp_path, log):
    renewed = bytearray(log)
    for number in range(2, frames(log)):
        struct.pack_into(">II", renewed, 32 + number * FRAME + 8, 1, 2)  # other salts
    checked(tmp_path, bytes(renewed), 2)


def test_what_a_failed_transaction_left_behind_another_one_is_no_damage(tmp_path, log):
    """The next one wrote over the first frames of it, so they do not follow each other."""
    first, third, fifth = (log[32 + n * FRAME :][:FRAME] for n in (0, 2, 4))
    checked(tmp_path, log[:32] + first + fifth + third, 1)


def test_a_cut_removes_what_follows(tmp_path, log):
    path = tmp_path / "x.db-wal"
    path.write_bytes(log)
    wal.cut(path, 3)
    assert path.read_bytes() == log[: 32 + 3 * FRAME]
    wal.cut(path, 3)
    wal.cut(path, 0)
    assert path.read_bytes() == b""
    wal.cut(path, 0)


@settings(max_examples=50)
@given(st.binary(max_size=300), st.integers(0, 3))
def test_any_bytes_are_a_log_or_none(tmp_path_factory, data, in_use):
    path = tmp_path_factory.getbasetemp() / "any-wal"
    path.write_bytes(data)
    with suppress(ValueError):
        wal.check(path, in_use)
