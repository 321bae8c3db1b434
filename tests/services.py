"""The servers that tests talk to: each a process of its own, on a free loopback port.

Ours always exists. The real services come from the environment, else from where `.ci/peers`
puts them; a test that needs a missing one is skipped with the reason (and fails where skips are
refused, see conftest.py).
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO

import pytest

from tests.forked import Forked
from tests.waiting import until

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".peers"
PUSHGATE = str(Path(sys.executable).parent / "pushgate")
_SETPRIV = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
WITHOUT_PRIVILEGES = _SETPRIV if os.geteuid() == 0 else []
"""What runs a command so that permissions count for it; see :data:`needs_setpriv`."""
needs_setpriv = pytest.mark.skipif(not shutil.which("setpriv"), reason="install util-linux")
READY_WITHIN = 30.0
STOPPED_WITHIN = 20.0
SCRAPED_WITHIN = 30.0


Process = subprocess.Popen[bytes] | Forked


@dataclass(frozen=True, slots=True)
class Service:
    """A running server process; *log* holds what it wrote to stdout and stderr."""

    port: int
    process: Process
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def kill(self) -> None:
        """Ends the process the way a power cut does, as far as it can tell."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Asks the process to end and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@contextmanager
def held_port() -> Iterator[int]:
    """A port of loopback that nobody else is given before the block ends.

    It is bound all the time, also while no server listens there. On Linux, SO_REUSEADDR lets one
    listen nevertheless; elsewhere the port can only be free.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port


@contextmanager
def log_noted(of: str, log: Path) -> Iterator[None]:
    """Add the end of *log* to an error in the block; a skip needs no explanation."""
    try:
        yield
    except pytest.skip.Exception:
        raise
    except BaseException as error:
        error.add_note(f"log of {of}:\n{log.read_text(errors='replace')[-4000:]}")
        raise


def executed(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a program."""
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
    )


@contextmanager
def running(
    command: Sequence[str],
    *,
    ready: str = "/-/ready",
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
    start: Callable[[Sequence[str], IO[bytes], Mapping[str, str]], Process] = executed,
) -> Iterator[Service]:
    """Starts *command*, waits until GET *ready* answers, yields it, stops it.

    ``{port}`` in an argument becomes the port to listen on: *port*, or a free one. *environment*
    is added to that of this process. An error that leaves the block
    carries the server's log as a note.
    """
    with ExitStack() as stack:
        port = port or stack.enter_context(held_port())
        argv = [argument.replace("{port}", str(port)) for argument in command]
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pushgate-test-"))
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = start(argv, output, {**os.environ, **(environment or {})})
        service = Service(port, process, log)
        try:
            with log_noted(" ".join(argv), log):
                wait_until_ready(service, ready)
                yield service
        finally:
            service.stop()


def wait_until_ready(service: Service, path: str) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while service.process.poll() is None:
        try:
            service.get(path)
            return
        except urllib.error.HTTPError as answer:
            answer.close()
            if answer.code < 500:  # it serves, and wants TLS or credentials
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ready after {READY_WITHIN:.0f} s")
        time.sleep(0.02)
    raise ChildProcessError(f"ended with {service.process.returncode} before it was ready")


def pushgate(*flags: str, data: Path | None = None):
    """Our server, its data in the file *data*, or only in memory."""
    return serving(storage(data), *flags)


def serving(*flags: str, port: int | None = None, environment: Mapping[str, str] | None = None):
    """Our server with just these *flags* and an address; the data are where they say."""
    flags = ("--web.listen-address=127.0.0.1:{port}", *flags)
    return running(flags, port=port, environment=environment, start=Forked)


def storage(data: Path | None = None) -> str:
    """The flag for data in the file *data*, or only in memory.

    With PUSHGATE_TEST_DATABASE, the URL of a PostgreSQL whose role may create databases, the data
    are in a database of their own there.
    """
    if cluster := os.environ.get("PUSHGATE_TEST_DATABASE"):
        return f"--persistence.url={database_for(data, cluster)}"
    return f"--persistence.file={data or ''}"


def database_for(data: Path | None, cluster: str) -> str:
    """The URL of the database that stands for the file *data*; a new one, if there is none."""
    import psycopg

    name = sha256(os.fsencode(data or tempfile.mktemp())).hexdigest()[:32]
    with psycopg.connect(cluster, autocommit=True) as connection, suppress(psycopg.Error):
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"{cluster.rpartition('/')[0]}/{name}"


def go_pushgateway(*flags: str):
    return running([find_go_pushgateway(), "--web.listen-address=127.0.0.1:{port}", *flags])


@contextmanager
def prometheus(config: str, *flags: str) -> Iterator[Service]:
    """A real Prometheus with the configuration text *config*."""
    program = find_prometheus()
    with tempfile.TemporaryDirectory(prefix="pushgate-test-") as folder:
        file = Path(folder) / "prometheus.yml"
        file.write_text(config)
        command = [
            program,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:{port}",
            *flags,
        ]
        with running(command) as service:
            yield service


def find_go_pushgateway() -> str:
    return found("PUSHGATE_TEST_GO_PUSHGATEWAY", "pushgateway-go", "Go Pushgateway")


def find_prometheus() -> str:
    return found("PUSHGATE_TEST_PROMETHEUS", "prometheus", "Prometheus")


def find_promtool() -> str:
    return found("PUSHGATE_TEST_PROMTOOL", "promtool", "promtool")


def find_java() -> list[str]:
    """The command that runs a class of tests/interop/java; the name of the class follows."""
    program = found("PUSHGATE_TEST_JAVA", "java", "Java")
    classes = f"{built('java/classes')}:{built('java/lib')}/*"
    return [program, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes]


def find_node() -> tuple[list[str], dict[str, str]]:
    """The command that runs a program of tests/interop/node, and its environment."""
    program = found("PUSHGATE_TEST_NODE", "node", "Node")
    return [program], {**os.environ, "NODE_PATH": str(built("node/node_modules"))}


def find_go_push() -> str:
    return str(built("push-go"))


def find_curl() -> str:
    return found("PUSHGATE_TEST_CURL", "curl", "curl")


def built(path: str) -> Path:
    """What `.ci/peers` puts at *path* of .peers/; skips the test when it is not there."""
    if not (PEERS / path).exists():
        pytest.skip(f"no .peers/{path}: run .ci/peers", allow_module_level=True)
    return PEERS / path


def query(prometheus: Service, expression: str) -> list[dict]:
    """The results of *expression*, as soon as a scrape has brought some."""
    path = "/api/v1/query?" + urllib.parse.urlencode({"query": expression})
    return until(
        lambda: json.loads(prometheus.get(path))["data"]["result"],
        SCRAPED_WITHIN,
        f"no scrape brought {expression}",
    )


def found(variable: str, program: str, title: str, *others: str) -> str:
    """The path of *program*: as *variable* says, else in .peers/, else in the PATH.

    If it is nowhere, one of *others* in the PATH will do. Without these, the test is skipped.
    """
    candidates = (
        os.environ.get(variable),
        shutil.which(str(PEERS / program)),
        *map(shutil.which, (program, *others)),
    )
    for path in candidates:
        if path:
            return path
    pytest.skip(f"no {title}: run .ci/peers, or set {variable}", allow_module_level=True)
