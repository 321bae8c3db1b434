"""Backups of running servers, and restores while clients push."""

import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from pushgate.errors import StartupError
from pushgate.server.storage.backup import copy_file
from pushgate.server.storage.journal import Contents
from tests import services
from tests.exchange import ask

SERIES = 20_000
PUSHERS = 3
# Numbers of many digits, so that the log is soon full.
PUSH = b"".join(b'rows{n="%d"} VALUE.0000000000001\n' % number for number in range(SERIES))


class Load:
    """Clients that push rising numbers, each to a group of its own, until :meth:`stop`."""

    def __init__(self, port: int, body: bytes) -> None:
        self.port, self.body = port, body
        self.sent = [0] * PUSHERS
        self.answered = [0] * PUSHERS
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._push, args=(n,)) for n in range(PUSHERS)]

    def _push(self, number: int) -> None:
        while not self._stopped.is_set():
            self.sent[number] += 1
            value = self.sent[number]
            body = self.body.replace(b"VALUE", b"%d" % value)
            try:
                answer = ask(self.port, "PUT", f"/metrics/job/{number}", body)
            except OSError:  # while the server is down
                time.sleep(0.02)
                continue
            if answer.status == 200:
                self.answered[number] = value

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def load(port: int, body: bytes = PUSH):
    pushing = Load(port, body)
    pushing.start()
    try:
        while not all(pushing.answered):
            time.sleep(0.01)
        yield pushing
    finally:
        pushing.stop()


def run(*arguments: object) -> str:
    done = subprocess.run(
        [services.PUSHGATE, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def values(contents: Contents) -> list[int]:
    """The number that each pusher's group has; it is one for all series of a push."""
    found = {}
    for group in contents.groups:
        (block,) = group.blocks
        (value,) = {*block.pushed.numbers.split()}
        found[int(group.key.job)] = int(float(value))
    return [found[number] for number in range(PUSHERS)]


def scraped(server: services.Service) -> list[int]:
    text = server.get("/metrics")
    return [
        int(text.partition(f'rows{{instance="",job="{number}",n="0"}} ')[2].partition(".")[0])
        for number in range(PUSHERS)
    ]


@pytest.mark.timeout(180)
def test_a_backup_has_every_push_that_was_answered_before_it(tmp_path):
    data, backup = tmp_path / "pushgate.db", tmp_path / "backup.db"
    heads = set()
    with services.pushgate(data=data) as server, load(server.port) as pushing:
        # Until the log began anew, which is what could go wrong.
        for _ in range(40):
            answered = [*pushing.answered]
            copied = values(copied_by_another_process(data, backup))
            assert all(map(int.__le__, answered, copied))
            assert all(map(int.__le__, copied, pushing.sent))
            heads.add(Path(f"{data}-wal").read_bytes()[:32])
            if len(heads) > 1:
                break
    assert len(heads) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.db", "pushgate.db"]


def copied_by_another_process(data: Path, backup: Path) -> Contents:
    run("backup", backup, "--persistence.file", data)
    again = backup.with_name("again.db")
    try:
        return copy_file(backup, again)
    finally:
        again.unlink()


@pytest.mark.timeout(180)
def test_a_server_is_restored_while_clients_push(tmp_path):
    data, backup = tmp_path / "pushgate.db", tmp_path / "backup.db"
    with services.pushgate(data=data) as server:
        port = server.port
        with load(port) as pushing:
            answered = [*pushing.answered]
            run("backup", backup, "--persistence.file", data)
            with pytest.raises(AssertionError, match="in use by another process"):
                run("restore", backup, "--persistence.file", data, "--replace")
            server.kill()
            run("restore", backup, "--persistence.file", data, "--replace")
            restored = values(copy_file(data, tmp_path / "copy.db"))
            assert all(map(int.__le__, answered, restored))
            with services.serving(f"--persistence.file={data}", port=port) as restarted:
                seen = [*pushing.sent]
                while not all(map(int.__gt__, pushing.answered, seen)):
                    time.sleep(0.01)
                pushing.stop()
                assert scraped(restarted) == pushing.answered
    (kept,) = tmp_path.glob("pushgate.db.replaced-*Z")
    assert len(copy_file(kept, tmp_path / "kept.db").groups) == PUSHERS


@pytest.mark.timeout(180)
def test_a_database_is_restored_while_its_servers_run(tmp_path, postgres):
    url = postgres.url_of(postgres.database())
    backup = tmp_path / "backup.db"
    flag = f"--persistence.url={url}"
    with services.serving(flag) as one, services.serving(flag) as other:
        ask(one.port, "PUT", "/metrics/job/kept", b"rows 1\n")
        run("backup", backup, flag)
        ask(one.port, "PUT", "/metrics/job/kept", b"rows 2\n")
        ask(other.port, "PUT", "/metrics/job/new", b"rows 3\n")
        with pytest.raises(AssertionError, match="give --replace"):
            run("restore", backup, flag)
        with load(one.port, b"rows VALUE\n"):
            run("restore", backup, flag, "--replace")
        for server in (one, other):
            text = server.get("/metrics")
            assert 'rows{instance="",job="kept"} 1\n' in text
            assert 'job="new"' not in text
        assert ask(other.port, "PUT", "/metrics/job/kept", b"rows 4\n").status == 200
        assert 'rows{instance="",job="kept"} 4\n' in one.get("/metrics")


def test_a_backup_of_a_file_goes_into_a_database_and_back(tmp_path, postgres):
    url = postgres.url_of(postgres.database())
    with services.pushgate(data=tmp_path / "pushgate.db") as server:
        ask(server.port, "PUT", "/metrics/job/moved", b"# TYPE rows counter\nrows 1\n")
        text = server.get("/metrics")
    run("restore", tmp_path / "pushgate.db", "--persistence.url", url)
    run("backup", tmp_path / "back.db", "--persistence.url", url)
    with services.pushgate(data=tmp_path / "back.db") as server:
        ours = [line for line in server.get("/metrics").splitlines() if 'job="moved"' in line]
    assert ours
    assert ours == [line for line in text.splitlines() if 'job="moved"' in line]


def test_what_is_no_file_of_ours_is_not_copied(tmp_path):
    (tmp_path / "text").write_text("rows 1\n")
    for name, said in (("text", "is not a persistence file"), ("none", "does not exist")):
        with pytest.raises(StartupError, match=said):
            copy_file(tmp_path / name, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
