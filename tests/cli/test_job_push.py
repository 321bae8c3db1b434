import os
import signal
import subprocess
import time

import pytest

from tests.cli.commands import (
    families,
    process,
    python,
    run,
    shell,
    started,
    values,
)
from tests.client.rogue import answer_when_released, closed_port, rogue, stall
from tests.waiting import until

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


def test_a_pipe_in_place_of_the_metrics_file_does_not_block():
    with rogue() as server:
        done = run("-a", server.url, *shell('mkfifo "$PUSHGATE_METRICS_FILE"; exit 7'))
    assert done.returncode == 7
    assert "not a regular file" in done.stderr
    assert values(server.seen[0])["batch_job_exit_code"] == 7


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


def test_heartbeats_say_once_that_the_gateway_is_away():
    address = f"localhost:{closed_port()}"
    done = run("-a", address, "--every", "10ms", "--timeout", "1", "--", "sleep", "0.5")
    # The second line is about the end of the job.
    assert done.stderr.count("Failed to push") == 2


def test_a_token_from_a_pipe_is_that_of_the_heartbeats_and_of_the_end():
    ours, its = os.pipe()
    os.write(its, b"s3cret")
    os.close(its)
    with rogue() as server:
        with started(
            "-a", server.url, "--every", "100ms", "--bearer-token-file", f"/dev/fd/{ours}",
            "--", "cat", stdin=subprocess.PIPE, pass_fds=[ours],
        ) as wrapper:  # fmt: skip
            assert server.asked.wait(20)
            wrapper.stdin.close()
        os.close(ours)
    assert {request.headers["authorization"] for request in server.seen} == {"Bearer s3cret"}
    assert values(server.seen[-1])["batch_job_success"] == 1


def test_a_gateway_that_stalls_holds_up_neither_start_nor_end():
    with rogue(stall, stall) as server:
        marks = python("import time; print(time.time())")
        began = time.time()
        done = run("-a", server.url, "--every", "0.2", "--timeout", "1", *marks)
        assert time.time() - began < 10
    assert done.returncode == 0
    assert float(done.stdout) - began < 10


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_gives_up_the_last_push_but_not_the_status():
    with rogue(stall) as server:
        with started(
            "-a", server.url, "--timeout", "60", *shell("exit 7"), stderr=subprocess.PIPE
        ) as wrapper:
            assert server.asked.wait(20)
            wrapper.send_signal(signal.SIGINT)
            assert "interrupted" in wrapper.stderr.read()
        assert wrapper.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_during_the_last_push_changes_nothing(number):
    with rogue(answer_when_released) as server:
        with started("-a", server.url, *shell("exit 7"), start_new_session=True) as wrapper:
            assert server.asked.wait(20)
            os.killpg(wrapper.pid, number)
            server.released.set()
        assert wrapper.returncode == 7
    assert len(server.seen) == 1


def test_a_relative_metrics_file_is_found_though_the_command_changes_its_directory(tmp_path):
    script = 'cd / && echo "rows 3" > "$PUSHGATE_METRICS_FILE"'
    with rogue() as server:
        done = run("-a", server.url, "--metrics-file", "m", *shell(script), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert values(server.seen[0])["rows"] == 3


@pytest.mark.parametrize(
    ("script", "complaint"),
    [
        ("mkdir $PUSHGATE_METRICS_FILE", "is not a regular file"),
        ("ln -s m $PUSHGATE_METRICS_FILE", "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_a_command_that_leaves_no_metrics_file_but_something_else(script, complaint, tmp_path):
    path = tmp_path / "m"
    with rogue() as server:
        done = run("-a", server.url, "--metrics-file", path, *shell(script))
    assert done.returncode == 0
    assert f"pushgate: the metrics file {path} {complaint}\n" in done.stderr
    assert values(server.seen[0])["batch_job_success"] == 1


def test_timestamps_in_the_metrics_file_can_be_stripped():
    with rogue() as server:
        done = run("-a", server.url, "--strip-timestamps", *writing("rows 3 1700000000000"))
    assert (done.returncode, done.stderr) == (7, "")
    assert values(server.seen[0])["rows"] == 3


def test_the_line_that_the_gateway_refuses_is_that_of_the_metrics_file(gateway):
    done = run("-a", gateway.url, *writing('rows 3\n{"with blank"} 1'))
    assert done.returncode == 7
    assert 'line 2: invalid metric name "with blank"' in done.stderr
