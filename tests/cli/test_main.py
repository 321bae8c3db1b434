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
