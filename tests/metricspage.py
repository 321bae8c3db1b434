"""Writes docs/metrics.md from the server's own metrics: ``make docs``."""

from collections.abc import Mapping

from pushgate.server.compose import compose
from pushgate.server.settings import Settings

HEAD = """\
# Metrics

<!-- Made from the server by `make docs`. -->

A scrape has everything that was pushed, three metrics of each group, and the server's own.

## Of each group

| metric | type | meaning |
|---|---|---|
| `push_time_seconds` | gauge | When changing this group last succeeded, in Unix seconds. |
| `push_failure_time_seconds` | gauge | When changing this group failed; 0 if it never did. |
| `push_expected_interval_seconds` | gauge | [How often a push is expected](rules.md). |

They have the labels of the group. Jobs that run under `pushgate run` or in a `job_run` push
[metrics of each run](howto-jobs.md), too.
"""
TITLES = {
    "pushgate": "Of Pushgate",
    "pushgateway": "As in the Go Pushgateway",
    "process": "Of the process",
    "python": "Of Python",
}
OF_A_STORAGE = {
    "pushgate_journal_checkpoint_failures_total": (
        "counter",
        "Checkpoints of the journal that failed. With a persistence file only.",
    ),
    "pushgate_storage_losses_total": (
        "counter",
        "Times the database lacked changes that this server had seen. With a database only.",
    ),
}
LABELS = {
    "pushgate_rejected_pushes_total": "`reason`",
    "pushgateway_http_requests_total": "`code`, `handler`, `method`",
    "pushgateway_http_push_size_bytes": "`method`",
    "pushgateway_http_push_duration_seconds": "`method`",
    "pushgateway_build_info": "`branch`, `pythonversion`, `revision`, `tags`, `version`",
    "python_info": "`implementation`, `major`, `minor`, `patchlevel`, `version`",
}


def page() -> str:
    names = {**compose(Settings()).context.telemetry.names(), **OF_A_STORAGE}
    return "\n".join([HEAD, *(section(title, prefix, names) for prefix, title in TITLES.items())])


def section(title: str, prefix: str, names: Mapping[str, tuple[str, str]]) -> str:
    rows = [
        f"| `{name}` | {kind} | {labels(name)} | {about} |\n"
        for name, (kind, about) in sorted(names.items())
        if name.partition("_")[0] == prefix
    ]
    return f"## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n{''.join(rows)}"


def labels(name: str) -> str:
    return "`generation`" if name.startswith("python_gc_") else LABELS.get(name, "")


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
