import os
import subprocess

import pytest

from tests.cli.commands import process
from tests.services import PUSHGATE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(shell):
    done = process("completion", shell)
    assert done.returncode == 0
    assert "_PUSHGATE_COMPLETE" in done.stdout


def test_another_shell_is_refused():
    assert process("completion", "tcsh").returncode == 2


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pushgate pu", ["push"]),
        ("pushgate push --comp", ["--compression"]),
        ("pushgate serve --web.enable-l", ["--web.enable-lifecycle"]),
        ("pushgate serve --no-web.enable-l", ["--no-web.enable-lifecycle"]),
        ("pushgate serve --persistence.f", ["--persistence.file"]),
        ("pushgate completion z", ["zsh"]),
    ],
)
def test_bash_completes(words, offered):
    script = (
        f'eval "$("$0" completion bash)"; COMP_WORDS=({words}); '
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "
        '_pushgate_completion "$0"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script, PUSHGATE],
        env=dict(os.environ), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout.split() == offered
