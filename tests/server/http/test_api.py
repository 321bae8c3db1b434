import asyncio
import base64
import json
import re
from pathlib import Path

import pytest

from pushgate.server.settings import Settings
from tests.server.http.asgi import Served

VECTORS = Path(__file__).parents[2] / "conformance" / "vectors.json"
CORS = {
    "access-control-allow-headers": "Accept, Authorization, Content-Type, Origin",
    "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Date",
    "cache-control": "no-cache, no-store, must-revalidate",
}
TIMES = re.compile(r'(?<="time_stamp":)"[^"]+"|(?<="value":")1\.[0-9.]+e\+09(?=")')


def recorded() -> list:
    """Scenarios that look at the groups by the API."""
    return [
        pytest.param(scenario["steps"], id=scenario["name"])
        for scenario in json.loads(VECTORS.read_text())
        if "differs" not in scenario
        and any(step["target"] == "/api/v1/metrics" for step in scenario["steps"])
        and not scenario["name"].startswith("route")
    ]


@pytest.mark.parametrize("steps", recorded())
def test_shows_groups_as_the_reference_did(steps):
    served = Served()
    for step in steps:
        body = base64.b64decode(step.get("body_base64", "")) or step.get("body", "")
        answer = served.ask(step["method"], step["target"], body, step.get("headers"))
        if step["target"] == "/api/v1/metrics":
            assert TIMES.sub("<TIME>", answer.text) == step["expect"]["body"]


def test_status_says_how_the_server_was_started():
    served = Served(Settings(web_external_url="http://x/y?<&>", persistence_interval=90 * 10**9))
    answer = served.ask("GET", "/y/api/v1/status")
    assert answer.headers == {
        **CORS,
        "content-type": "application/json",
        "content-length": str(len(answer.body)),
    }
    assert answer.text.startswith('{"status":"success","data":{"build_information":{"branch":')
    assert r'"web.external-url":"http://x/y?\u003c\u0026\u003e"' in answer.text
    data = json.loads(answer.text)["data"]
    assert data["flags"]["persistence.interval"] == "1m30s"
    assert data["flags"]["web.route-prefix"] == "/y"
    assert list(data["flags"]) == sorted(data["flags"])
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", data["start_time"]
    )


@pytest.mark.parametrize("name", ["status", "metrics", "nope", "status/", ""])
def test_pages_of_other_origins_may_read(name):
    answer = Served().ask("OPTIONS", "/api/v1/" + name)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers == {**CORS, "content-length": "0"}


def test_a_wipe_deletes_every_group_before_it_is_answered():
    served = Served(Settings(web_enable_admin_api=True))
    for job in "ab":
        served.ask("PUT", "/metrics/job/" + job, "m 1\n")
    answer = served.ask("PUT", "/api/v1/admin/wipe", headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.headers) == (202, {"content-length": "0"})
    assert served.ask("GET", "/api/v1/metrics").text == '{"status":"success","data":[]}'


def test_a_wipe_needs_the_admin_api():
    assert Served().ask("PUT", "/api/v1/admin/wipe").status == 404


def test_others_are_served_while_a_long_list_is_made():
    async def scenario():
        served = Served()
        body = "".join(f'm{{i="{i}"}} {i}\n' for i in range(20_000))
        await served.asked("PUT", "/metrics/job/j", body)
        finished = []

        async def ask(target):
            finished.append(target)
            answer = await served.asked("GET", target)
            finished.append(answer)
            return answer

        long, short = await asyncio.gather(ask("/api/v1/metrics"), ask("/-/healthy"))
        assert finished.index(short) < finished.index(long)
        return long

    answer = asyncio.run(scenario())
    assert "content-length" not in answer.headers
    assert answer.chunks > 10
    [group] = json.loads(answer.text)["data"]
    assert [metric["value"] for metric in group["m"]["metrics"][:3]] == ["0", "1", "2"]
    assert len(group["m"]["metrics"]) == 20_000
