"""What the help says; tests/interop/test_help.py runs it."""

import pytest
import yaml

from pushgate.server.settings import Settings
from pushgate.server.ui.help import sections


def texts(url: str, **settings: str) -> dict[str, str]:
    shown = sections(Settings(**settings), url)
    return {snippet.title: snippet.text for section in shown for snippet in section.snippets}


def test_every_snippet_that_pushes_or_scrapes_names_this_gateway():
    found = texts("https://ex.org/pg", web_external_url="https://ex.org/pg")
    del found["Alert rules"]
    assert {title for title, text in found.items() if "ex.org" not in text} == set()
    assert {title for title, text in found.items() if "/pg" not in text} == set()


@pytest.mark.parametrize(
    ("url", "settings", "expected"),
    [
        ("http://gw:9091", {}, ("http", "/metrics", "gw:9091")),
        (
            "https://ex.org/pg",
            {"web_external_url": "https://ex.org/pg", "web_telemetry_path": "/scrape"},
            ("https", "/pg/scrape", "ex.org"),
        ),
        ("http://gw/x", {"web_route_prefix": "/x"}, ("http", "/metrics", "gw")),
    ],
)
def test_the_scrape_configuration_names_scheme_path_and_host(url, settings, expected):
    [job] = yaml.safe_load(texts(url, **settings)["prometheus.yml"])["scrape_configs"]
    [static] = job["static_configs"]
    assert (job["scheme"], job["metrics_path"], *static["targets"]) == expected
    assert job["honor_labels"] is True


def test_the_alert_rules_are_for_late_and_failed_pushes_and_the_gateway_itself():
    [group] = yaml.safe_load(texts("http://gw:9091")["Alert rules"])["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [
        "PushIsLate",
        "PushFailed",
        "PushgatewayDown",
    ]
