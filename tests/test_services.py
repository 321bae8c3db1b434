import subprocess
import sys

import pytest

from tests import services

SERVER = """
import http.server, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
print("about to listen", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
"""


def test_a_service_answers_while_the_block_runs_and_is_gone_afterwards():
    with services.running([sys.executable, "-c", SERVER, "{port}"]) as service:
        assert service.get("/") == ""

    assert service.process.poll() is not None


def test_an_error_inside_the_block_carries_the_log():
    with (
        pytest.raises(ZeroDivisionError) as error,
        services.running([sys.executable, "-c", SERVER, "{port}"]),
    ):
        raise ZeroDivisionError

    assert "about to listen" in error.value.__notes__[0]


def test_a_skip_inside_the_block_says_no_more_than_its_reason():
    with (
        pytest.raises(pytest.skip.Exception) as skipped,
        services.running([sys.executable, "-c", SERVER, "{port}"]),
    ):
        pytest.skip("no peer")

    assert not hasattr(skipped.value, "__notes__")


def test_a_command_that_ends_at_once_is_told_with_its_log():
    with (
        pytest.raises(ChildProcessError, match="ended with 3") as error,
        services.running([sys.executable, "-c", "print('no config'); raise SystemExit(3)"]),
    ):
        pass

    assert "no config" in error.value.__notes__[0]


@pytest.mark.parametrize(("no_skip", "status"), [("0", 0), ("1", 1)])
def test_a_skip_fails_the_run_exactly_where_skips_are_refused(tmp_path, no_skip, status):
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\ndef test_skipped():\n    pytest.skip('no peer')\n"
    )
    (tmp_path / "conftest.py").write_text((services.ROOT / "tests/conftest.py").read_text())

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        env={
            "PUSHGATE_TEST_NO_SKIP": no_skip,
            "PYTHONPATH": str(services.ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )

    assert run.returncode == status, run.stdout
    assert ("skips are refused here" in run.stdout) is (status == 1)
