import base64
import gzip
import json
import logging
from pathlib import Path

import pytest

from pushgate.errors import StartupError
from pushgate.server.app import routes
from pushgate.server.settings import Settings
from tests.server.http.asgi import Response, Served

VECTORS = Path(__file__).parents[1] / "conformance" / "vectors.json"
API = Path(__file__).parents[2] / "docs" / "http-api.md"
PREFIXED = Settings(web_route_prefix="/foo")
COMPARED = ("content-type", "location", "x-content-type-options")


def recorded() -> list:
    """Single exchanges about routes, and about gzip."""
    scenarios = json.loads(VECTORS.read_text())
    return [
        pytest.param(step, id=f"{scenario['name']}: {step['method']} {step['target']}")
        for scenario in scenarios
        if scenario["name"].startswith(("route ", "gzip ")) and "differs" not in scenario
        for step in scenario["steps"]
    ]


def replayed(served: Served, step: dict) -> Response:
    content = base64.b64decode(step.get("body_base64", "")) or step.get("body", "")
    return served.ask(step["method"], step["target"], content, step.get("headers"))


def allowed(headers: dict[str, str]) -> set[str]:
    """The methods in Allow that the Go server could have, which has no HEAD."""
    return {*headers.get("allow", "").replace(",", "").split()} - {"HEAD", "OPTIONS"}


@pytest.mark.parametrize("step", recorded())
def test_answers_as_the_reference_did(step):
    answer = replayed(Served(Settings(web_enable_admin_api=True)), step)
    expected = step["expect"]
    assert answer.status == expected["status"]
    assert allowed(answer.headers) == allowed(expected["headers"])
    for name in COMPARED:
        assert answer.headers.get(name) == expected["headers"].get(name)
    if expected.get("body"):
        first = answer.text.partition("\n")[0]
        assert first == expected["body"].partition("\n")[0]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_delete_and_a_path_that_names_no_group_need_no_readable_body(method):
    headers = {"Content-Encoding": "gzip"}
    answer = Served().ask(method, "/metrics/job/j/x", "m 1\n", headers)
    assert (answer.status, answer.text) == (400, 'odd number of components in label string "/x"\n')
    assert Served().ask("DELETE", "/metrics/job/j", "m 1\n", headers).status == 202


def test_a_body_that_cannot_be_decompressed_is_refused_for_that_first():
    damaged = gzip.compress(b"m x\n")[:-1]
    answer = Served().ask("PUT", "/metrics/job/j", damaged, {"Content-Encoding": "gzip"})
    assert (answer.status, answer.text) == (400, "unexpected EOF\n")


@pytest.mark.parametrize(
    ("target", "said"),
    [("/metrics/job/j", "failed to parse text"), ("/metrics/job/j/x", "failed to parse URL")],
)
def test_a_push_that_cannot_be_read_is_logged_at_debug_level(caplog, target, said):
    with caplog.at_level(logging.DEBUG, "pushgate"):
        answer = Served().ask("PUT", target, "m x\n")
    [record] = [record for record in caplog.records if record.message == said]
    assert record.levelname == "DEBUG"
    assert answer.text.startswith(f"{record.err}\n")


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        ("/metrics/job/a%2Fb/path//x/y", 'instance="",job="a/b",path="",x="y"'),
        ("/metrics/job/j/path/%2Fvar%2Ftmp", 'instance="",job="j",path="/var/tmp"'),
        ("/metrics/job/j/x/..", 'instance="",job="j",x=".."'),
    ],
)
def test_a_push_path_is_split_before_it_is_decoded(target, labels):
    served = Served()
    assert served.ask("POST", target, "m 1\n").status == 200
    assert f"m{{{labels}}} 1\n" in served.ask("GET", "/metrics").text
    assert served.ask("DELETE", target).status == 202
    assert len(served.store) == 0


