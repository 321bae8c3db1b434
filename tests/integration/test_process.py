"""The process: command line, start, signals, exit, as supervisors and shells see them."""

import json
import re
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import bcrypt
import pytest

from tests import services
from tests.exchange import TIMEOUT, ask, statuses
from tests.integration.tlsserver import ask_tls
from tests.server.access.certificates import Pki
from tests.server.access.tlsclient import client_context
from tests.waiting import until

PUSHGATEWAY = str(Path(services.PUSHGATE).with_name("pushgateway"))
MEMORY = "--persistence.file="
# Order and names as the Go server lists them, without the flags of our own.
FLAGS = [
    "-h, --help",
    "--web.systemd-socket, --no-web.systemd-socket",
    "--web.listen-address :9091",
    '--web.config.file ""',
    "--web.telemetry-path /metrics",
    '--web.external-url ""',
    '--web.route-prefix ""',
    "--web.enable-lifecycle, --no-web.enable-lifecycle",
    "--web.enable-admin-api, --no-web.enable-admin-api",
    "--persistence.file data/pushgate.db",
    "--persistence.interval 5m",
    "--push.disable-consistency-check, --no-push.disable-consistency-check",
    "--push.enable-utf8-names, --no-push.enable-utf8-names",
    "--log.level info",
    "--log.format logfmt",
    "--version",
]


