"""What the help says; tests/interop/test_help.py runs it."""

import html
import re

import pytest
import yaml

from pushgate.server.settings import Settings
from tests.server.http.asgi import Served

SNIPPET = re.compile(r"<figcaption>(.*?) <button.*?<pre[^>]*>(.*?)</pre>", re.DOTALL)


def texts(host: str, **settings: str) -> dict[str, str]:
    served = Served(Settings(**settings))
    page = served.ask("GET", f"{served.settings.route_prefix}/help", headers={"Host": host}).text
    return {title: html.unescape(text) for title, text in SNIPPET.findall(page)}


def test_every_snippet_that_pushes_or_scrapes_names_this_gateway():
    found = texts("inside:9091", web_external_url="https://ex.org/pg")
    del found["Alert rules"]
    assert len(found) > 8
    assert {title for title, text in found.items() if "ex.org" not in text} == set()
    assert {title for title, text in found.items() if "/pg" not in text} == set()


@pytest.mark.parametrize(
    ("host", "settings", "expected"),
    [
        ("gw:9091", {}, ("http", "/metrics", "gw:9091")),
        (
            "inside:9091",
            {"web_external_url": "https://ex.org/pg", "web_telemetry_path": "/scrape"},
            ("https", "/pg/scrape", "ex.org"),
        ),
        ("gw", {"web_route_prefix": "/x"}, ("http", "/metrics", "gw")),
    ],
)
def test_the_scrape_configuration_names_scheme_path_and_host(host, settings, expected):
    [job] = yaml.safe_load(texts(host, **settings)["prometheus.yml"])["scrape_configs"]
    [static] = job["static_configs"]
    assert (job["scheme"], job["metrics_path"], *static["targets"]) == expected
    assert job["honor_labels"] is True


def test_the_alert_rules_are_for_late_and_failed_pushes_and_the_gateway_itself():
    [group] = yaml.safe_load(texts("gw:9091")["Alert rules"])["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [
        "PushIsLate",
        "PushFailed",
        "PushgatewayDown",
    ]
