import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pushgate import version
from pushgate.server.access.config import Permission
from pushgate.server.api.openapi import description
from pushgate.server.app import GROUP, routes
from pushgate.server.settings import Settings
from pushgate.server.ui import pages
from tests import services
from tests.server.http.asgi import Served

METHODS = frozenset({"get", "put", "post", "patch", "delete", "options"})
FREE = frozenset({Permission.ANY, Permission.HEALTH})
SETTINGS = Settings(web_enable_admin_api=True)


def served_actions() -> dict[tuple[str, str], str]:
    """What the router has but for pages: the permission of each method at each path."""
    paths = {re.sub(r":path\}", "}", path): actions for path, actions in routes(SETTINGS).items()}
    groups = ["/metrics/job/{job}", "/metrics/job/{job}/{label}/{value}"]
    return {
        (path, method.lower()): "" if action.permission in FREE else action.permission.value
        for path, actions in {**paths, **dict.fromkeys(groups, GROUP)}.items()
        for method, action in actions.items()
        if action.endpoint.__module__ != pages.__name__
    }


def described_operations(settings: Settings) -> dict[tuple[str, str], dict]:
    return {
        (path, method): operation
        for path, item in description(settings)["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_every_route_but_pages_is_described_with_its_permission_and_nothing_else_is():
    said = {
        of: (re.findall(r"Permission: (\w+)", operation["description"]) or [""])[0]
        for of, operation in described_operations(SETTINGS).items()
    }
    assert said == served_actions()


def test_every_operation_has_a_name_of_its_own():
    names = [each["operationId"] for each in described_operations(SETTINGS).values()]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    ("settings", "base", "scraped"),
    [
        (Settings(), "/", "/metrics"),
        (Settings(web_route_prefix="/push"), "/push", "/metrics"),
        (Settings(web_telemetry_path="/own"), "/", "/own"),
        (Settings(web_route_prefix="/push", web_telemetry_path="/own"), "/push", "/own"),
    ],
)
def test_it_is_served_for_the_prefix_and_the_paths_of_this_server(settings, base, scraped):
    prefix = base.removesuffix("/")
    answer = Served(settings).ask("GET", f"{prefix}/api/v1/openapi.json")
    shown = json.loads(answer.body)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert [server["url"] for server in shown["servers"]] == [base]
    assert shown["info"]["version"] == version.__version__
    assert "get" in shown["paths"][scraped]


@pytest.mark.timeout(300)
def test_the_server_answers_as_it_is_described(tmp_path):
    """Hundreds of requests, right and wrong ones, that Schemathesis makes up."""
    here = Path(__file__).parent
    with services.pushgate("--web.enable-admin-api") as gateway:
        done = subprocess.run(
            [
                Path(sys.executable).parent / "schemathesis",
                f"--config-file={here / 'schemathesis.toml'}",
                "run",
                f"{gateway.url}/api/v1/openapi.json",
                "--phases=coverage,fuzzing",
                "--max-examples=5",
                "--suppress-health-check=all",  # a busy machine is no fault
                "--seed=1",
                "--generation-database=none",
                "--no-color",
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                # What Hypothesis computes of Unicode is there for all runs.
                "HYPOTHESIS_STORAGE_DIRECTORY": str(services.ROOT / ".hypothesis"),
                "PYTHONPATH": str(services.ROOT),
                "SCHEMATHESIS_HOOKS": "tests.server.api.openapi_hooks",
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    assert "Fuzzing" in done.stdout
