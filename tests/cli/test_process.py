import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.commands import (
    command,
    python,
    run,
    shell,
    started,
    values,
)
from tests.client.rogue import rogue
from tests.waiting import until


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


def test_arguments_that_are_not_utf8_are_passed_on():
    with rogue() as server:
        done = run("-a", server.url, "--", "printf", "%s", "caf\udce9", errors="surrogateescape")
    assert (done.returncode, done.stdout) == (0, "caf\udce9")


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


@pytest.mark.usefixtures("interrupts")
def test_the_wrapper_dies_of_an_interrupt_as_the_command_does():
    with rogue() as server:
        done = run("-a", server.url, *shell("kill -INT $$"))
        handled = run("-a", server.url, *shell("exit 130"))
    assert (done.returncode, handled.returncode) == (-signal.SIGINT, 130)
    assert [values(request)["batch_job_exit_code"] for request in server.seen] == [130, 130]


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
                children = Path(f"/proc/{wrapper.pid}/task/{wrapper.pid}/children")
                until(children.read_text)
                wrapper.send_signal(signal.SIGTERM)
            statuses.add(wrapper.returncode)
            if pid_file.exists() and pid_file.read_text():
                orphans.append(Path(f"/proc/{pid_file.read_text().strip()}").exists())
    assert statuses == {143}
    assert not any(orphans)


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


@pytest.mark.parametrize(
    ("options", "script", "status"),
    [
        ((), "echo ready; sleep 1; exit 7", 7),
        (("--kill-after", "700ms"), "echo ready; exec sleep 30", 143),
    ],
)
def test_a_wrapper_that_was_stopped_goes_on_where_it_was(options, script, status):
    """As by Ctrl-Z and fg, or as a container that is paused."""
    with rogue() as server:
        with started("-a", server.url, *options, *shell(script)) as wrapper:
            assert wrapper.stdout.readline() == "ready\n"
            time.sleep(0.2)  # its pauses are longer by now
            wrapper.send_signal(signal.SIGSTOP)
            time.sleep(0.6)  # one of them is over meanwhile
            wrapper.send_signal(signal.SIGCONT)
        assert wrapper.returncode == status
    assert values(server.seen[0])["batch_job_exit_code"] == status


def test_kill_after_kills_what_ignores_sigterm(monkeypatch):
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"  # the command inherits it
        "from pushgate.cli import commands, process; process._KILL_GRACE = 0.2;"
        "commands.pushgate(['run', '-a', 'localhost:1', '--retries', '0', '--kill-after', '0.5',"
        " '--', 'sleep', '30'])"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert done.returncode == 137


def test_the_memory_of_a_small_command_is_its_own():
    with rogue() as server:
        run("-a", server.url, "--", "sleep", "0.3")
        run("-a", server.url, *python("x = b'x' * (100 << 20)"))
    small, large = (values(request)["batch_job_max_rss_bytes"] for request in server.seen)
    assert small < 6e6
    assert 100e6 < large < 200e6


def test_the_memory_of_a_command_is_its_own_whoever_started_us():
    ballast = b"x" * (300 << 20)  # the kernel counts it as memory of what is started from here
    with rogue() as server:
        run("-a", server.url, *python("x = b'x' * (100 << 20)"))
    del ballast
    assert 100e6 < values(server.seen[0])["batch_job_max_rss_bytes"] < 200e6
