import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.commands import families, process, values
from tests.client.rogue import answer, answer_when_released, closed_port, rogue, stall
from tests.services import PUSHGATE


def command(*arguments):
    return [PUSHGATE, "run", *map(str, arguments)]


def run(*arguments, **options):
    return process("run", *map(str, arguments), **options)


def started(*arguments, **options):
    return subprocess.Popen(command(*arguments), text=True, stdout=subprocess.PIPE, **options)


def python(code):
    return ["--", sys.executable, "-c", code]


def shell(script):
    return ["--", "sh", "-c", script]


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


@pytest.mark.parametrize(("program", "status"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_a_command_that_cannot_start_is_a_failed_job(program, status):
    with rogue() as server:
        done = run("-a", server.url, "--", program)
    assert done.returncode == status
    assert program in done.stderr
    assert values(server.seen[0])["batch_job_exit_code"] == status
    assert server.seen[0].path == f"/metrics/job/{Path(program).name}"


def test_a_command_line_in_one_word_gets_advice():
    with rogue() as server:
        done = run("-a", server.url, "cd /tmp && echo it's")
    assert done.returncode == 127
    assert "pushgate run -- sh -c 'cd /tmp && echo it'\\''s'" in done.stderr


def test_a_script_without_an_interpreter_line_runs(tmp_path):
    script = tmp_path / "job"
    script.write_text('echo "$0 $1"\nexit 3\n')
    script.chmod(0o755)
    with rogue() as server:
        done = run("-a", server.url, "--", script, "x")
        found = run(
            "-a", server.url, "--", "job", "x", env={**os.environ, "PATH": f"{tmp_path}:/bin"}
        )
    assert (done.returncode, done.stdout) == (3, f"{script} x\n")
    assert (found.returncode, found.stdout) == (3, f"{script} x\n")


def test_the_command_has_the_same_environment_as_without_us(tmp_path):
    (tmp_path / "input").write_text("descriptor 3")
    # The last digits: posix_spawn of glibc ignores signals 32 and 33, which are its own.
    shows = "grep -E 'Sig(Blk|Ign)' /proc/self/status | grep -oE '.{7}$'; echo $OTHER; cat <&3"
    opened = ["sh", "-c", f'exec "$@" 3<{tmp_path}/input', "sh"]
    options = {"capture_output": True, "env": {**os.environ, "OTHER": "x"}}
    plain = subprocess.run([*opened, "sh", "-c", shows], check=True, **options)
    with rogue() as server:
        done = subprocess.run(
            [*opened, *command("-a", server.url, *shell(shows))], check=True, **options
        )
    assert done.stdout == plain.stdout
    assert done.stdout.endswith(b"x\ndescriptor 3")


def test_a_reader_that_goes_away_ends_the_command():
    with rogue() as server:
        done = subprocess.run(
            f"{' '.join(command('-a', server.url, '--', 'yes'))} | head -1",
            shell=True, capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    assert done.stdout == "y\n"
    assert values(server.seen[0])["batch_job_exit_code"] == 128 + signal.SIGPIPE


def test_options_of_the_command_are_its_own():
    with rogue() as server:
        done = run(
            "-a", server.url, sys.executable, "-c", "import sys; print(sys.argv[1:])", "-j", "x"
        )
    assert done.stdout == "['-j', 'x']\n"


def test_arguments_that_are_not_utf8_are_passed_on():
    with rogue() as server:
        done = run("-a", server.url, "--", "printf", "%s", "caf\udce9", errors="surrogateescape")
    assert (done.returncode, done.stdout) == (0, "caf\udce9")


# Signals


def test_signals_are_passed_on():
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('usr1', flush=True))\n"
        "print('ready', flush=True)\ntime.sleep(30)"
    )
    with rogue() as server:
        with started("-a", server.url, *python(code)) as wrapper:
            assert wrapper.stdout.readline() == "ready\n"
            wrapper.send_signal(signal.SIGUSR1)
            assert wrapper.stdout.readline() == "usr1\n"
            wrapper.send_signal(signal.SIGTERM)
        assert wrapper.returncode == 143
    assert values(server.seen[0])["batch_job_exit_code"] == 143


def test_a_signal_to_the_whole_process_group_leaves_one_status():
    with rogue() as server:
        for _ in range(5):
            with started(
                "-a", server.url, *shell("echo ready; exec sleep 30"), start_new_session=True
            ) as wrapper:
                assert wrapper.stdout.readline() == "ready\n"
                os.killpg(wrapper.pid, signal.SIGTERM)
            assert wrapper.returncode == 143
    assert [values(request)["batch_job_exit_code"] for request in server.seen] == [143] * 5


def test_a_signal_right_after_the_start_leaves_no_orphan(tmp_path):
    orphans, statuses = [], set()
    with rogue() as server:
        for number in range(5):
            pid_file = tmp_path / str(number)
            with started(
                "-a", server.url, *shell(f"echo $$ > {pid_file}; exec sleep 30")
            ) as wrapper:
                until(lambda p=wrapper.pid: Path(f"/proc/{p}/task/{p}/children").read_text())
                wrapper.send_signal(signal.SIGTERM)
            statuses.add(wrapper.returncode)
            if pid_file.exists() and pid_file.read_text():
                orphans.append(Path(f"/proc/{pid_file.read_text().strip()}").exists())
    assert statuses == {143}
    assert not any(orphans)


def until(condition):
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_during_the_last_push_changes_nothing(number):
    with rogue(answer_when_released) as server:
        with started("-a", server.url, *shell("exit 7"), start_new_session=True) as wrapper:
            assert server.asked.wait(20)
            os.killpg(wrapper.pid, number)
            server.released.set()
        assert wrapper.returncode == 7
    assert len(server.seen) == 1


def test_an_interrupt_gives_up_the_last_push_but_not_the_status():
    with rogue(stall) as server:
        with started(
            "-a", server.url, "--timeout", "60", *shell("exit 7"), stderr=subprocess.PIPE
        ) as wrapper:
            assert server.asked.wait(20)
            wrapper.send_signal(signal.SIGINT)
            assert "interrupted" in wrapper.stderr.read()
        assert wrapper.returncode == 7


def test_what_the_parent_ignores_the_command_ignores():
    with rogue() as server:
        done = subprocess.run(
            ["sh", "-c", 'trap "" HUP; exec "$@"', "sh",
             *command("-a", server.url, *shell("kill -HUP $$; echo alive"))],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    assert done.stdout == "alive\n"


def test_a_parent_that_ignores_its_children_changes_nothing():
    code = (
        "import signal, os, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    with rogue() as server:
        done = subprocess.run(
            [sys.executable, "-c", code, *command("-a", server.url, *shell("exit 9"))],
            timeout=30, check=False,
        )  # fmt: skip
    assert done.returncode == 9


def test_kill_after_ends_a_command_that_takes_too_long():
    with rogue() as server:
        done = run("-a", server.url, "--kill-after", "300ms", *shell("exec sleep 30"))
    assert done.returncode == 143
    assert values(server.seen[0])["batch_job_success"] == 0


def test_kill_after_kills_what_ignores_sigterm(monkeypatch):
    code = (
        "from pushgate.cli import process, main; process._KILL_GRACE = 0.2;"
        "main(['run', '-a', 'localhost:1', '--retries', '0', '--kill-after', '0.5', '--',"
        " 'sh', '-c', 'trap \"\" TERM; while :; do sleep 0.1; done'])"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert done.returncode == 137


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
    assert "the deadline passed after 5." in done.stderr


def test_a_gateway_that_stalls_holds_up_neither_start_nor_end():
    with rogue(stall, stall) as server:
        marks = python("import time; print(time.time())")
        began = time.time()
        done = run("-a", server.url, "--every", "0.2", "--timeout", "1", *marks)
        assert time.time() - began < 10
    assert done.returncode == 0
    assert float(done.stdout) - began < 10


# The metrics file

WRITES = 'printf "%s" "$0" > "$PUSHGATE_METRICS_FILE"; exit 7'


def writing(text):
    return ["--", "sh", "-c", WRITES, text]


def test_metrics_of_the_command_are_pushed_too(tmp_path):
    text = "# TYPE rows gauge\nrows 3"
    with rogue() as server:
        run("-a", server.url, *writing(text))
        run("-a", server.url, "--metrics-file", tmp_path / "m", *writing(text))
    assert [values(request)["rows"] for request in server.seen] == [3, 3]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rows three\n", 'metrics.prom, line 1: expected float as value, got "three": rows three'),
        ("rows 1 1700000000000\n", "metrics.prom, line 1: rows has a timestamp"),
        ('\nrows{job="x"} 1\n', "metrics.prom, line 2: rows has the label 'job'"),
        ('# TYPE s summary\ns{quantile="50%"} 5\n', "metrics.prom, line 2: expected float"),
        ('# TYPE h histogram\nh_bucket{le="abc"} 5\n', "metrics.prom, line 2: expected float"),
        ("# TYPE h GAUGE\nh 1\n# TYPE h gauge\n", "metrics.prom, line 3: second TYPE line"),
        ("batch_job_success 1\n", "batch_job_success is a metric of pushgate run itself"),
        ('rows{a="\xff"\n', "metrics.prom, line 1"),
        ("# TYPE a counter\na 1\n# EOF\n", "metrics.prom"),
    ],
)  # fmt: skip
def test_unusable_metrics_are_reported_and_the_job_is_pushed(text, complaint):
    with rogue() as server:
        done = run("-a", server.url, *writing(text))
    assert done.returncode == 7
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    [request] = server.seen
    assert values(request)["batch_job_exit_code"] == 7
    assert not {"rows", "s", "h", "a"} & families(request).keys()


@pytest.mark.parametrize(
    "text", ["# TYPE s summary\ns 5\n", "# TYPE s summary\ns_count NaN\n", "# HELP rows\nrows 1\n"]
)
def test_odd_metrics_are_pushed_if_the_gateway_takes_them(text, ours):
    done = run("-a", ours.url, "-j", "odd", *writing(text))
    assert done.returncode == 7
    assert 'batch_job_exit_code{instance="",job="odd"} 7' in ours.get("/metrics")


def test_a_metric_that_the_gateway_refuses_costs_only_the_metrics_file(gateway):
    process("set", "-a", gateway.url, "-j", "holder", "held=1")
    done = run("-a", gateway.url, "-j", "good", *writing("# TYPE held counter\nheld 3\n"))
    assert done.returncode == 7
    assert "held" in done.stderr
    assert 'batch_job_exit_code{instance="",job="good"} 7' in gateway.get("/metrics")


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
        "import tempfile; tempfile.tempdir = '/no/such/directory'; from pushgate.cli import main;"
        "main(['run', '--lock', '--quiet-success', '--', 'sh', '-c', 'echo ran; exit 7'])"
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


def test_a_pipe_in_place_of_the_metrics_file_does_not_block():
    with rogue() as server:
        done = run("-a", server.url, *shell('mkfifo "$PUSHGATE_METRICS_FILE"; exit 7'))
    assert done.returncode == 7
    assert "not a regular file" in done.stderr
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


def test_a_closed_stderr_changes_nothing():
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh",
         *command("-a", f"localhost:{closed_port()}", "--retries", "0", *shell("exit 7"))],
        timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 7


# What is recorded


def test_the_memory_of_a_small_command_is_its_own():
    with rogue() as server:
        run("-a", server.url, "--", "sleep", "0.3")
        run("-a", server.url, *python("x = bytearray(100 << 20)"))
    small, large = (values(request)["batch_job_max_rss_bytes"] for request in server.seen)
    assert small < 6e6
    assert 100e6 < large < 200e6


def test_the_expected_interval_and_a_prefix_of_ones_own():
    with rogue() as server:
        run("-a", server.url, "--expect-every", "24h", "--prefix", "nightly_", "--", "true")
    read = values(server.seen[0])
    assert read["nightly_expected_interval_seconds"] == 86400
    assert read["nightly_success"] == 1
    assert all(name.startswith("nightly_") for name in read)


def test_heartbeats():
    with rogue() as server:
        with started(
            "-a", server.url, "--every", "100ms", "--", "cat", stdin=subprocess.PIPE
        ) as wrapper:
            until(lambda: len(server.seen) >= 3)
            wrapper.stdin.close()
        assert wrapper.returncode == 0
    first, second, *_, last = [values(request) for request in server.seen]
    alive = "batch_job_last_alive_timestamp_seconds"
    assert 1e9 < first[alive] < second[alive]
    assert "batch_job_success" not in second
    assert last["batch_job_success"] == 1


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
        "import sys, pushgate.cli.run, pushgate.cli.configuration, pushgate.client.transport\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    ).stdout.split()
    assert not {"prometheus_client", "httpx2", "pushgate.formats.text"} & set(loaded)
