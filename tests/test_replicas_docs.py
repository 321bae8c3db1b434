"""Every example of docs/replicas.md works as it stands, but for addresses."""

import re
import socket
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests import pages, services
from tests.exchange import ask
from tests.forked import Forked
from tests.postgres import Postgres, unprivileged, unprivileged_folder
from tests.waiting import until

PAGE = pages.page("replicas")
OF_THE_STORAGE = re.compile(r"\bpushgate_(?:storage|journal)_\w+")
VARIABLE = "PUSHGATE_PERSISTENCE_URL"


@pytest.fixture(scope="module")
def url(postgres) -> str:
    """The URL of the page, with the address of a database that was made as the page says."""
    for statement in filter(None, map(str.strip, pages.blocks("replicas", "sql")[0].split(";"))):
        postgres.psql(statement)
    (export,) = re.findall(rf"export {VARIABLE}=(\S+)", PAGE)
    return export.replace("db.example", f"127.0.0.1:{postgres.port}")


def replica(url: str):
    (command,) = re.findall(
        r"^(pushgate serve .*)$", pages.blocks("replicas", "sh")[0], re.MULTILINE
    )
    arguments = command.removeprefix("pushgate serve ").replace(":9091", "127.0.0.1:{port}")
    return services.running(arguments.split(), environment={VARIABLE: url}, start=Forked)


def test_servers_share_the_database_and_keep_its_password_to_themselves(url):
    with replica(url) as one, replica(url) as other:
        assert ask(one.port, "PUT", "/metrics/job/j", b"rows 3\n").status == 200
        shown = other.get("/metrics")
        assert 'rows{instance="",job="j"} 3' in shown
        for each in (shown, other.get("/status"), other.get("/api/v1/status")):
            assert "secret" not in each
        assert "secret" not in other.log.read_text()


@contextmanager
def pgbouncer(postgres: Postgres, folder: Path):
    """PgBouncer as the page configures it, before *postgres*; yields its port."""
    program = services.found("PUSHGATE_TEST_PGBOUNCER", "pgbouncer", "PgBouncer")
    (config,) = pages.blocks("replicas", "ini")
    with services.held_port() as port:
        config = config.replace("db.example port=5432", f"127.0.0.1 port={postgres.port}")
        config = config.replace("6432", str(port)).replace("/etc/pgbouncer", str(folder))
        (folder / "pgbouncer.ini").write_text(f"{config}logfile = {folder}/log\n")
        (folder / "userlist.txt").write_text('"pushgate" "secret"\n')
        process = subprocess.Popen([program, folder / "pgbouncer.ini"], **unprivileged())

        def listens() -> bool:
            assert process.poll() is None
            with suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                return True
            return False

        try:
            until(listens)
            yield port
        finally:
            process.terminate()
            process.wait(services.STOPPED_WITHIN)


def test_pgbouncer_may_stand_in_between(url, postgres):
    with unprivileged_folder() as folder, pgbouncer(postgres, folder) as port:
        pooled = url.replace(f":{postgres.port}/", f":{port}/")
        with replica(pooled) as one, replica(pooled) as other:
            for number in range(20):
                body = f"rows {number}\n".encode()
                assert ask(one.port, "PUT", "/metrics/job/pooled", body).status == 200
                assert f'rows{{instance="",job="pooled"}} {number}' in other.get("/metrics")


def test_the_standbys_take_part_in_every_commit():
    with Postgres.running() as primary:
        primary.standby(synchronous=False)
        for statement in filter(
            None, map(str.strip, pages.blocks("replicas", "sql")[1].split(";"))
        ):
            primary.psql(statement)
        until(lambda: primary.psql("SELECT sync_state FROM pg_stat_replication") == "quorum")


def test_prometheus_understands_the_scrapes_and_the_alerts(tmp_path):
    promtool = services.find_promtool()
    scrapes, alerts = pages.blocks("replicas", "yaml")
    (tmp_path / "scrapes.yml").write_text(scrapes)
    (tmp_path / "alerts.yml").write_text(alerts)
    for command in ("check config scrapes.yml", "check rules alerts.yml"):
        done = subprocess.run(
            [promtool, *command.split()],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_the_page_exists_and_every_one_of_the_storage_is_on_it(url):
    with replica(url) as server:
        shown = {*OF_THE_STORAGE.findall(server.get("/metrics"))}
    named = {*OF_THE_STORAGE.findall(PAGE)}
    assert named <= shown
    assert {name for name in shown if "storage" in name} <= named
