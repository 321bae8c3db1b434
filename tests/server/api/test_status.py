import json
import re

from pushgate.server.settings import Settings
from tests.server.api.test_responses import CORS
from tests.server.http.asgi import Served


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
