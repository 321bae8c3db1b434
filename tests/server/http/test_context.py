"""Whether a client may do something, as the endpoints ask."""

import asyncio

import pytest

from pushgate.server.access.config import Permission
from tests.server.access.certificates import hashed
from tests.server.http.asgi import Served
from tests.server.http.test_access import named

CONFIG = f"""
basic_auth_users:
  pusher: {hashed("secret")}
permissions:
  users:
    pusher: [{{allow: [push], jobs: [mine]}}]
"""


@pytest.fixture
def context(tmp_path):
    path = tmp_path / "web.yml"
    path.write_text(CONFIG)
    return Served(web_config=path).context


def refusal(context, headers, permission, *jobs):
    scope = {
        "type": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 4711),
        "state": {},
    }
    sent = []

    async def send(message):
        sent.append(message)

    async def asked():
        response = await context.refusal(scope, permission, jobs)
        if response is not None:
            await response(scope, None, send)

    asyncio.run(asked())
    return (sent[0]["status"], sent[1]["body"]) if sent else None


def test_a_client_that_may_do_this_to_all_jobs_is_not_refused(context):
    assert refusal(context, named("pusher"), Permission.PUSH, "mine") is None


@pytest.mark.parametrize(
    ("headers", "permission", "jobs", "expected"),
    [
        ({}, Permission.PUSH, ["mine"], (401, b"Unauthorized\n")),
        (named("pusher", "wrong"), Permission.PUSH, ["mine"], (401, b"Unauthorized\n")),
        (
            named("pusher"),
            Permission.DELETE,
            ["mine"],
            (403, b'user "pusher" lacks permission delete for job "mine"\n'),
        ),
        (
            named("pusher"),
            Permission.PUSH,
            ["mine", "theirs"],
            (403, b'user "pusher" lacks permission push for job "theirs"\n'),
        ),
    ],
)
def test_the_response_to_any_other_client_says_why(context, headers, permission, jobs, expected):
    assert refusal(context, headers, permission, *jobs) == expected
