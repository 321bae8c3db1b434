"""What an operator sees of the persistence file: locks, failing disks, files that go away."""

import re
import resource
import subprocess
import urllib.error
import urllib.request
from contextlib import ExitStack

import pytest

from tests import services
from tests.services import WITHOUT_PRIVILEGES, needs_setpriv
from tests.waiting import until

PUT_BODY = b"m 1\n"


def start(*flags: str, **options) -> subprocess.Popen[str]:
    around = WITHOUT_PRIVILEGES if "cwd" in options else []
    return subprocess.Popen(
        [*around, services.PUSHGATE, "serve", "--web.listen-address=127.0.0.1:0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def complaint(*flags: str, **options) -> str:
    """The one line, less the log, of a start that fails with status 1."""
    with start(*flags, **options) as process:
        output = process.communicate(timeout=30)[0]
    assert process.returncode == 1, output
    [line] = [line for line in output.splitlines() if not line.startswith("ts=")]
    return line


def put(
    service: services.Service, path: str = "/metrics/job/a", body: bytes = PUT_BODY
) -> tuple[int, str]:
    request = urllib.request.Request(service.url + path, body, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()


def test_equal_pushes_to_several_jobs_survive_any_restarts(tmp_path):
    data = tmp_path / "pushgate.db"
    with services.pushgate(data=data) as service:
        # From the second on, label values are taken to be new each time.
        for number, value in enumerate(["0", "1", "2", "2", "2"]):
            body = f'm{{l="{value}"}} 1\n'.encode()
            assert put(service, f"/metrics/job/{number}", body)[0] == 200
    for _ in range(2):
        with services.pushgate(data=data) as service:
            assert service.get("/metrics").count("\nm{") == 5


def is_ready(service: services.Service) -> bool:
    try:
        return bool(service.get("/-/ready"))
    except urllib.error.HTTPError as answer:
        answer.close()
        return False


def test_of_servers_that_start_at_the_same_moment_one_serves(tmp_path):
    data = tmp_path / "new" / "pushgate.db"
    with ExitStack() as stack:
        servers = [stack.enter_context(start(f"--persistence.file={data}")) for _ in range(4)]
        until(lambda: sum(server.poll() is None for server in servers) == 1)
        assert sorted(server.poll() or 0 for server in servers) == [0, 1, 1, 1]
        for server in servers:
            server.terminate()
        said = [server.communicate(timeout=20)[0] for server in servers]
    assert sum(f"{data} is in use by another process" in text for text in said) == 3


def test_a_server_that_waits_takes_over_when_the_first_one_ends(tmp_path):
    data = tmp_path / "pushgate.db"
    with services.pushgate(data=data) as first:
        assert put(first)[0] == 200
        address = f"--web.listen-address=127.0.0.1:{first.port}"  # which is free then, too
        wait = "--persistence.wait=30s"
        with start(address, f"--persistence.file={data}", wait) as second:
            assert "waiting" in next(line for line in second.stdout if "waiting" in line)
            assert first.stop() == 0
            next(line for line in second.stdout if "TLS is disabled" in line)
            taken_over = services.Service(first.port, second, first.log)
            until(lambda: is_ready(taken_over))
            assert 'm{instance="",job="a"} 1' in taken_over.get("/metrics")
            second.terminate()
            second.communicate(timeout=20)


@pytest.fixture
def place(tmp_path):
    """A directory that its owner, without the privileges of root, may not write."""
    path = tmp_path / "place"
    path.mkdir(mode=0o555)
    yield path
    path.chmod(0o755)


@needs_setpriv
def test_where_nothing_can_be_written_metrics_are_in_memory_with_one_warning(place):
    around = ["env", "-C", str(place), *WITHOUT_PRIVILEGES]
    address = "--web.listen-address=127.0.0.1:{port}"
    with services.running([*around, services.PUSHGATE, "serve", address]) as service:
        assert put(service)[0] == 200
        assert 'm{instance="",job="a"} 1' in service.get("/metrics")
        lines = service.log.read_text().splitlines()
    [warning] = [line for line in lines if "level=warn" in line]
    assert "metrics are kept only in memory" in warning
    assert "Permission denied" in warning
    assert [*place.iterdir()] == []


@needs_setpriv
def test_an_explicit_file_that_cannot_be_written_is_an_error(place):
    line = complaint("--persistence.file=data/pushgate.db", cwd=place)
    assert "can't use data/pushgate.db: Permission denied" in line


@needs_setpriv
def test_a_file_of_somebody_else_is_an_error_even_if_no_file_was_named(place):
    place.chmod(0o755)
    (place / "data").mkdir()
    file = place / "data" / "pushgate.db"
    file.write_bytes(b"theirs")
    file.chmod(0)
    assert "can't use data/pushgate.db: Permission denied" in complaint(cwd=place)
    file.chmod(0o600)
    assert file.read_bytes() == b"theirs"


def test_a_full_disk_at_the_start_is_named_as_that_and_starts_again_later(tmp_path):
    data = tmp_path / "pushgate.db"

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))

    flags = f"--persistence.file={data}", "--persistence.reset-damaged"
    assert f"can't use {data}: File too large" in complaint(*flags, preexec_fn=small)
    with services.pushgate(data=data) as service:
        assert put(service)[0] == 200
    assert {file.name for file in tmp_path.iterdir()} == {"pushgate.db"}


@pytest.mark.parametrize("what", ["pushgate.db", "pushgate.db-wal", "."])
def test_a_file_deleted_under_the_server_is_noticed_without_a_push(tmp_path, what):
    data = tmp_path / "data" / "pushgate.db"
    with services.pushgate(data=data) as service:
        assert put(service)[0] == 200
        (data.parent / what).rename(tmp_path / "aside")
        until(lambda: not is_ready(service))
        for _ in range(3):
            status, text = put(service)
            assert status == 503
            assert "can't be found any more" in text
        metrics = service.get("/metrics")
        assert "pushgate_journal_ready 0" in metrics
        [failures] = re.findall("^pushgate_journal_failures_total (.*)", metrics, re.MULTILINE)
        assert float(failures) >= 4
        (tmp_path / "aside").rename(data.parent / what)
        until(lambda: is_ready(service))
        assert put(service)[0] == 200
        log = service.log.read_text()
        assert log.count("the journal cannot be written") == 1
        assert log.count("the journal can be written again") == 1


def test_new_files_are_private(tmp_path):
    data = tmp_path / "pushgate.db"
    with services.pushgate(data=data) as service:
        assert put(service)[0] == 200
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == dict.fromkeys(["pushgate.db", "pushgate.db-wal", "pushgate.db.lock"], 0o600)
