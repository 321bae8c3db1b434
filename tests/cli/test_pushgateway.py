import subprocess
import sys

import pytest

from tests.cli.commands import pushgate
from tests.services import PUSHGATE

WITHOUT_SERVER = (
    "import sys\n"
    "extras = 'apsw backports bcrypt cramjam cryptography httptools isal jinja2 joserfc orjson'\n"
    "for name in f'{extras} google yaml starlette uvicorn uvloop'.split():\n"
    "    sys.modules[name] = None\n"
    "from pushgate.cli.pushgateway import main\n"
    "sys.exit(main(sys.argv[1:], 'pushgateway'))"
)


@pytest.mark.parametrize(
    ("flag", "status", "text"),
    [
        ("--help", 0, "usage: pushgateway [<flags>]"),
        ("--version", 0, "pushgateway, version "),
        ("--nonsense", 1, "unrecognized arguments: --nonsense"),
        ("--web.listen-address=127.0.0.1:0", 1, "run pip install '.[server]'"),
    ],
)
def test_the_server_command_in_a_base_install(flag, status, text):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SERVER, flag],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == status
    assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--help", "--version"])
@pytest.mark.parametrize(("target", "status"), [(">/dev/full", 1), (">&-", 0)])
def test_a_stdout_that_cannot_be_written_is_no_traceback(flag, target, status):
    done = subprocess.run(
        ["sh", "-c", f"exec {PUSHGATE}way {flag} {target}"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ("cannot write to stdout" in done.stderr) == (status == 1)


def test_a_closed_stderr_does_not_change_the_status_of_a_wrong_flag():
    done = subprocess.run(
        ["sh", "-c", f"exec {PUSHGATE}way --nonsense 2>&-"], timeout=30, check=False
    )
    assert done.returncode == 1


def test_the_server_is_loaded_only_to_serve(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pushgate.cli.pushgateway.main", lambda argv, prog: seen.append((tuple(argv), prog)) or 7
    )
    done = pushgate("serve", "--help", "--web.listen-address=:1", "-x")
    assert done.exit_code == 7
    assert seen == [(("--help", "--web.listen-address=:1", "-x"), "pushgate serve")]
