"""deploy/systemd/pushgate.service and .socket, run as systemd runs them."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pushgate.server.settings import parse
from tests import pages, services
from tests.exchange import ask

FOLDER = services.ROOT / "deploy" / "systemd"
PAGE = pages.page("systemd")
UNIT = (FOLDER / "pushgate.service").read_text()
PUSHERS = 4
RESTARTS = 4
# systemd sets LISTEN_PID to the process that it starts, and has the socket in place 3.
START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


def setting(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return value


def analyzed(*arguments: object) -> str:
    program = shutil.which("systemd-analyze") or pytest.skip("no systemd-analyze: run .ci/peers")
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_systemd_understands_the_units(tmp_path):
    text = UNIT.replace("/opt/pushgate/bin/pushgate", services.PUSHGATE)
    (tmp_path / "pushgate.service").write_text(text)
    shutil.copy(FOLDER / "pushgate.socket", tmp_path)
    units = (tmp_path / "pushgate.socket", tmp_path / "pushgate.service")
    analyzed("verify", "--man=no", "--recursive-errors=no", *units)


def test_the_page_edits_the_command_of_the_unit():
    (edit,) = pages.blocks("systemd", "ini")
    command = edit.rpartition("ExecStart=")[2].split()
    settings = parse(command[2:], "pushgate")
    assert settings.push_rules_file == "/etc/pushgate/rules.yml"
    assert command[: len(setting("ExecStart").split())] == setting("ExecStart").split()


def test_the_service_is_exposed_to_little():
    shown = analyzed("security", "--offline=true", "--no-pager", FOLDER / "pushgate.service")
    (level,) = re.findall(r"Overall exposure level for pushgate.service: (\S+)", shown)
    assert f"gives it {level} of 10" in PAGE


def test_the_data_is_where_the_service_may_write():
    program, serve, *flags = setting("ExecStart").split()
    assert (Path(program).name, serve) == ("pushgate", "serve")
    settings = parse(flags, "pushgate")
    assert settings.web_systemd_socket
    assert settings.persistence_file == f"/var/lib/{setting('StateDirectory')}/pushgate.db"
    assert setting("Type") == "notify"


def test_the_server_runs_without_memory_that_can_be_written_and_executed(tmp_path):
    assert setting("MemoryDenyWriteExecute") == "yes"
    deny = (
        "import ctypes, os, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit('the kernel has no PR_SET_MDWE')\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    command = [services.PUSHGATE, "serve", "--web.listen-address=127.0.0.1:{port}"]
    data = f"--persistence.file={tmp_path / 'pushgate.db'}"
    with services.running([sys.executable, "-c", deny, *command, data]) as server:
        assert ask(server.port, "PUT", "/metrics/job/j", b"rows 1\n").status == 200
        assert (
            ask(server.port, "GET", "/metrics", headers={"Accept-Encoding": "gzip"}).status == 200
        )
        assert ask(server.port, "GET", "/").status == 200


class Systemd:
    """The socket unit, and the service that it passes its socket to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self.port = self.listener.getsockname()[1]
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify"))
        self._notified.settimeout(services.READY_WITHIN)
        self._service: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        flags = setting("ExecStart").split()[1:]
        data = str(self._folder / "pushgate.db")
        with (self._folder / "log").open("ab") as log:
            self._service = subprocess.Popen(
                [
                    *(sys.executable, "-c", START, str(self.listener.fileno()), services.PUSHGATE),
                    *(flag.replace("/var/lib/pushgate/pushgate.db", data) for flag in flags),
                ],
                pass_fds=[self.listener.fileno()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={
                    **os.environ,
                    "LISTEN_FDS": "1",
                    "NOTIFY_SOCKET": str(self._folder / "notify"),
                    "WATCHDOG_USEC": str(int(setting("WatchdogSec").rstrip("s")) * 10**6),
                },
            )  # fmt: skip
        self.wait_for(b"READY=1")

    def stop(self) -> None:
        self._service.terminate()
        self.wait_for(b"STOPPING=1")
        assert self._service.wait(services.STOPPED_WITHIN) == 0

    def wait_for(self, state: bytes) -> None:
        while (told := self._notified.recv(100)) != state:
            assert told == b"WATCHDOG=1"

    def close(self) -> None:
        if self._service.poll() is None:
            self._service.kill()
            self._service.wait()
        self.listener.close()
        self._notified.close()


@contextmanager
def systemd(folder: Path):
    with closing(Systemd(folder)) as running:
        running.start()
        yield running


@pytest.mark.timeout(180)
def test_a_restart_refuses_no_push_and_loses_none(tmp_path):
    stopped = threading.Event()
    pushed = [0] * PUSHERS
    failed: list[object] = []

    def push(number: int) -> None:
        while not stopped.is_set():
            body = f"rows {pushed[number] + 1}\n".encode()
            try:  # each push once, on a connection of its own, as curl does
                answer = ask(running.port, "PUT", f"/metrics/job/{number}", body)
            except OSError as error:
                failed.append(error)
            else:
                pushed[number] += 1
                failed.extend([answer] if answer.status != 200 else [])

    with systemd(tmp_path) as running:
        pushers = [threading.Thread(target=push, args=(number,)) for number in range(PUSHERS)]
        for pusher in pushers:
            pusher.start()
        for _ in range(RESTARTS):
            seen = sum(pushed)
            while sum(pushed) < seen + 200:
                time.sleep(0.01)
            running.stop()
            running.start()
        stopped.set()
        for pusher in pushers:
            pusher.join()
        text = ask(running.port, "GET", "/metrics").text
        running.stop()
    assert failed == []
    for number, count in enumerate(pushed):
        assert f'rows{{instance="",job="{number}"}} {count}\n' in text
