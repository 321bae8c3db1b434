"""Replicas with one database, started and killed one by one."""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests import services
from tests.forked import Forked
from tests.postgres import Postgres
from tests.replicas.load import RULES
from tests.replicas.replay import Entry
from tests.replicas.traced import trace

_AGREED_WITHIN = 60.0
EVERYTHING = "/metrics?" + urllib.parse.urlencode({"match[]": "{}"})


class Replica:
    """A traced replica at *port*, in *folder*."""

    def __init__(self, port: int, folder: Path, url: str, *flags: str) -> None:
        self.port = port
        self.log = folder / f"replica-{self.port}.log"
        self._flags = [
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--persistence.url={url}",
            *flags,
        ]
        self._service: services.Service | None = None

    def start(self) -> None:
        """Start the process, without waiting for it."""
        with self.log.open("ab") as output:
            process = Forked(self._flags, output, os.environ, trace)
        self._service = services.Service(self.port, process, self.log)

    def wait(self) -> None:
        """Return when it is ready."""
        assert self._service is not None
        services.wait_until_ready(self._service, "/-/ready")

    def kill(self) -> None:
        assert self._service is not None
        self._service.kill()

    def stop(self) -> None:
        if self._service is not None:
            self._service.stop()

    def get(self, path: str) -> str:
        assert self._service is not None
        return self._service.get(path)

    def metric(self, name: str) -> float:
        """The value of its own metric *name*, which has no labels."""
        lines = self.get("/metrics").splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


@contextmanager
def replicas(folder: Path, url: str, count: int = 3) -> Iterator[list[Replica]]:
    """*count* replicas that are ready; an error that leaves the block carries their logs."""
    rules = folder / "rules.yml"
    rules.write_text(RULES)
    held = ExitStack()
    them = [
        Replica(held.enter_context(services.held_port()), folder, url, f"--push.rules-file={rules}")
        for _ in range(count)
    ]
    try:
        for each in them:
            each.start()
        for each in them:
            each.wait()
        yield them
    except BaseException as error:
        for each in them:
            log = each.log.read_text(errors="replace") if each.log.exists() else ""
            ignored = ("level=info", "pushed metrics are invalid")
            lines = [line for line in log.splitlines() if not any(map(line.__contains__, ignored))]
            error.add_note(f"{each.log}:\n" + "\n".join(lines[-30:]))
        raise
    finally:
        for each in them:
            each.stop()
        held.close()


def expositions(them: Sequence[Replica]) -> list[str]:
    """What each replica shows of what was pushed, once all of them answer."""
    deadline = time.monotonic() + _AGREED_WITHIN
    while True:
        try:
            for each in them:
                each.get("/-/ready")
            return [each.get(EVERYTHING) for each in them]
        except (OSError, urllib.error.HTTPError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def trace_of(cluster: Postgres, database: str) -> list[Entry]:
    """All changes, in their order."""
    turns = cluster.psql("SELECT entries FROM trace ORDER BY rev", database).splitlines()
    return [Entry(*entry) for turn in turns for entry in json.loads(turn)]
