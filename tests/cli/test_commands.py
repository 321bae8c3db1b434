import subprocess

from tests.cli.commands import pushgate
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


def test_the_list_of_commands_has_a_whole_sentence_for_each():
    listed = pushgate("--help").output.partition("Commands:\n")[2].splitlines()
    assert [line for line in listed if line.endswith("...") or not line.startswith("  ")] == []
    assert len(listed) > 10
