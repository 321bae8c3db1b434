import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.client.metrics_proto import decode
from tests.client.rogue import answer, closed_port, rogue, stall
from tests.services import PUSHGATE


def command(*arguments):
    return [PUSHGATE, "run", *arguments]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=30, check=False, **options
    )


def python(code):
    return ["--", sys.executable, "-c", code]


def values(request):
    return {f.name: f.metric[0].gauge.value for f in decode(request.body) if f.type == 1}


def test_a_successful_command():
    with rogue() as server:
        done = run("-a", server.url, "-j", "j", "-g", "host=db1", *python("print('out')"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
    [request] = server.seen
    assert (request.method, request.path) == ("POST", "/metrics/job/j/host/db1")
    read = values(request)
    assert (read["batch_job_success"], read["batch_job_exit_code"]) == (1, 0)
    assert read["batch_job_max_rss_bytes"] > 1e6
    assert read["batch_job_cpu_user_seconds"] + read["batch_job_cpu_system_seconds"] > 0
    assert read["batch_job_duration_seconds"] > 0


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise SystemExit(37)", 37),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
    ],
)
def test_the_exit_status_is_passed_through(code, status):
    with rogue() as server:
        assert run("-a", server.url, *python(code)).returncode == status
    read = values(server.seen[0])
    assert (read["batch_job_success"], read["batch_job_exit_code"]) == (0, status)


@pytest.mark.parametrize(("program", "status"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_start_is_a_failed_job(program, status):
    with rogue() as server:
        done = run("-a", server.url, "--", program)
    assert done.returncode == status
    assert program in done.stderr
    assert values(server.seen[0])["batch_job_exit_code"] == status
    assert server.seen[0].path == f"/metrics/job/{Path(program).name}"


@pytest.mark.parametrize("status", [0, 5])
def test_a_dead_gateway_changes_nothing(status):
    address = f"localhost:{closed_port()}"
    done = run("-a", address, "--retries", "0", *python(f"print('x'); raise SystemExit({status})"))
    assert (done.returncode, done.stdout) == (status, "x\n")
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize(("status", "expected"), [(0, 4), (5, 5)])
def test_strict_makes_a_dead_gateway_matter_unless_the_command_failed(status, expected):
    options = ("-a", f"localhost:{closed_port()}", "--retries", "0", "--strict")
    assert run(*options, *python(f"raise SystemExit({status})")).returncode == expected


def test_signals_are_passed_on():
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('usr1', flush=True))\n"
        "print('ready', flush=True)\ntime.sleep(30)"
    )
    with rogue() as server:
        arguments = command("-a", server.url, *python(code))
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline() == "usr1\n"
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 143
    assert values(server.seen[0])["batch_job_exit_code"] == 143


WRITES = "import os; open(os.environ['PUSHGATE_METRICS_FILE'], 'w').write({!r})"


def test_metrics_of_the_command_are_pushed_too(tmp_path):
    text = "# TYPE rows gauge\nrows 3"
    with rogue() as server:
        run("-a", server.url, *python(WRITES.format(text)))
        run("-a", server.url, "--metrics-file", tmp_path / "m", *python(WRITES.format(text)))
    assert [values(request)["rows"] for request in server.seen] == [3, 3]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rows three\n", "not the Prometheus text format"),
        ("rows 1 1700000000000\n", "has a timestamp"),
        ('rows{job="x"} 1\n', "also a label of the group"),
    ],
)
def test_unusable_metrics_are_reported_and_the_job_is_pushed(text, complaint):
    with rogue() as server:
        done = run("-a", server.url, *python(WRITES.format(text)))
    assert done.returncode == 0
    assert complaint in done.stderr
    assert values(server.seen[0])["batch_job_success"] == 1


def test_signs_of_life():
    with rogue() as server:
        run("-a", server.url, "--every", "0.1", *python("import time; time.sleep(0.5)"))
    first, *_, alive, last = [values(request) for request in server.seen]
    for early in (first, alive):
        assert early["batch_job_last_alive_timestamp_seconds"] > 1e9
    assert "batch_job_success" not in alive
    assert last["batch_job_success"] == 1


def test_a_gateway_that_stalls_holds_up_neither_start_nor_end():
    with rogue(stall, stall) as server:
        marks = python("import time; print(time.time())")
        began = time.time()
        done = run("-a", server.url, "--every", "0.2", "--timeout", "1", *marks)
        assert time.time() - began < 10
    assert done.returncode == 0
    assert float(done.stdout) - began < 10


def test_a_lock_keeps_a_second_run_away():
    code = "print('ready', flush=True); input()"
    with rogue(answer()) as server:
        first = command("-a", server.url, "--lock", *python(code))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(first, **pipes) as process:
            assert process.stdout.readline() == "ready\n"
            done = run("-a", server.url, "--lock", *python("print('ran')"))
            process.stdin.write("\n")
        assert (done.returncode, done.stdout) == (75, "")
        assert "has not ended" in done.stderr
        assert process.returncode == 0
        again = run("-a", server.url, "--lock", *python("print('ran')"))
    assert (again.returncode, again.stdout) == (0, "ran\n")


def test_options_of_the_command_are_its_own():
    with rogue() as server:
        done = run(
            "-a", server.url, sys.executable, "-c", "import sys; print(sys.argv[1:])", "-j", "x"
        )
    assert done.stdout == "['-j', 'x']\n"


def test_a_wrong_option_is_status_2():
    assert run("--timeout", "soon", "--", "true").returncode == 2
    assert run("-a", "h h", "--", "true").returncode == 2
