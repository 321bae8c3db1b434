"""Runs pytest with our servers over PostgreSQL: python -m tests.with_postgres tests/conformance."""

import os
import subprocess
import sys

from tests.postgres import Postgres


def main(arguments: list[str]) -> int:
    with Postgres.running() as cluster:
        environment = {**os.environ, "PUSHGATE_TEST_DATABASE": cluster.url}
        command = [sys.executable, "-m", "pytest", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
