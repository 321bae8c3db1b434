import subprocess
import sys

import pytest

from tests.cli.commands import pushgate


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: []\n", "0 rules, valid"),
        ("rules:\n- match: '{job=\"a\"}'\n  ttl: 1h\n", "1 rule, valid"),
    ],
)
def test_a_valid_file_is_called_valid(tmp_path, text, said):
    file = tmp_path / "rules.yml"
    file.write_text(text)
    done = pushgate("check-rules", str(file))
    assert (done.exit_code, done.output) == (0, f"{file}: {said}\n")


def test_an_invalid_file_is_status_2_with_its_line_and_key(tmp_path):
    file = tmp_path / "rules.yml"
    file.write_text("rules:\n- match: '{job=\"a\"}'\n  ttl: soon\n")
    done = pushgate("check-rules", str(file))
    assert done.exit_code == 2
    assert done.stderr == (
        f'pushgate: {file}: line 3: rules[0].ttl: invalid duration "soon"; '
        "write one such as 90s, 24h or 7d\n"
    )


def test_a_file_that_is_not_there_is_named(tmp_path):
    done = pushgate("check-rules", str(tmp_path / "none.yml"))
    assert done.exit_code == 2
    assert "no such file or directory" in done.stderr


def test_without_the_server_it_says_what_to_install():
    without = "import sys; sys.modules['msgspec'] = None; from pushgate.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without, "check-rules", "rules.yml"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "needs the server (msgspec is missing): run pip install '.[server]'" in done.stderr
