"""A real PostgreSQL for tests: a cluster of its own in a temporary directory, on loopback.

Its programs come from the directory PUSHGATE_TEST_POSTGRES, else from where Debian puts them,
else from the PATH. A test that needs them is skipped where they are missing.
"""

import atexit
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest

from tests import services
from tests.waiting import until

_MEMORY, _ROOM = Path("/dev/shm"), 4 << 30
READY_WITHIN = 60.0
STOPPED_WITHIN = 60.0
SUPERUSER = "postgres"
GUARDED, PASSWORD = "guarded", "secret"
"""A role of every cluster that has to give its password."""

How = Literal["smart", "fast", "immediate", "kill"]
_SIGNALS: dict[How, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
    "kill": signal.SIGKILL,
}
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # Enough against the death of processes; only that of the machine would lose something.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
}
_ACCESS = f"""
local all all                        trust
host  all {GUARDED}    127.0.0.1/32  scram-sha-256
host  all all          127.0.0.1/32  trust
host  replication all  127.0.0.1/32  trust
"""


class Postgres:
    """A cluster that trusts everybody on loopback; see :meth:`running`."""

    def __init__(self, folder: Path, name: str, settings: dict[str, str]) -> None:
        """Describe the cluster *name* in *folder*; nothing is created or started."""
        self.name = name
        self.held = ExitStack()
        self.port = self.held.enter_context(services.held_port())
        self.log = folder / f"{name}.log"
        self.settings = settings
        self.standbys: list[Postgres] = []
        self._folder = folder
        self._data = folder / name
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    @classmethod
    @contextmanager
    def running(cls, **settings: str) -> Iterator["Postgres"]:
        """A new cluster that runs until the block ends; *settings* are those of its server."""
        find_programs()
        with unprivileged_folder() as folder:
            cluster = cls(folder, "primary", settings)
            cluster._create()
            try:
                with services.log_noted("PostgreSQL", cluster.log):
                    cluster.start()
                    cluster.psql(f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'")
                    yield cluster
            finally:
                for each in [cluster, *cluster.standbys]:
                    each.stop("immediate")
                    each.held.close()

    @property
    def url(self) -> str:
        """That of the database ``postgres``, for the superuser."""
        return self.url_of("postgres")

    def url_of(self, database: str, *, user: str = SUPERUSER, port: int | None = None) -> str:
        """The URL of *database*; with *port*, as a proxy on that port shows it."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def database(self) -> str:
        """Create an empty database and return its name."""
        name = f"test{next(self._numbers)}"
        self.psql(f"CREATE DATABASE {name}")
        return name

    def psql(self, sql: str, database: str = "postgres", *, user: str = SUPERUSER) -> str:
        """Return what *sql* answers: a line for each row, ``|`` between columns."""
        program, url = str(find_programs() / "psql"), self.url_of(database, user=user)
        done = subprocess.run(
            [program, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{sql}: {done.stderr.strip()}")
        return done.stdout.strip()

    def start(self) -> None:
        """Start the server, and return when it answers; after a crash it recovers first."""
        options = [f"--{name}={value}" for name, value in self._effective.items()]
        with self.log.open("ab") as output:
            self._process = _popen("postgres", "-D", self._data, *options, output=output)
        ready = [str(find_programs() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        deadline = time.monotonic() + READY_WITHIN
        while subprocess.run(ready, check=False).returncode:
            if (status := self._process.poll()) is not None:
                raise ChildProcessError(
                    f"PostgreSQL ended with {status}:\n{self.log.read_text()[-2000:]}"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL is not ready after {READY_WITHIN:.0f} s")
            time.sleep(0.02)

    def stop(self, how: How = "fast") -> None:
        """End the server: ``immediate`` without a checkpoint, ``kill`` as a power cut would."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(_SIGNALS[how])
        if how == "kill":
            for child in map(int, children):
                _kill(child)
        process.wait(STOPPED_WITHIN)

    def standby(self, *, synchronous: bool, port: int | None = None) -> "Postgres":
        """Start and return a copy that follows this server, through a proxy at *port* if given.

        If it is *synchronous*, each commit waits until the copy has it on disk.
        """
        copy = Postgres(self._folder, f"standby{len(self.standbys) + 1}", self.settings)
        self.standbys.append(copy)
        with copy.log.open("ab") as output:
            backup = _popen(
                "pg_basebackup", "-h", "127.0.0.1", "-p", port or self.port, "-U", SUPERUSER,
                "-D", copy._data, "-R", "-X", "stream", "--checkpoint=fast", output=output,
            )  # fmt: skip
        if backup.wait(READY_WITHIN):
            raise ChildProcessError(f"pg_basebackup failed:\n{copy.log.read_text()}")
        copy.start()
        if synchronous:  # after the backup, or the copy would wait for itself once promoted
            self.psql(f"ALTER SYSTEM SET synchronous_standby_names = '{copy.name}'")
            self.psql("SELECT pg_reload_conf()")
        state = "sync" if synchronous else "async"
        until(
            lambda: self.psql("SELECT sync_state FROM pg_stat_replication") == state,
            READY_WITHIN,
            f"{copy.name} does not follow",
        )
        return copy

    def promote(self) -> None:
        """Make this standby a primary, and return when it is one."""
        self.psql("SELECT pg_promote()")

    @property
    def _effective(self) -> dict[str, str]:
        place = {"port": str(self.port), "unix_socket_directories": str(self._folder)}
        return {**_SETTINGS, **self.settings, **place, "cluster_name": self.name}

    def _create(self) -> None:
        self.log.touch()
        subprocess.run(["cp", "-a", _new_data(), self._data], check=True)


@cache
def _new_data() -> Path:
    """The data of a new cluster, to be copied: to make them costs as much as five copies."""
    kept = ExitStack()
    atexit.register(kept.close)
    folder = kept.enter_context(unprivileged_folder())
    log, data = folder / "log", folder / "data"
    with log.open("wb") as output:
        created = _popen(
            "initdb", "-D", data, "-U", SUPERUSER, "--no-sync", "--no-instructions",
            "--no-locale", "--encoding=UTF8", "--auth=trust", "--wal-segsize=1", output=output,
        )  # fmt: skip
    if created.wait(READY_WITHIN):
        raise ChildProcessError(f"initdb failed:\n{log.read_text()}")
    (data / "pg_hba.conf").write_text(_ACCESS)
    return data


def find_programs() -> Path:
    """Return the directory with PostgreSQL's programs; skip the test when there is none."""
    in_path = shutil.which("initdb")
    candidates = [
        Path(os.environ.get("PUSHGATE_TEST_POSTGRES", "")),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True),
        *([Path(in_path).parent] if in_path else []),
    ]
    for folder in candidates:
        if (folder / "initdb").is_file():
            return folder.absolute()
    pytest.skip("no PostgreSQL: run .ci/peers, or set PUSHGATE_TEST_POSTGRES")


def _version(folder: Path) -> int:
    return int(folder.parent.name)


@contextmanager
def unprivileged_folder() -> Iterator[Path]:
    """A directory that belongs to whom PostgreSQL runs as: it refuses to run as root.

    It is in memory where there is much of it: a new cluster then needs a fifth of the CPU time.
    """
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    within = _MEMORY if has_room else None
    with tempfile.TemporaryDirectory(prefix="pushgate-postgres-", dir=within) as folder:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(_user())
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        yield Path(folder)


def _user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return SUPERUSER if SUPERUSER in names else "nobody"


def unprivileged() -> dict[str, Any]:
    """The arguments of Popen for programs that refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(_user())
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}


def _popen(program: str, *arguments: object, output) -> subprocess.Popen[bytes]:
    command = [str(find_programs() / program), *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **unprivileged()
    )


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):  # it noticed that its parent is gone
        os.kill(process, signal.SIGKILL)
