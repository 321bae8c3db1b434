"""Every command of docs/backup.md works as it stands, but for paths."""

from tests import pages, services
from tests.exchange import ask


def test_a_running_server_is_backed_up_and_restored_when_it_is_stopped(tmp_path):
    online, offline = pages.blocks("backup", "console")
    (line,) = pages.blocks("backup", "cron")
    with services.pushgate(data=tmp_path / "data" / "pushgate.db") as server:
        ask(server.port, "PUT", "/metrics/job/backup/host/db1", b"bytes 1\n")
        ask(server.port, "PUT", "/metrics/job/import", b"rows 1\nfiles 1\n")
        reader = pages.Reader(tmp_path, server.port)
        reader.console(online)
        command = line.split(maxsplit=5)[5].replace("/var/backups", str(tmp_path))
        command = command.replace("/var/lib/pushgate", str(tmp_path / "data"))
        reader.script(command)
        assert 'batch_job_success{instance="",job="pushgate-backup"} 1' in server.get("/metrics")
        assert (tmp_path / "pushgate.db").exists()
    reader.console(offline)


def test_servers_that_share_a_database_are_restored_while_they_run(tmp_path, postgres):
    url = postgres.url_of(postgres.database())
    with services.serving(f"--persistence.url={url}") as server:
        ask(server.port, "PUT", "/metrics/job/import", b"rows 1\n")
        (script,) = pages.blocks("backup", "sh")
        pages.Reader(tmp_path).script(f"export PUSHGATE_PERSISTENCE_URL={url}\n{script}")
        assert 'rows{instance="",job="import"} 1' in server.get("/metrics")
