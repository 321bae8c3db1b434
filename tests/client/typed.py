"""What a type checker tells the users of the client."""

import os
import subprocess
import sys
from pathlib import Path

from tests.services import ROOT

# One for each worker of xdist: two that write to one at a time might disturb each other.
CACHE = ROOT / ".mypy_cache" / os.environ.get("PYTEST_XDIST_WORKER", "tests")


def checked(program: str, folder: Path) -> list[str]:
    """What mypy says of the lines of *program*, strictly."""
    (folder / "typed.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={CACHE}",
         "typed.py"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if line.startswith("typed.py")]
