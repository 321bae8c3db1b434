"""docs/tutorial.md, followed from top to bottom."""

import time

from tests import pages, services

FIRES_WITHIN = 30.0


def test_the_reader_sees_what_the_tutorial_says(tmp_path):
    push, scrapes, alerts, failing = pages.blocks("tutorial", "sh")
    pushed, fired = pages.blocks("tutorial", "console")
    with services.pushgate() as gateway:
        reader = pages.Reader(tmp_path, gateway.port)
        reader.script(push)
        reader.console(pushed)
        reader.script(scrapes)
        reader.script(alerts)
        (tmp_path / "alerts.yml").rename(tmp_path / "rules")
        config = (tmp_path / "prometheus.yml").read_text()
        config = config.replace("alerts.yml", str(tmp_path / "rules"))
        with services.prometheus(config) as prometheus:
            reader = pages.Reader(tmp_path, gateway.port, prometheus=prometheus.port)
            reader.script(failing, "it failed with 1\n")
            reader.console(fired, within=FIRES_WITHIN)
            reader.script("pushgate run --address localhost:9091 --job report -- true", "")
            while "JobFailed" in prometheus.get("/api/v1/alerts"):
                time.sleep(0.2)
