"""docs/rules.md: its rules are valid, its commands print what it says, its alerts fire."""

import re
import subprocess
from pathlib import Path

import pytest

from pushgate.server.rules import RuleSection, parse
from tests import pages, services
from tests.server.pushes import key

PAGE = pages.page("rules")


def written(folder: Path) -> None:
    """Write the files that the page shows to *folder*."""
    (folder / "rules.yml").write_text(pages.blocks("rules", "yaml")[0])
    (typo,) = re.findall(r"\$ cat typo.yml\n(.*?)(?=\$ )", PAGE, re.DOTALL)
    (folder / "typo.yml").write_text(typo)


def test_the_rules_select_what_the_page_says():
    backup, other = parse(pages.blocks("rules", "yaml")[0].encode())
    assert backup.selector.matches(key("backup-db").labels)
    assert other.selector.matches(key("lambda", region="eu").labels)
    assert not other.selector.matches(key("lambda").labels)


def test_every_key_of_a_rule_is_described():
    table = PAGE.partition("## Expiry")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [*RuleSection.__struct_fields__]


def test_the_commands_print_what_the_page_says(tmp_path):
    written(tmp_path)
    for console in pages.blocks("rules", "console"):
        pages.Reader(tmp_path).console(console)


def test_workers_add_up_as_the_page_says(tmp_path):
    written(tmp_path)
    (example,) = (each for each in pages.examples("rules") if each.language == "sh")
    with services.pushgate(f"--push.rules-file={tmp_path / 'rules.yml'}") as server:
        pages.Reader(tmp_path, server.port).script(example.text, example.output)


UNIT_TEST = """
rule_files: [alerts.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'push_time_seconds{job="daily"}', values: '0x120'}
      - {series: 'push_expected_interval_seconds{job="daily"}', values: '3600x120'}
      - {series: 'push_time_seconds{job="whenever"}', values: '0x120'}
      - {series: 'push_time_seconds{job="broken"}', values: '0x120'}
      - {series: 'push_failure_time_seconds{job="broken"}', values: '0x5 360x114'}
    alert_rule_test:
      - {eval_time: 90m, alertname: PushLate}
      - eval_time: 91m
        alertname: PushLate
        exp_alerts:
          - exp_labels: {job: daily}
            exp_annotations: {summary: daily has not pushed for 1h 31m 0s}
      - {eval_time: 5m, alertname: PushFailed}
      - eval_time: 6m
        alertname: PushFailed
        exp_alerts: [{exp_labels: {job: broken}}]
"""


def test_the_alerts_fire_for_late_and_failed_pushes_only(tmp_path):
    promtool = services.find_promtool()
    (alerts,) = (
        example for example in pages.blocks("rules", "yaml") if example.startswith("groups:")
    )
    (tmp_path / "alerts.yml").write_text(alerts)
    (tmp_path / "test.yml").write_text(UNIT_TEST)
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "pushgate_expired_groups_total",
        "pushgate_rules_valid",
        "pushgate_rules_reload_failures_total",
    ],
)
def test_every_metric_that_the_page_names_exists(name):
    assert f"`{name}`" in PAGE
    with services.pushgate() as server:
        assert f"\n{name} " in server.get("/metrics")
