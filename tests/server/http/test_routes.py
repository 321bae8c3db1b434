import asyncio

import pytest

from pushgate.errors import JournalFailed
from pushgate.server.access.config import Permission
from pushgate.server.http.responses import Response
from pushgate.server.http.routes import Action, Resource
from tests.server.access.certificates import sha256
from tests.server.http.asgi import Response as Received, Served


async def accept(_context, _scope):
    return Response(200, b"accepted")


def asked(method: str, *methods: str, **options) -> Received:
    """The answer to *method* of a resource with an action for each of *methods*."""
    served = Served()
    action = Action(**{"endpoint": accept, "permission": Permission.ANY, **options})
    served.app = Resource(served.context, dict.fromkeys(methods, action), lambda _: "No.\nReally.")
    return served.ask(method, "/")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_head_is_get(method):
    assert asked(method, "GET").status == 200


@pytest.mark.parametrize(
    ("methods", "allow"),
    [
        (["GET"], "GET, HEAD, OPTIONS"),
        (["PUT", "POST"], "OPTIONS, POST, PUT"),
        (["GET", "OPTIONS", "DELETE"], "DELETE, GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_without_action_is_told_what_is_allowed(methods, allow):
    answer = asked("PATCH", *methods)
    assert (answer.status, answer.text, answer.headers["allow"]) == (405, "No.\nReally.\n", allow)


def test_options_are_answered_without_an_action():
    answer = asked("OPTIONS", "PUT")
    assert (answer.status, answer.body, answer.headers["allow"]) == (200, b"", "OPTIONS, PUT")


@pytest.mark.parametrize("methods", [[], ["OPTIONS"]])
def test_where_options_are_all_there_is_nothing_else_is_found(methods):
    assert asked("GET", *methods).status == 404
    assert asked("OPTIONS", *methods).status == (200 if methods else 404)


def test_of_many_requests_that_read_one_begins_in_each_iteration_of_the_loop():
    iterations, began = 0, []

    async def note(_context, _scope):
        began.append(iterations)
        return Response(200)

    async def ten() -> None:
        nonlocal iterations
        served = Served()
        action = Action(endpoint=note, permission=Permission.READ, shows_groups=True)
        served.app = Resource(served.context, {"GET": action})
        requests = [asyncio.create_task(served.asked("GET", "/")) for _ in range(10)]
        while not all(request.done() for request in requests):
            await asyncio.sleep(0)
            iterations += 1

    asyncio.run(ten())
    assert len({*began}) == len(began) == 10


def test_an_error_of_an_action_is_its_answer_and_counted():
    async def fail(_context, _scope):
        raise JournalFailed("the disk is full")

    served = Served()
    action = Action(endpoint=fail, permission=Permission.ANY, counted_as="wipe")
    app, served.app = served.app, Resource(served.context, {"PUT": action})
    answer = served.ask("PUT", "/")
    assert (answer.status, answer.text.startswith("the disk is full")) == (503, True)
    served.app = app
    assert "503 wipe put" in served.counted()


def test_a_request_that_names_no_group_is_told_so_whatever_may_be_pushed(tmp_path):
    file = tmp_path / "web.yml"
    token = f"{{name: ci, sha256: {sha256('t0ken')}}}"
    file.write_text(f"bearer_tokens: [{token}]\npermissions: {{tokens: {{ci: [read]}}}}\n")
    served, known = Served(web_config=file), {"Authorization": "Bearer t0ken"}
    assert served.ask("PUT", "/metrics/job/a", headers=known).status == 403
    assert served.ask("PUT", "/metrics/job/a/odd", headers=known).status == 400
    assert served.ask("PUT", "/metrics/job/a/odd").status == 401
