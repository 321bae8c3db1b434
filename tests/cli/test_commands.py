import signal
import subprocess

import pytest

from tests.cli.commands import pushgate
from tests.client.rogue import rogue, stall
from tests.services import PUSHGATE


def test_help_and_version():
    assert "serve" in pushgate("--help").output
    assert pushgate("--version").output.startswith("pushgate, version ")


def test_a_closed_pipe_is_no_traceback():
    done = subprocess.run(
        f"{PUSHGATE} --help | true", shell=True, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip
    assert done.stderr in {"", "pushgate: cannot write to stdout: Broken pipe\n"}


@pytest.mark.usefixtures("interrupts")
def test_ctrl_c_ends_a_command_by_its_signal_and_without_a_word():
    with rogue(stall) as server:
        command = [PUSHGATE, "set", "-a", server.url, "-j", "j", "rows=1"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as pushing:
            assert server.asked.wait(10)
            pushing.send_signal(signal.SIGINT)
            said = pushing.communicate(timeout=10)[1]
    assert (pushing.returncode, said) == (-signal.SIGINT, "")


def test_the_list_of_commands_has_a_whole_sentence_for_each():
    listed = pushgate("--help").output.partition("Commands:\n")[2].splitlines()
    assert [line for line in listed if line.endswith("...") or not line.startswith("  ")] == []
    assert len(listed) > 10
