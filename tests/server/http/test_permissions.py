"""The permission matrix: every route, every permission, and each way to have it or not."""

import hashlib
import re
from pathlib import Path

import pytest

from pushgate.model.grouping import GroupingKey
from pushgate.server.access.config import Permission
from pushgate.server.app import GROUP, routes
from pushgate.server.settings import Settings
from pushgate.server.ui.groups import group_id
from tests.server.http.asgi import Served
from tests.server.pushes import change, key, put

SETTINGS = Settings(web_enable_admin_api=True, web_enable_lifecycle=True)
GRANTABLE = ("push", "delete", "scrape", "read", "admin")
MINE, THEIRS = "mine", "theirs"
# Method, target, what it needs (nothing: to be known is enough), whether it is about a job.
ROUTES = [
    ("PUT", "/metrics/job/{job}", "push", True),
    ("POST", "/metrics/job/{job}", "push", True),
    ("PATCH", "/metrics/job/{job}", "push", True),
    ("PATCH", "/metrics/job@base64/{base64}/zone/a", "push", True),
    ("PUT", "/metrics/job/{job}/zone/a", "push", True),
    ("POST", "/metrics/job/{job}/zone/a", "push", True),
    ("PUT", "/metrics/job@base64/{base64}", "push", True),
    ("POST", "/metrics/job@base64/{base64}", "push", True),
    ("PUT", "/metrics/job@base64/{base64}/zone/a", "push", True),
    ("POST", "/metrics/job@base64/{base64}/zone/a", "push", True),
    ("DELETE", "/metrics/job/{job}", "delete", True),
    ("DELETE", "/metrics/job/{job}/zone/a", "delete", True),
    ("DELETE", "/metrics/job@base64/{base64}", "delete", True),
    ("DELETE", "/metrics/job@base64/{base64}/zone/a", "delete", True),
    ("GET", "/metrics", "scrape", False),
    ("HEAD", "/metrics", "scrape", False),
    ("GET", "/", "read", False),
    ("HEAD", "/", "read", False),
    ("GET", "/status", "read", False),
    ("GET", "/rules", "read", False),
    ("GET", "/help", "read", False),
    ("GET", "/ui/groups", "read", False),
    ("GET", "/static/style.css", "", False),
    ("GET", "/ui/group/{group}", "read", True),
    ("GET", "/api/v1/status", "read", False),
    ("GET", "/api/v1/metrics", "read", False),
    ("GET", "/api/v1/groups", "read", False),
    ("GET", "/api/v1/openapi.json", "read", False),
    ("DELETE", "/api/v1/groups?match[]={{job=%22{job}%22}}", "delete", True),
    ("PUT", "/api/v1/admin/wipe", "admin", False),
    ("PUT", "/-/quit", "admin", False),
    ("POST", "/-/quit", "admin", False),
    ("GET", "/-/quit", "", False),
    ("GET", "/-/healthy", "", False),
    ("GET", "/-/ready", "", False),
    ("OPTIONS", "/api/v1/status", "", False),
]
JOBS = {MINE: "bWluZQ", THEIRS: "dGhlaXJz"}


def token(name: str) -> str:
    return f"token-of-{name}"


def config() -> str:
    """For each permission a token that has it, and one that has it for MINE only."""
    names = ["nothing", *GRANTABLE, *(f"{permission}-mine" for permission in GRANTABLE)]
    tokens = "".join(
        f"  - {{name: {name}, sha256: {hashlib.sha256(token(name).encode()).hexdigest()}}}\n"
        for name in names
    )
    grants = "".join(
        f"    {permission}: [{permission}]\n"
        f"    {permission}-mine: [{{allow: [{permission}], jobs: [mine]}}]\n"
        for permission in GRANTABLE
    )
    return f"bearer_tokens:\n{tokens}permissions:\n  tokens:\n{grants}"


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Served:
    path: Path = tmp_path_factory.mktemp("matrix") / "web.yml"
    path.write_text(config())
    return Served(SETTINGS, web_config=path)


def targeted(target: str, job: str) -> str:
    return target.format(job=job, base64=JOBS[job], group=group_id(GroupingKey([("job", job)])))


def status(served: Served, method: str, target: str, job: str, name: str | None) -> int:
    headers = {"Authorization": f"Bearer {token(name)}"} if name else {}
    target = targeted(target, job)
    if "match[]" in target:
        change(served.store, put(key(job), "m 1\n"))
    body = b"m 1\n" if "/metrics/job" in target and method != "DELETE" else b""
    return served.ask(method, target, body, headers).status


@pytest.mark.parametrize(("method", "target", "needed", "has_job"), ROUTES)
def test_a_permission_opens_its_routes_and_no_other(served, method, target, needed, has_job):
    for permission in GRANTABLE:
        allowed = allowed_with(permission, needed, has_job=has_job)
        found = {}
        for who, job in allowed:
            answered = status(served, method, target, job, None if who == "none" else who)
            found[who, job] = answered if answered in {401, 403} else "in"
        assert found == allowed, permission


def allowed_with(permission, needed, *, has_job):
    """Who gets in, among those without a permission, with this one, and with it for a job."""
    everywhere = not needed or permission == needed
    # Limited to a job, it opens what is about that job.
    mine = not needed or (permission == needed and has_job)
    return {
        ("none", MINE): 401,
        ("wrong", MINE): 401,
        ("nothing", MINE): 403 if needed else "in",
        (permission, MINE): "in" if everywhere else 403,
        (permission, THEIRS): "in" if everywhere else 403,
        (f"{permission}-mine", MINE): "in" if mine else 403,
        (f"{permission}-mine", THEIRS): 403 if needed else "in",
    }


def test_the_matrix_has_every_route():
    matrix = {}
    for method, target, needed, _ in ROUTES:
        path = re.sub(r"/metrics/job.*", "a group", target)
        path = path.partition("?")[0]
        path = re.sub(r"(?<=/ui/group/).*", "{id}", path)
        path = re.sub(r"(?<=/static/).*", "{name:path}", path)
        matrix.setdefault((method, path), set()).add(needed)
    free = {Permission.ANY, Permission.HEALTH}
    for path, actions in {**routes(SETTINGS), "a group": GROUP}.items():
        for method, action in actions.items():
            needed = "" if action.permission in free else action.permission.value
            if method != "OPTIONS":
                assert matrix[method, path] == {needed}, (method, path)


@pytest.mark.parametrize("group", ["x", "", "bWluZQ", group_id(GroupingKey([("a", "mine")]))])
def test_the_page_of_what_is_no_group_is_about_every_job(served, group):
    assert status(served, "GET", f"/ui/group/{group}", MINE, "read-mine") in {403, 404}
    assert status(served, "GET", f"/ui/group/{group}", MINE, "read") == 404


@pytest.mark.parametrize(("method", "target", "needed", "has_job"), ROUTES)
def test_without_permissions_whoever_is_known_may_do_everything(
    tmp_path, method, target, needed, has_job
):
    path = tmp_path / "web.yml"
    path.write_text(config().partition("permissions:")[0])
    served = Served(SETTINGS, web_config=path)
    assert status(served, method, target, THEIRS, "nothing") not in {401, 403}
    assert status(served, method, target, THEIRS, None) == 401
