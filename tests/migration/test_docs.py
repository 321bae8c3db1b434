"""The steps of docs/migration.md, from a real Go Pushgateway."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests import pages, services
from tests.exchange import ask

PAGE = pages.page("migration")
BIN = str(Path(sys.executable).parent)
BODY = (
    b'# TYPE rows counter\nrows 7\n# TYPE h histogram\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n'
)


def example(containing: str) -> str:
    (block,) = (block for block in pages.blocks("migration", "sh") if containing in block)
    return block


def push(port: int) -> None:
    for job in ("nightly", "weekly"):
        answer = ask(port, "PUT", f"/metrics/job/{job}/zone/a", BODY)
        assert answer.status == 200


def ran(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["sh", "-e"],
        input=script,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_by_file_and_back(tmp_path):
    file = tmp_path / "metrics"
    with services.go_pushgateway(f"--persistence.file={file}") as old:
        push(old.port)
        pushed = [line for line in old.get("/metrics").splitlines() if 'job="' in line]
        old.process.send_signal(signal.SIGTERM)
        old.process.wait(services.STOPPED_WITHIN)
    _, *flags = example("pushgateway --persistence").split()
    flags = [flag.replace("/var/lib/pushgateway", str(tmp_path)) for flag in flags]
    with services.running(
        [f"{BIN}/pushgateway", "--web.listen-address=127.0.0.1:{port}", *flags]
    ) as new:
        assert "imported the persistence file of the Go Pushgateway" in new.log.read_text()
        exposition = new.get("/metrics").splitlines()
        assert set(pushed) <= set(exposition)
    kept = tmp_path / "metrics.imported"
    with services.go_pushgateway(f"--persistence.file={kept}") as back:
        assert set(pushed) <= set(back.get("/metrics").splitlines())


def test_by_http_and_what_to_check(tmp_path):
    with services.go_pushgateway() as old, services.pushgate() as new:
        push(old.port)

        def here(script: str) -> str:
            for name, service in (("old-gateway", old), ("new-gateway", new)):
                script = script.replace(f"{name}:9091", f"127.0.0.1:{service.port}")
            return script

        dry, real = here(example("pushgate import")).splitlines()
        ran(dry, tmp_path)
        assert "rows" not in new.get("/metrics")
        ran(real, tmp_path)
        assert ran(here(example("diff old new")), tmp_path) == ""
        assert 'rows{instance="",job="weekly",zone="a"} 7' in (tmp_path / "new").read_text()
        shown = ran(here("pushgate status --address new-gateway:9091"), tmp_path)
        assert "nightly" in shown


def test_every_flag_that_is_named_exists():
    helps = ran("pushgateway --help 2>&1; pushgate import --help", services.ROOT)
    known = set(re.findall(r"--[a-z0-9.-]+", helps.replace("--[no-]", "--")))
    assert set(re.findall(r"`(--[a-z0-9.-]+)", PAGE)) <= known