@pytest.mark.parametrize(
    ("target", "prefix"),
    [
        ("//metrics/job/j", ""),
        ("///metrics//job/j", ""),
        ("/metrics//job/j", ""),
        ("//pg/metrics/job/j", "/pg"),
        ("/pg//metrics/job/j", "/pg"),
        ("//metrics/job%40base64/ag", ""),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_slash_too_many_before_a_push_path_makes_no_difference(method, target, prefix):
    served = Served(Settings(web_route_prefix=prefix))
    served.ask("PUT", prefix + "/metrics/job/j", "other 1\n")
    answer = served.ask(method, target, "" if method == "DELETE" else "m 1\n")
    assert answer.status == (202 if method == "DELETE" else 200)
    assert [group.key.labels for group in served.store.groups()] == (
        [] if method == "DELETE" else [(("job", "j"),)]
    )


@pytest.mark.parametrize(
    "target",
    [
        "/metrics/job/",
        "/metrics/job@base64/",
        "/metrics/jobs/x",
        "/METRICS/job/j",
        "/metrics/",
        "/static",
        "/status/",
        "//status",
        "/api/v1",
        "/api/v1/metrics/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_path_that_is_nearly_a_route_is_not_found(method, target):
    answer = Served().ask(method, target, "m 1\n")
    assert (answer.status, answer.text) == (404, "404 page not found\n")


@pytest.mark.parametrize(
    "target",
    [
        "/metrics",
        "/status",
        "/",
        "/-/ready",
        "/api/v1/status",
        "/api/v1/metrics",
        "/static/style.css",
        "/nope",
        "/metrics/job/j",
    ],
)
def test_head_is_answered_as_get(target):
    served = Served()
    got, head = served.ask("GET", target), served.ask("HEAD", target)
    volatile = {"content-length"} if target == "/metrics" else set()
    assert head.status == got.status
    assert {k: v for k, v in head.headers.items() if k not in volatile} == {
        k: v for k, v in got.headers.items() if k not in volatile
    }


def test_the_server_as_a_whole_can_be_asked_for_its_options():
    answer = Served().ask("OPTIONS", "*")
    assert (answer.status, answer.body) == (200, b"")


def test_every_route_is_below_the_prefix():
    served = Served(PREFIXED)
    assert served.ask("GET", "/foo/-/ready").status == 200
    assert served.ask("PUT", "/foo/metrics/job/j", "m 1\n").status == 200
    assert 'm{instance="",job="j"} 1' in served.ask("GET", "/foo/metrics").text
    assert served.ask("GET", "/foo/").status == 200
    assert served.ask("GET", "/foo/api/v1/status").status == 200
    for target in ("/metrics", "/", "/api/v1/status", "/metrics/job/j", "/fo"):
        assert served.ask("GET", target).status == 404


def test_a_prefix_may_have_to_be_escaped():
    served = Served(Settings(web_route_prefix="/é b"))
    assert served.ask("PUT", "/%C3%A9%20b/metrics/job//x/y", "m 1\n").status == 400
    assert served.ask("PUT", "/%C3%A9%20b/metrics/job/j", "m 1\n").status == 200
    assert served.ask("GET", "/%C3%A9%20b/api/v1/status").status == 200


@pytest.mark.parametrize(
    ("prefix", "target", "page"), [("/foo", "/foo?q=a", "/foo/"), ("/é", "/%C3%A9", "/%C3%A9/")]
)
def test_the_prefix_without_a_slash_leads_to_the_page(prefix, target, page):
    served = Served(Settings(web_route_prefix=prefix))
    answer = served.ask("GET", target)
    assert (answer.status, answer.headers["location"]) == (301, page)
    assert served.ask("PUT", target).status == 405


def test_quit_by_get_is_explained_without_the_prefix():
    served = Served(PREFIXED)
    assert served.ask("GET", "/-/quit").text == "Only POST or PUT requests allowed."
    assert allowed(served.ask("PUT", "/-/quit").headers) == {"GET"}
    assert allowed(served.ask("GET", "/foo/-/quit").headers) == {"POST", "PUT"}


def test_only_the_scrape_moves_with_the_telemetry_path():
    served = Served(Settings(web_telemetry_path="/all"))
    assert served.ask("GET", "/all").status == 200
    assert served.ask("GET", "/metrics").status == 404
    assert served.ask("PUT", "/metrics/job/j").status == 200


@pytest.mark.parametrize(
    "path", ["/", "/status", "/-/healthy", "/static/x", "/api/v1/status", "/metrics/job/x"]
)
def test_the_exposition_takes_no_path_of_something_else(path):
    settings = Settings(web_telemetry_path=path)
    with pytest.raises(StartupError, match=f"telemetry-path={path} is already the path of"):
        Served(settings)


def test_the_exposition_may_be_at_the_prefix_itself():
    served = Served(Settings(web_route_prefix="/pg", web_telemetry_path=""))
    assert "pushgate_groups 0" in served.ask("GET", "/pg").text


def test_counts_what_the_reference_counts():
    served = Served(Settings(web_enable_admin_api=True))
    for method, target in [
        ("GET", "/-/healthy"),
        ("GET", "/-/ready"),
        ("GET", "/"),
        ("GET", "/static/nope"),
        ("GET", "/api/v1/status"),
        ("OPTIONS", "/api/v1/nope"),
        ("PUT", "/api/v1/admin/wipe"),
        ("PUT", "/metrics/job/j"),
        ("POST", "/metrics/job/j/odd"),
        ("DELETE", "/metrics/job/j"),
        ("GET", "/nope"),
        ("PUT", "/status"),
        ("GET", "/-/quit"),
        ("GET", "/status/"),
        ("GET", "/metrics"),
    ]:
        served.ask(method, target)
    assert served.counted() == {
        "200 healthy get",
        "200 ready get",
        "200 status get",
        "404 static get",
        "200 api/v1/status get",
        "200 api/v1/options options",
        "202 wipe put",
        "200 push put",
        "400 push post",
        "202 delete delete",
    }


def test_an_unexpected_failure_is_a_500_and_a_line_in_the_log(caplog):
    served = Served()
    served.store.walk = None  # no server is that broken
    with caplog.at_level(logging.ERROR):
        answer = served.ask("GET", "/api/v1/metrics")
    assert (answer.status, answer.text) == (500, "Internal Server Error\n")
    assert "request failed" in caplog.text
    assert served.ask("GET", "/-/ready").status == 200


def test_out_of_memory_is_a_503_that_may_be_tried_again():
    def exhausted():
        raise MemoryError

    served = Served()
    served.store.walk = exhausted
    answer = served.ask("GET", "/api/v1/metrics")
    assert (answer.status, answer.text) == (503, "the server is out of memory\n")
    assert answer.headers["retry-after"] == "5"


def test_the_documentation_has_every_route():
    page = API.read_text()
    for path in routes(Settings(web_enable_admin_api=True)):
        shown = path.partition("{")
        assert f"`{shown[0]}{'…' if shown[1] else ''}`" in page
