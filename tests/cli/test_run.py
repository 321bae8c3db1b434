import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import (
    command,
    run,
    shell,
    started,
    values,
)
from tests.client.rogue import answer, closed_port, rogue, stall


def test_a_successful_command():
    with rogue() as server:
        done = run("-a", server.url, "-j", "j", "-g", "host=db1", *shell("sleep 0.2; echo out"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")
    [request] = server.seen
    assert (request.method, request.path) == ("POST", "/metrics/job/j/host/db1")
    read = values(request)
    assert (read["batch_job_success"], read["batch_job_exit_code"]) == (1, 0)
    assert 5e5 < read["batch_job_max_rss_bytes"] < 5e6
    assert read["batch_job_cpu_user_seconds"] + read["batch_job_cpu_system_seconds"] > 0
    assert 0.2 <= read["batch_job_duration_seconds"] < 20


@pytest.mark.parametrize(("script", "status"), [("exit 37", 37), ("kill -KILL $$", 137)])
def test_the_exit_status_is_passed_through(script, status):
    with rogue() as server:
        assert run("-a", server.url, *shell(script)).returncode == status
    read = values(server.seen[0])
    assert (read["batch_job_success"], read["batch_job_exit_code"]) == (0, status)


def test_what_is_pushed_arrives_at_a_real_gateway(gateway):
    done = run("-a", gateway.url, "-j", "real", *shell('echo "rows 3" > $PUSHGATE_METRICS_FILE'))
    assert (done.returncode, done.stderr) == (0, "")
    exposition = gateway.get("/metrics")
    assert 'batch_job_success{instance="",job="real"} 1' in exposition
    assert 'rows{instance="",job="real"} 3' in exposition


# Starting


@pytest.mark.parametrize(
    ("program", "status"), [("no-such-program", 127), ("/etc/passwd", 126), ("/etc/passwd/x", 127)]
)
def test_a_command_that_cannot_start_is_a_failed_job(program, status):
    with rogue() as server:
        done = run("-a", server.url, "--", program)
    assert done.returncode == status
    assert program in done.stderr
    assert values(server.seen[0])["batch_job_exit_code"] == status
    assert server.seen[0].path == f"/metrics/job/{Path(program).name}"


def test_a_command_without_a_name_is_a_failed_job():
    with rogue() as server:
        done = run("-a", server.url, "-j", "j", "--", "")
    assert done.returncode == 127
    assert values(server.seen[0])["batch_job_exit_code"] == 127


def test_a_command_line_in_one_word_gets_advice():
    with rogue() as server:
        done = run("-a", server.url, "cd /tmp && echo it's")
    assert done.returncode == 127
    assert "pushgate run -- sh -c 'cd /tmp && echo it'\\''s'" in done.stderr


def test_options_of_the_command_are_its_own():
    with rogue() as server:
        done = run(
            "-a", server.url, sys.executable, "-c", "import sys; print(sys.argv[1:])", "-j", "x"
        )
    assert done.stdout == "['-j', 'x']\n"


# The gateway


@pytest.mark.parametrize("status", [0, 5])
def test_a_dead_gateway_changes_nothing(status):
    address = f"localhost:{closed_port()}"
    done = run("-a", address, "--retries", "0", *shell(f"echo x; exit {status}"))
    assert (done.returncode, done.stdout) == (status, "x\n")
    assert "Connection refused" in done.stderr


@pytest.mark.parametrize(("status", "expected"), [(0, 4), (5, 5)])
def test_strict_makes_a_dead_gateway_matter_unless_the_command_failed(status, expected):
    options = ("-a", f"localhost:{closed_port()}", "--retries", "0", "--strict")
    assert run(*options, *shell(f"exit {status}")).returncode == expected


def test_a_gateway_that_never_answers_costs_five_seconds_by_default():
    with rogue(stall) as server:
        done = run("-a", server.url, *shell("exit 7"))
    assert done.returncode == 7
    (seconds,) = re.findall(r"the deadline passed after (\S+) s", done.stderr)
    assert 5 <= float(seconds) < 20  # its stall


# The metrics file


@pytest.mark.parametrize("place", ["directory", "device"])
def test_a_metrics_file_that_is_none_keeps_nothing_from_running(place, tmp_path):
    path = tmp_path if place == "directory" else Path("/dev/null")
    with rogue() as server:
        done = run(
            "-a",
            server.url,
            "--metrics-file",
            path,
            *shell("echo ${PUSHGATE_METRICS_FILE-none}; exit 7"),
        )
    assert (done.returncode, done.stdout) == (7, "none\n")
    assert "runs without a metrics file" in done.stderr
    assert values(server.seen[0])["batch_job_exit_code"] == 7
    assert path.exists()


def test_no_writable_temporary_directory_keeps_nothing_from_running(tmp_path):
    code = (
        "import tempfile; tempfile.tempdir = '/no/such/directory';"
        "from pushgate.cli.commands import pushgate;"
        "pushgate(['run', '--lock', '--quiet-success', '--', 'sh', '-c', 'echo ran; exit 7'])"
    )
    with rogue() as server:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS": server.url},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, "ran\n")
    assert "runs without a metrics file" in done.stderr
    assert values(server.seen[0])["batch_job_exit_code"] == 7


# The configuration


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADRESS", "x"),
        ("IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_SCHEME", "ftp"),
        ("PUSHGATE_RETRIES", "many"),
        ("PUSHGATE_RETRYS", "3"),
        ("PROMETHEUS_CONFIG", "/no/such/file"),
    ],
)
def test_a_wrong_setting_in_the_environment_is_a_warning(variable, value):
    with rogue() as server:
        done = run("-a", server.url, *shell("exit 7"), env={**os.environ, variable: value})
    assert done.returncode == 7
    assert variable.lower().rpartition("_")[2] in done.stderr.lower() or value in done.stderr
    assert values(server.seen[0])["batch_job_exit_code"] == 7