def run(*arguments):
    """What the command prints and its exit status; it must end by itself."""
    return subprocess.run(
        [PUSHGATEWAY, *arguments], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def complaint(*flags):
    """The one line, beside the log, of a start that fails with status 1."""
    with (
        pytest.raises(ChildProcessError, match="ended with 1 before") as ended,
        services.serving(*flags),
    ):
        pass
    [said] = ended.value.__notes__
    assert "Traceback" not in said
    [_, line] = [line for line in said.splitlines() if not line.startswith("ts=")]
    return line


def test_why_a_start_failed_is_on_stderr_alone():
    done = run(MEMORY, "--web.listen-address=foo")
    assert (done.returncode, done.stdout) == (1, "")
    assert "foo" in done.stderr.splitlines()[-1]


def started(*flags, file=""):
    return services.serving(f"--persistence.file={file}", *flags)


def executed(*flags):
    """The server under the name of the Go server: all of its process, to the end."""
    return services.running([PUSHGATEWAY, "--web.listen-address=127.0.0.1:{port}", *flags])


def ended(service):
    return service.process.wait(TIMEOUT)


def messages(service):
    return re.findall(r'level=(\w+) .*?msg=("[^"]*"|\S+)', service.log.read_text())


@contextmanager
def push_in_flight(service, target="/metrics/job/late"):
    """The connection of a push whose body is not complete, and a way to complete it."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT) as connection:
        head = f"PUT {target} HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode() + b"late ")
        # Answered on another connection: by now the server has read what was sent before.
        assert ask(service.port, "GET", "/-/ready").status == 200

        def finish(rest=b"4711\n"):
            connection.sendall(rest)
            return statuses(b"".join(iter(lambda: connection.recv(65536), b"")))

        yield finish


def no_more_connections(service):
    """Waits until the server no longer listens."""
    for _ in range(int(TIMEOUT * 100)):
        try:
            socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT).close()
        except ConnectionRefusedError:
            return True
        threading.Event().wait(0.01)
    return False


# --- Command line --------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_the_flags_of_the_reference_in_its_order(flag):
    done = run(flag)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: pushgateway [<flags>]\n\nThe Pushgateway\n\n")
    listed = re.findall(r"^  (-.*?)(?:  |$)", done.stdout, re.MULTILINE)
    assert [each for each in listed if each in FLAGS] == FLAGS


def test_version_is_on_the_first_line():
    done = run("--version")

    assert (done.returncode, done.stderr) == (0, "")
    first, *more = done.stdout.splitlines()
    assert re.fullmatch(r"pushgateway, version \S+ \(branch: .*, revision: .*\)", first)
    assert [line.partition(":")[0] for line in more] == ["  python version", "  platform", "  tags"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nope"], "unrecognized arguments: --nope"),
        (["foo"], "unrecognized arguments: foo"),
        (
            ["--persistence.interval=5"],
            'argument --persistence.interval: time: missing unit in duration "5"',
        ),
        (["--log.level=foo"], "argument --log.level: unrecognized log level foo"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_1(arguments, message):
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"pushgateway: error: {message}, try --help\n"


# --- Start ---------------------------------------------------------------------------------------


def test_the_start_is_logged_as_by_the_reference():
    with executed(MEMORY) as service:
        assert messages(service) == [
            ("info", '"starting pushgateway"'),
            ("info", '"Build context"'),
            ("info", '"Listening on"'),
            ("info", '"TLS is disabled."'),
        ]
        line = service.log.read_text().splitlines()[2]
        assert re.fullmatch(
            r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=info caller=\w+\.py:\d+ "
            rf'msg="Listening on" address=127\.0\.0\.1:{service.port}',
            line,
        )
        assert service.stop() == 0
        assert messages(service)[4:] == [
            ("info", '"received SIGINT/SIGTERM; exiting gracefully..."'),
            ("info", '"HTTP server stopped"'),
        ]


def test_the_log_may_be_json_and_says_more_at_debug_level():
    with started("--log.format=json", "--log.level=debug") as service:
        bad = ask(service.port, "PUT", "/metrics/job/j", b"# TYPE m counter\nm 1 17\n")
        assert bad.status == 400
        records = [json.loads(line) for line in service.log.read_text().splitlines()]

    assert all(list(record)[:4] == ["ts", "level", "caller", "msg"] for record in records)
    assert records[0]["msg"] == "starting pushgateway"
    assert re.fullmatch(r"\w+\.py\(\w+\):\d+", records[0]["caller"])
    [refused] = [record for record in records if record["level"] == "error"]
    assert refused["msg"] == "pushed metrics are invalid or inconsistent with existing metrics"
    assert refused["method"] == "PUT"
    assert refused["logged_source"].startswith("127.0.0.1:")
    assert refused["err"] == "pushed metrics must not have timestamps"


def test_only_what_matters_is_logged_at_error_level():
    with started("--log.level=error") as service:
        assert ask(service.port, "PUT", "/metrics/job/j", b"m 1\n").status == 200
        assert service.stop() == 0
        assert service.log.read_text() == ""


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(MEMORY, f"--web.listen-address=127.0.0.1:{port}")

    assert (done.returncode, done.stdout) == (1, "")
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("ts=")]
    assert line.startswith("pushgate: listen tcp ")
    assert f"127.0.0.1:{port}" in line
    assert "address already in use" in line


def test_an_address_that_is_none_is_named():
    line = complaint(MEMORY, "--web.listen-address=foo")
    assert line.endswith("listen foo: expected host:port, :port, [::1]:port or unix:/path")


# tests/server/access has all that can be wrong with one; these are found in different places.
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "no such file or directory"),
        ("tls_server_config: [\n", "yaml: line 2: "),
        ("foo: 1\n", "line 1: unknown key foo"),
        ("tls_server_config: {cert: x, key: x}\n", "failed to load X509KeyPair: tls: "),
    ],
)
def test_a_bad_web_config_ends_the_start_with_one_line_that_says_why(tmp_path, content, problem):
    config = tmp_path / "web.yml"
    if content:
        config.write_text(content)

    line = complaint(MEMORY, f"--web.config.file={config}")
    assert str(config) in line
    assert problem in line


@services.needs_setpriv
def test_no_privilege_is_needed_and_nothing_is_written_but_data(tmp_path):
    home, pki = tmp_path / "home", Pki(tmp_path)
    pki.issue("server", "localhost")
    home.mkdir()
    config = tmp_path / "web.yml"
    config.write_text("tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    around = ["env", "-C", str(home), f"HOME={home}", f"TMPDIR={home}"]
    around += services.WITHOUT_PRIVILEGES
    flags = ["--web.listen-address=127.0.0.1:{port}", f"--web.config.file={config}"]
    with services.running([*around, services.PUSHGATE, "serve", *flags]) as service:
        answer = ask_tls(
            service.port, client_context(pki.ca_file), "PUT", "/metrics/job/j", b"m 1\n"
        )
        assert answer.status == 200
        capabilities = Path(f"/proc/{service.process.pid}/status").read_text()
        assert re.search(r"CapEff:\t0{16}\n", capabilities)
    assert {path.relative_to(home).parts[0] for path in home.rglob("*")} == {"data"}
    assert home.joinpath("data", "pushgate.db").exists()


def test_a_data_directory_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    data = tmp_path / "file" / "pushgate.db"

    assert str(tmp_path / "file") in complaint(f"--persistence.file={data}")
    assert (tmp_path / "file").read_text() == ""


def test_a_data_directory_that_cannot_be_written_is_named():
    assert "/proc/pushgate.db" in complaint("--persistence.file=/proc/pushgate.db")


def test_a_file_in_use_is_named_and_its_server_goes_on(tmp_path):
    data = tmp_path / "pushgate.db"
    with started(file=data) as service:
        line = complaint(f"--persistence.file={data}")

        assert f"{data} is in use by another process" in line
        assert ask(service.port, "PUT", "/metrics/job/j", b"m 1\n").status == 200


def test_a_damaged_database_is_left_alone_until_the_operator_gives_it_up(tmp_path):
    data = tmp_path / "pushgate.db"
    with started(file=data) as service:
        assert ask(service.port, "PUT", "/metrics/job/j", b"m 1\n").status == 200
        assert service.stop() == 0
    pages = bytearray(data.read_bytes())
    pages[4096:8192] = b"\xa5" * 4096
    data.write_bytes(pages)

    line = complaint(f"--persistence.file={data}")
    assert f"{data} is damaged" in line
    assert "--persistence.reset-damaged" in line
    assert data.read_bytes() == pages

    with started("--persistence.reset-damaged", file=data) as service:
        assert ask(service.port, "GET", "/-/ready").status == 200
        assert ask(service.port, "PUT", "/metrics/job/new", b"m 1\n").status == 200
        assert ("warn", '"damaged persistence file moved aside"') in messages(service)
    [aside] = tmp_path.glob("pushgate.db.damaged-*Z")
    assert aside.read_bytes() == pages


# --- Signals and exit ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_in_flight_is_answered_before_the_exit(tmp_path, number):
    data = tmp_path / "pushgate.db"
    with executed(f"--persistence.file={data}") as service:
        with push_in_flight(service) as finish:
            service.process.send_signal(number)
            assert no_more_connections(service)
            assert service.process.poll() is None
            assert finish() == [200]
        assert ended(service) == 0
    with started(file=data) as service:
        assert 'late{instance="",job="late"} 4711' in service.get("/metrics")


def test_a_unix_socket_is_served_and_removed_at_the_exit(tmp_path):
    path = tmp_path / "socket"
    with started(f"--web.listen-address=unix:{path}") as service:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.0 200 OK\r\n")
        service.process.send_signal(signal.SIGTERM)
        assert ended(service) == 0
        assert not path.exists()


def test_a_second_signal_does_not_wait():
    with executed(MEMORY) as service, push_in_flight(service) as finish:
        service.process.send_signal(signal.SIGTERM)
        assert no_more_connections(service)
        service.process.send_signal(signal.SIGTERM)
        assert ended(service) == 0
        assert finish(b"") == []


def test_idle_connections_do_not_delay_the_exit():
    with executed(MEMORY) as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT) as idle:
            idle.sendall(b"GET /-/ready HTTP/1.1\r\nHost: g\r\n\r\n")
            answer = b""
            while not answer.endswith(b"OK"):
                answer += idle.recv(65536)
            service.process.terminate()
            assert idle.recv(65536) == b""
        assert ended(service) == 0


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_a_request_to_quit_is_answered_and_the_process_ends_well(method):
    with executed(MEMORY, "--web.enable-lifecycle") as service:
        answer = ask(service.port, method, "/-/quit")

        assert (answer.status, answer.text) == (200, "Requesting termination... Goodbye!")
        assert ended(service) == 0
        text = '"received termination request via web service, exiting gracefully..."'
        assert ("warn", text) in messages(service)


def test_without_leave_a_request_to_quit_is_refused():
    with started() as service:
        answer = ask(service.port, "PUT", "/-/quit")

        assert (answer.status, answer.text) == (403, "Lifecycle API is not enabled.")
        assert ask(service.port, "GET", "/-/healthy").status == 200


def test_a_hangup_reloads_the_web_config_and_does_not_kill(tmp_path):
    config = tmp_path / "web.yml"
    config.write_text("")
    with started(f"--web.config.file={config}") as service:
        secret = bcrypt.hashpw(b"password", bcrypt.gensalt(4)).decode()
        config.write_text(f"basic_auth_users:\n  user: {secret}\n")
        service.process.send_signal(signal.SIGHUP)
        logged(service, "web configuration reloaded")
        assert ask(service.port, "GET", "/metrics").status == 401

        config.write_text("basic_auth_users: [\n")
        service.process.send_signal(signal.SIGHUP)
        logged(service, "Unable to parse configuration")
        assert ask(service.port, "GET", "/metrics").status == 401
        assert service.process.poll() is None
        assert service.stop() == 0


def test_a_hangup_without_a_web_config_changes_nothing():
    with started() as service:
        service.process.send_signal(signal.SIGHUP)

        assert ask(service.port, "PUT", "/metrics/job/j", b"m 1\n").status == 200
        assert service.stop() == 0


def logged(service, message):
    """Waits until *message* is in the log."""
    until(lambda: message in service.log.read_text(), reason=f"not logged: {message}")


# --- A stop that others delay --------------------------------------------------------------------


def test_an_unfinished_body_does_not_delay_the_exit_beyond_the_timeout():
    with (
        executed(MEMORY, "--web.shutdown-timeout=1s") as service,
        push_in_flight(service) as finish,
    ):
        service.process.send_signal(signal.SIGTERM)
        assert ended(service) == 0
        assert finish(b"") == []
        assert "Traceback" not in service.log.read_text()


def test_slow_readers_do_not_delay_the_exit_and_leave_no_stacks_in_the_log():
    body = b"".join(b'm{l="%d%b"} 1\n' % (n, b"x" * 200) for n in range(60_000))
    with started("--web.shutdown-timeout=1s") as service, ExitStack() as stack:
        assert ask(service.port, "PUT", "/metrics/job/j", body).status == 200
        for target in ("/metrics", "/api/v1/metrics", "/"):
            reader = stack.enter_context(socket.create_connection(("127.0.0.1", service.port)))
            reader.sendall(f"GET {target} HTTP/1.1\r\nHost: g\r\n\r\n".encode())
            reader.recv(1)
        service.process.send_signal(signal.SIGTERM)
        assert ended(service) == 0
        assert [level for level, _ in messages(service) if level != "info"] == []
        assert "Traceback" not in service.log.read_text()


def test_a_signal_during_the_start_ends_the_process_well(tmp_path):
    """Here it waits for the file of another server."""
    data = tmp_path / "pushgate.db"
    with started(file=data):
        flags = [f"--persistence.file={data}", "--persistence.wait=1m"]
        waiting = subprocess.Popen(
            [PUSHGATEWAY, "--web.listen-address=127.0.0.1:0", *flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        for line in waiting.stderr:
            if "waiting for the process" in line:
                break
        waiting.send_signal(signal.SIGHUP)  # a reload ends no start
        waiting.terminate()
        _, rest = waiting.communicate(timeout=TIMEOUT)
        assert waiting.returncode == 0
        assert "exiting gracefully" in rest
        assert "Traceback" not in rest


# --- What surrounds the process ------------------------------------------------------------------


def test_systemd_is_told_of_start_life_and_stop(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(TIMEOUT)
        around = ["env", f"NOTIFY_SOCKET={tmp_path}/notify", "WATCHDOG_USEC=200000"]
        flags = ["--web.listen-address=127.0.0.1:{port}", "--persistence.file="]
        with services.running([*around, PUSHGATEWAY, *flags]) as service:
            assert [systemd.recv(100) for _ in range(3)] == [b"READY=1", *[b"WATCHDOG=1"] * 2]
            assert service.stop() == 0
        told = set()
        while b"STOPPING=1" not in told:
            told.add(systemd.recv(100))


def test_the_ports_of_systemd_are_shared_by_systemd():
    assert complaint("--web.systemd-socket", "--web.reuse-port", MEMORY) == (
        "pushgate: --web.reuse-port has no effect on systemd's sockets; leave it out, and set "
        "ReusePort=yes in the socket unit"
    )


def test_processes_that_say_so_share_a_port():
    command = [PUSHGATEWAY, "--web.listen-address=127.0.0.1:{port}", MEMORY, "--web.reuse-port"]
    with services.running(command) as one, services.running(command, port=one.port) as other:
        one.stop()
        services.wait_until_ready(other, "/-/ready")
        assert "do not share the metrics" in other.log.read_text()


@pytest.mark.parametrize("address", ["/nonexistent/notify", "vsock:2:1234"])
def test_a_systemd_that_cannot_be_reached_does_not_stop_the_start(address):
    around = ["env", f"NOTIFY_SOCKET={address}", "WATCHDOG_USEC=200000"]
    flags = ["--web.listen-address=127.0.0.1:{port}", "--persistence.file="]
    with services.running([*around, PUSHGATEWAY, *flags]) as service:
        assert service.stop() == 0
        log = service.log.read_text()
    assert log.count("cannot notify systemd") == 1
    assert f"NOTIFY_SOCKET='{address}'" in log


def test_running_out_of_file_descriptors_is_refused_logged_and_counted():
    limited = ["prlimit", "--nofile=60:60", PUSHGATEWAY]
    flags = ["--web.listen-address=127.0.0.1:{port}", "--persistence.file="]
    with services.running([*limited, *flags]) as service:
        with ExitStack() as stack:
            refused = b""
            for _ in range(60):
                connection = socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT)
                stack.enter_context(connection)
            refused = connection.recv(1000)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"too many connections for the limit of open files" in refused
        logged(service, "too many connections: more are refused")

        def metrics() -> str:
            answer = ask(service.port, "GET", "/metrics")
            return answer.text if answer.status == 200 else ""

        assert re.search(r'rejected_pushes_total\{reason="open-files"\} [1-9]', until(metrics))
        warnings = [text for level, text in messages(service) if level == "warn"]
        assert warnings == ['"too many connections: more are refused"']


@pytest.mark.parametrize(
    "flag",
    ["--persistence.file=\udcff.db", "--web.route-prefix=/\udcff", "--web.config.file=\udcff"],
)
def test_a_value_that_is_not_utf_8_is_named_and_nothing_is_touched(tmp_path, monkeypatch, flag):
    monkeypatch.chdir(tmp_path)
    line = complaint(flag)
    assert line.startswith(f"pushgate: {flag.partition('=')[0]}=")
    assert "not UTF-8" in line
    assert list(tmp_path.iterdir()) == []


def test_a_time_zone_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("TZ", "XYZ+99:99")
    assert complaint(MEMORY) == (
        "pushgate: TZ=XYZ+99:99: not a time zone; use a name such as Europe/Berlin, or UTC"
    )


def test_the_log_is_json_whatever_the_locale(tmp_path):
    around = ["env", "PYTHONIOENCODING=ascii"]
    path = tmp_path / "büro"
    flags = ["--web.listen-address=127.0.0.1:{port}", f"--web.listen-address=unix:{path}"]
    json_ = ["--persistence.file=", "--log.format=json"]
    with services.running([*around, PUSHGATEWAY, *flags, *json_]) as service:
        records = [json.loads(line) for line in service.log.read_bytes().splitlines()]
    assert f"unix:{path}" in [record.get("address") for record in records]


@pytest.mark.parametrize("arrived", [b"", b"PUT /metrics/job/late HTTP/1.1\r\nHo"])
def test_a_request_that_was_on_its_way_when_the_stop_came_is_answered(arrived, tmp_path):
    request = b"PUT /metrics/job/late HTTP/1.1\r\nHost: g\r\nContent-Length: 7\r\n\r\nrows 1\n"
    with started(file=tmp_path / "pushgate.db") as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT) as client:
            client.sendall(arrived)
            # Answered on a later connection: by now this one is accepted.
            assert ask(service.port, "GET", "/-/ready").status == 200
            service.process.terminate()
            assert no_more_connections(service)
            client.sendall(request.removeprefix(arrived))
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert statuses(answer) == [200]
        assert ended(service) == 0


def test_a_new_connection_without_a_request_delays_the_exit_a_little():
    with started() as service:
        with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT) as silent:
            assert ask(service.port, "GET", "/-/ready").status == 200  # it is accepted
            service.process.terminate()
            assert silent.recv(65536) == b""
        assert ended(service) == 0
