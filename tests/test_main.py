import subprocess
import sys


def test_the_command_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "pushgate", "url", "-a", "h:1", "-j", "x"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout == "http://h:1/metrics/job/x\n"
