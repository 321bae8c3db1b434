"""Reads and cuts SQLite's write-ahead log: finds lost frames, and removes refused ones.

https://sqlite.org/fileformat2.html#the_write_ahead_log
"""

import os
import struct
from pathlib import Path
from typing import IO, Final

_HEADER: Final = struct.Struct(">8I")  # magic, version, page size, sequence, salts, checksums
_FRAME: Final = struct.Struct(">6I")  # page, pages after commit (or 0), salts, checksums
_MAGIC: Final = 0x377F0682  # the lowest bit: whether checksums are big-endian


def check(path: Path, in_use: int) -> None:
    """Raise ValueError if committed frames follow the first *in_use* ones, which SQLite accepts.

    SQLite takes a frame with a wrong checksum for the torn end of the log, and ignores all frames
    after it. But transactions are synced one by one: if one is torn, none follows. So if a whole
    frame follows a later commit, the log was damaged afterwards. Damage in the last transaction
    cannot be distinguished from a torn end.
    """
    try:
        log = path.open("rb")
    except FileNotFoundError:
        return
    with log:
        raw = log.read(_HEADER.size)
        if len(raw) < _HEADER.size or not any(raw):
            return
        magic, _, page_size, _, *salts, sum1, sum2 = _HEADER.unpack(raw)
        order = ">" if magic & 1 else "<"
        if magic & ~1 != _MAGIC or (sum1, sum2) != _checksum(raw[:24], order, (0, 0)):
            raise ValueError("the head of its write-ahead log is wrong")
        size = _FRAME.size + page_size
        log.seek(_HEADER.size + in_use * size)
        # The first frame is the wrong one, so nothing in its head can be relied on. The checksum of
        # a frame continues that of the one before: with those of two frames, one can be checked.
        pages, sums, _ = _next_frame(log, size, salts) or (0, (0, 0), b"")
        committed = sums if pages else None
        while frame := _next_frame(log, size, salts):
            pages, sums, content = frame
            if committed and _checksum(content, order, committed) == sums:
                raise ValueError(
                    f"frame {in_use + 1} of its write-ahead log is wrong, and pushes follow it"
                )
            committed = sums if pages else None


def cut(path: Path, in_use: int) -> None:
    """Cut the log off after its first *in_use* frames, and sync it."""
    with path.open("r+b") as log:
        (page_size,) = struct.unpack_from(">8xI", log.read(12).ljust(12, b"\0"))
        size = _HEADER.size + in_use * (_FRAME.size + page_size) if in_use else 0
        if os.fstat(log.fileno()).st_size > size:
            log.truncate(size)
            os.fsync(log.fileno())


def _next_frame(
    log: IO[bytes], size: int, salts: list[int]
) -> tuple[int, tuple[int, int], bytes] | None:
    """Return pages, checksums and content of a frame, None if it is not part of this log."""
    raw = log.read(size)
    if len(raw) < size:
        return None
    _, pages, *its_salts, sum1, sum2 = _FRAME.unpack_from(raw)
    # A log that begins anew overwrites older frames, which have other salts.
    if its_salts != salts:
        return None
    return pages, (sum1, sum2), raw[:8] + raw[_FRAME.size :]  # without salts and checksums


def _checksum(data: bytes, order: str, start: tuple[int, int]) -> tuple[int, int]:
    # The checksum algorithm of the file format, on pairs of 32-bit words.
    sum1, sum2 = start
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data[: len(data) // 8 * 8]))
    for word in words:
        sum1 = (sum1 + word + sum2) & 0xFFFFFFFF
        sum2 = (sum2 + next(words) + sum1) & 0xFFFFFFFF
    return sum1, sum2
