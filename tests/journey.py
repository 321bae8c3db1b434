"""What a new user does with an installed server: serve, push, scrape, back up, restore."""

import os
import subprocess
from pathlib import Path

from tests import services

# The environment of this process, without what would bring in another Pushgate.
ENVIRONMENT = {**os.environ, "PYTHONPATH": ""}


def walk(programs: Path, folder: Path) -> None:
    """Take every step with the commands in *programs*; the data go into *folder*."""
    pushgate = programs / "pushgate"
    data, backup, restored = (folder / name for name in ("data.db", "backup.db", "restored.db"))
    with serving(pushgate, data) as server:
        run(pushgate, "set", "--address", server.url, "--job", "wheel", "rows=3", cwd=folder)
        assert 'rows{instance="",job="wheel"} 3' in server.get("/metrics")
        assert "wheel" in server.get("/")  # templates and styles are there
        run(pushgate, "backup", backup, "--persistence.file", data, cwd=folder)
    run(pushgate, "restore", backup, "--persistence.file", restored, cwd=folder)
    with serving(pushgate, restored) as server:
        assert 'rows{instance="",job="wheel"} 3' in server.get("/metrics")


def serving(pushgate: Path, file: Path):
    address = "--web.listen-address=127.0.0.1:{port}"
    command = [str(pushgate), "serve", address, f"--persistence.file={file}"]
    return services.running(command, environment={"PYTHONPATH": ""})


def run(*command: object, cwd: Path | None = None) -> str:
    """What *command* prints; an error has what it printed, too."""
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True, text=True, timeout=600, check=False, cwd=cwd, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout
