"""Every command of docs/backup.md works as it stands, but for paths."""

import os
import re
import subprocess
from pathlib import Path

from tests import services
from tests.exchange import ask

PAGE = (services.ROOT / "docs" / "backup.md").read_text()
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def run(line: str, folder: Path, **variables: str) -> str:
    path = f"{Path(services.PUSHGATE).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", line], cwd=folder, env={**os.environ, "PATH": path, **variables},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def follow(block: str, folder: Path) -> None:
    for line, expected in COMMAND.findall(block):
        pattern = re.escape(expected).replace("…", ".*?")
        shown = run(line, folder)
        assert re.fullmatch(pattern, shown), (line, shown)


def test_a_running_server_is_backed_up_and_restored_when_it_is_stopped(tmp_path):
    online, offline = blocks("console")
    (line,) = blocks("cron")
    with services.pushgate(data=tmp_path / "data" / "pushgate.db") as server:
        ask(server.port, "PUT", "/metrics/job/backup/host/db1", b"bytes 1\n")
        ask(server.port, "PUT", "/metrics/job/import", b"rows 1\nfiles 1\n")
        follow(online, tmp_path)
        command = line.split(maxsplit=5)[5].replace("/var/backups", str(tmp_path))
        command = command.replace("/var/lib/pushgate", str(tmp_path / "data"))
        run(command, tmp_path, IO_PROMETHEUS_EXPORTER_PUSHGATEWAY_ADDRESS=server.url)
        assert 'batch_job_success{instance="",job="pushgate-backup"} 1' in server.get("/metrics")
        assert (tmp_path / "pushgate.db").exists()
    follow(offline, tmp_path)


def test_servers_that_share_a_database_are_restored_while_they_run(tmp_path, postgres):
    url = postgres.url_of(postgres.database())
    command = [services.PUSHGATE, "serve", "--web.listen-address=127.0.0.1:{port}"]
    with services.running([*command, f"--persistence.url={url}"]) as server:
        ask(server.port, "PUT", "/metrics/job/import", b"rows 1\n")
        for line in "".join(blocks("sh")).splitlines():
            run(line, tmp_path, PUSHGATE_PERSISTENCE_URL=url)
        assert 'rows{instance="",job="import"} 1' in server.get("/metrics")