@pytest.mark.parametrize(
    "options",
    [
        ("-a", "h h"),
        ("-a", ""),
        ("-j", ""),
        ("-j", "caf\udce9"),
        ("-D", "io.prometheus.exporter.pushgateway.scheme=ftp"),
        ("--bearer-token-file", "/no/such/file", "-a", "localhost:1"),
        ("--user", "me", "--password-file", "/no/such/file"),
        ("--ca-file", "/no/such/file", "-a", "https://localhost:1"),
    ],
)
def test_what_cannot_be_pushed_is_said_and_the_command_runs(options):
    done = run(*options, *shell("echo ran; exit 7"))
    assert (done.returncode, done.stdout) == (7, "ran\n")
    assert done.stderr.startswith("pushgate: ")
    assert "Traceback" not in done.stderr


def test_a_file_that_cannot_be_read_leaves_no_gateway_to_guess():
    done = run(*shell("exit 7"), env={**os.environ, "PROMETHEUS_CONFIG": "/no/such/file"})
    assert done.returncode == 7
    assert "/no/such/file" in done.stderr


@pytest.mark.parametrize(
    "options", [("--timeout", "soon"), ("--prefix", "my-"), ("-g", "novalue"), ("--retries", "-1")]
)
def test_a_wrong_option_is_status_2(options):
    assert run(*options, "--", "true").returncode == 2


def test_a_misspelled_option_is_not_taken_for_the_command():
    done = run("--jobb", "nightly", "--", "true")
    assert done.returncode == 2
    assert "Did you mean" in done.stderr


@pytest.mark.parametrize("target", ["&-", "/dev/full"])
def test_a_stderr_that_cannot_be_written_changes_nothing(target):
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" 2>{target}', "sh",
         *command("-a", f"localhost:{closed_port()}", "--retries", "0", *shell("exit 7"))],
        timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 7


# Output


def test_quiet_success_shows_the_output_of_a_failure_only():
    script = "echo out; echo err >&2; exit {}"
    with rogue() as server:
        good = run("-a", server.url, "--quiet-success", *shell(script.format(0)))
        bad = run("-a", server.url, "--quiet-success", *shell(script.format(7)))
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    assert (bad.returncode, bad.stdout, bad.stderr) == (7, "out\n", "err\n")


def test_quiet_success_keeps_the_order_of_lines_that_go_to_one_place():
    with rogue() as server:
        done = subprocess.run(
            command(
                "-a", server.url, "--quiet-success",
                *shell("echo 1; echo 2 >&2; echo 3; exit 7"),
            ),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False,
        )  # fmt: skip
    assert done.stdout == "1\n2\n3\n"


# The lock


def test_a_lock_keeps_a_second_run_away():
    with rogue(answer()) as server:
        with started(
            "-a", server.url, "--lock", *shell("echo ready; read line"), stdin=subprocess.PIPE
        ) as wrapper:
            assert wrapper.stdout.readline() == "ready\n"
            done = run("-a", server.url, "--lock", *shell("echo ran"))
            wrapper.stdin.write("\n")
        assert (done.returncode, done.stdout) == (75, "")
        assert "has not ended" in done.stderr
        assert wrapper.returncode == 0
        again = run("-a", server.url, "--lock", *shell("echo ran"))
    assert (again.returncode, again.stdout) == (0, "ran\n")


def test_a_run_does_not_load_what_it_does_not_need():
    code = (
        "import sys, pushgate.cli.run, pushgate.cli.configuration, pushgate.client.exchange\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    ).stdout.split()
    superfluous = {"asyncio", "logging", "prometheus_client", "httpx2", "pushgate.formats.text"}
    assert not superfluous & set(loaded)
