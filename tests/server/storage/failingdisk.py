"""A disk that fails on command: an SQLite VFS over the real one."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw

Rule = Callable[[str, str], int]
"""From an operation (``open``, ``read``, ``write``, ``sync``, ``truncate``) and the name of a
file to the SQLite error that it ends with, 0 for none."""

NAME = "failing"


class FailingDisk(apsw.VFS):
    """Passes everything on to the real disk, unless :attr:`rule` says how it fails."""

    def __init__(self) -> None:
        super().__init__(NAME, "")
        self.rule: Rule | None = None
        self.unreadable_at = -1
        self.is_full = False

    @contextmanager
    def full(self) -> Iterator[None]:
        """Within the block, no file can grow."""
        self.is_full = True
        try:
            yield
        finally:
            self.is_full = False

    @contextmanager
    def unreadable(self, offset: int) -> Iterator[None]:
        """Within the block, what is at *offset* of any file can't be read."""
        self.unreadable_at = offset
        try:
            yield
        finally:
            self.unreadable_at = -1

    def xGetLastError(self):  # noqa: N802 - SQLite's name
        if self.rule is None and self.unreadable_at < 0:
            return super().xGetLastError()
        return errno.EIO, ""

    def fail(self, operation: str, name: str) -> None:
        if self.rule is not None and (code := self.rule(operation, name)):
            raise apsw.exception_for(code)

    @contextmanager
    def failing(self, code: int, operation: str, suffix: str = "") -> Iterator[None]:
        """Within the block, *operation* on files whose name ends in *suffix* fails."""
        self.rule = lambda what, name: (what == operation and name.endswith(suffix)) and code
        try:
            yield
        finally:
            self.rule = None

    def xOpen(self, name, flags) -> "FailingFile":  # noqa: N802 - SQLite's name
        return FailingFile(self, name, flags)


class FailingFile(apsw.VFSFile):
    def __init__(self, disk: FailingDisk, name, flags) -> None:
        self._disk = disk
        self._name = name if isinstance(name, str) or name is None else name.filename()
        disk.fail("open", self._name or "")
        super().__init__("", name, flags)

    def xRead(self, amount, offset):  # noqa: N802
        self._disk.fail("read", self._name or "")
        if offset <= self._disk.unreadable_at < offset + amount:
            raise apsw.exception_for(apsw.SQLITE_IOERR_READ)
        return super().xRead(amount, offset)

    def xWrite(self, data, offset):  # noqa: N802
        self._disk.fail("write", self._name or "")
        if self._disk.is_full and offset + len(data) > self.xFileSize():
            raise apsw.exception_for(apsw.SQLITE_FULL)
        super().xWrite(data, offset)

    def xSync(self, flags):  # noqa: N802
        self._disk.fail("sync", self._name or "")
        super().xSync(flags)

    def xTruncate(self, size):  # noqa: N802
        self._disk.fail("truncate", self._name or "")
        super().xTruncate(size)
