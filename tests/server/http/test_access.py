"""Who is let in, and to what. The rules themselves are tested in tests/server/access."""

import base64
from pathlib import Path

import bcrypt
import pytest

from pushgate.server.settings import Settings
from tests.server.http.asgi import Served

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
USERS = "".join(f"  {name}: {HASH}\n" for name in ("pusher", "reader", "nobody"))
GRANTS = """
permissions:
  users:
    pusher: [{allow: [push, delete], jobs: [mine]}]
    reader: [{allow: [read, scrape]}]
"""


@pytest.fixture
def served(tmp_path: Path):
    def serve(config: str) -> Served:
        path = tmp_path / "web.yml"
        path.write_text(config)
        settings = Settings(web_enable_admin_api=True, web_enable_lifecycle=True)
        return Served(settings, web_config=path)

    return serve


def named(user: str, password: str = "secret") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/metrics/job/mine"),
        ("PUT", "/metrics%2Fjob/mine"),
        ("GET", "/metrics"),
        ("GET", "/"),
        ("GET", "/static/style.css"),
        ("GET", "/-/ready"),
        ("GET", "/nope"),
        ("GET", "//status"),
        ("GET", "/%zz"),
        ("OPTIONS", "/api/v1/status"),
        ("OPTIONS", "*"),
        ("PUT", "/-/quit"),
    ],
)
def test_a_stranger_gets_nothing(served, method, target):
    site = served("basic_auth_users:\n" + USERS)
    answer = site.ask(method, target)
    assert (answer.status, answer.text) == (401, "Unauthorized\n")
    assert answer.headers["www-authenticate"] == "Basic"
    assert site.ask(method, target, headers=named("pusher", "wrong")).status == 401
    assert site.ask(method, target, headers=named("pusher")).status != 401
    assert len(site.store) == (method == "PUT" and "metrics" in target)


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", "/metrics/job/mine/x/y", "pusher"),
        ("POST", "/metrics%2Fjob/mine", "pusher"),
        ("DELETE", "/metrics/job@base64/bWluZQ", "pusher"),
        ("PUT", "/metrics/job/theirs", ""),
        ("PUT", "/metrics/job/theirs/job/mine", ""),
        ("GET", "/metrics", "reader"),
        ("HEAD", "/metrics", "reader"),
        ("GET", "/", "reader"),
        ("GET", "/status", "reader"),
        ("GET", "/static/style.css", "pusher reader nobody"),
        ("GET", "/api/v1/metrics", "reader"),
        ("GET", "/api/v1/status", "reader"),
        ("PUT", "/api/v1/admin/wipe", ""),
        ("POST", "/-/quit", ""),
        ("GET", "/nope", "pusher reader nobody"),
        ("GET", "/status/", "pusher reader nobody"),
        ("PUT", "/metrics/job/mine/odd", "pusher reader nobody"),
    ],
)
def test_everybody_gets_what_was_granted(served, method, target, allowed):
    site = served("basic_auth_users:\n" + USERS + GRANTS)
    statuses = {
        user: site.ask(method, target, headers=named(user)).status
        for user in ("pusher", "reader", "nobody")
    }
    assert {user for user, status in statuses.items() if status != 403} == {*allowed.split()}
    assert site.quits == 0


def test_configured_headers_are_on_every_answer(served):
    site = served(
        f"basic_auth_users:\n{USERS}"
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
        "    X-Content-Type-Options: nosniff\n"
    )
    for target, user in [("/metrics", "x"), ("/nope", "reader"), ("/metrics", "reader")]:
        answer = site.ask("GET", target, headers=named(user))
        assert answer.headers["x-frame-options"] == "deny"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_too_many_requests_are_refused_before_anything_else(served):
    site = served(
        "rate_limit: {interval: 1h, burst: 1}\n"
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
    )
    assert site.ask("GET", "/-/ready").status == 200
    answer = site.ask("GET", "/-/ready")
    assert (answer.status, answer.text) == (429, "Too Many Requests\n")
    assert "x-frame-options" not in answer.headers
