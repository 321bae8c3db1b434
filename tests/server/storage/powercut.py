"""A disk that keeps, at a power cut, what was synced and any part of what was not."""

import random
from pathlib import Path

import apsw

NAME = "powercut"
SECTOR = 512

Operation = tuple[int, bytes | None]
"""An offset and what is written there, or None: the file is cut off there."""


class PowerCutDisk(apsw.VFS):
    """Writes to the real disk, and remembers what a disk without power would still have."""

    def __init__(self, choose: random.Random) -> None:
        super().__init__(NAME, "unix")
        self._choose = choose
        self.synced: dict[str, bytearray] = {}
        self.pending: dict[str, list[Operation]] = {}
        self.left: list[dict[str, bytes]] = []
        """The files after a power cut at some moments so far."""

    def xOpen(self, name, flags) -> "PowerCutFile":  # noqa: N802 - SQLite's name
        return PowerCutFile(self, name, flags)

    def xDelete(self, name, sync_directory) -> None:  # noqa: N802
        super().xDelete(name, sync_directory)
        for files in (self.synced, self.pending):
            files.pop(Path(name).name, None)

    def after_a_cut(self) -> dict[str, bytes]:
        """Return the files as they are if the power goes now: sectors are written or not."""
        files = {}
        for name, synced in self.synced.items():
            content = bytearray(synced)
            for offset, data in self.pending[name]:
                if data is None:
                    sectors: list[Operation] = [(offset, None)]
                else:
                    starts = range(0, len(data), SECTOR)
                    sectors = [(offset + at, data[at : at + SECTOR]) for at in starts]
                for sector in sectors:
                    if self._choose.random() < 0.5:
                        apply(content, sector)
            files[name] = bytes(content)
        return files

    def maybe_cut(self) -> None:
        """Remember what a power cut at this moment would leave, at some moments."""
        if self._choose.random() < 0.2:
            self.left.append(self.after_a_cut())


class PowerCutFile(apsw.VFSFile):
    def __init__(self, disk: PowerCutDisk, name, flags) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk
        path = Path(name if isinstance(name, str) else name.filename())
        disk.synced.setdefault(path.name, bytearray(path.read_bytes()))
        self._pending = disk.pending.setdefault(path.name, [])
        self._synced = disk.synced[path.name]

    def xWrite(self, data, offset) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._pending.append((offset, bytes(data)))
        self._disk.maybe_cut()

    def xTruncate(self, size) -> None:  # noqa: N802
        super().xTruncate(size)
        self._pending.append((size, None))

    def xSync(self, flags) -> None:  # noqa: N802
        super().xSync(flags)
        self._disk.maybe_cut()
        for operation in self._pending:
            apply(self._synced, operation)
        self._pending.clear()


def apply(content: bytearray, operation: Operation) -> None:
    offset, data = operation
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data
