"""A gateway with groups as a small company has them, and pictures of its pages.

``python -m tests.showcase docs/screenshots`` writes the pictures; ``make screenshots`` does that.
"""

import math
import random
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pushgate import testing
from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.reader import decode
from pushgate.model.shape import interned
from pushgate.server.compose import compose, lock_persistence
from pushgate.server.recent import Minute
from pushgate.server.settings import Settings
from pushgate.server.storage.sqlite import SqliteJournal
from pushgate.server.store.change import Fail, Replace
from pushgate.server.store.store import Step, Store
from pushgate.server.ui.groups import group_id
from tests import browser
from tests.delimited import delimited
from tests.server.pushes import change, key, pushed, put

RULES = """\
rules:
  - match: '{job=~"nightly_.*|certificate_.*|restic"}'
    expect_every: 24h
  - match: '{job="etl_orders"}'
    expect_every: 15m
  - match: '{job="invoice_export"}'
    expect_every: 1h
  - match: '{job="lambda_resize"}'
    ttl: 1h
"""
SECOND = 10**9
HOUR = 3600
BACKUP = key("nightly_backup", instance="db-eu-3", dataset="billing")


@contextmanager
def showcase() -> Iterator[str]:
    """Runs a gateway with groups that have a past; yields its URL."""
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.yml"
        rules.write_text(RULES)
        settings = Settings(
            push_rules_file=str(rules),
            persistence_file=f"{folder}/pushgate.db",
            limit_series=700,
            limit_groups=1000,
            given=frozenset({"push_rules_file", "limit_series", "limit_groups"}),
        )
        with closing(SqliteJournal(Path(settings.persistence_file))) as journal:
            journal.load()
            journal.append([Step(None, group) for group in filled().groups()])
        server = compose(settings, lock=lock_persistence(settings))
        object.__setattr__(settings, "push_rules_file", "/etc/pushgate/rules.yml")  # to be shown
        dice = random.Random(5)
        recent = server.context.telemetry.recent
        for _ in range(59):
            pushes = dice.randrange(1800, 2600)
            recent._minutes.append(Minute(pushes, 4e-4, dice.uniform(16e-4, 24e-4)))
        started = time.time_ns() - (12 * 24 + 4) * HOUR * SECOND
        object.__setattr__(server.context, "started", started)
        with testing._served(server) as url:
            traffic(url)
            yield url


def traffic(url: str) -> None:
    """Scrapes, and pushes that are refused."""
    agent = {"User-Agent": "Prometheus/3.5.0"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/metrics", headers=agent)).read()
    for path, body in (
        ("restic/instance/nas", "restic_snapshots 12,5\n"),
        (
            "nightly_backup/instance/db-eu-3/dataset/billing",
            "# TYPE orders_total gauge\norders_total 1\n",
        ),
    ):
        request = urllib.request.Request(
            f"{url}/metrics/job/{path}",
            body.encode(),
            {"Content-Type": "text/plain"},
            method="POST",
        )
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request).read()


def filled() -> Store:
    """Groups with their last pushes."""
    store = Store()
    now = time.time()
    dice = random.Random(3)
    day = 24 * HOUR
    fleet = [
        (key("certificate_renewal", cluster="prod-eu"), day, 2 * day, "renewed_certificates 4\n"),
        *(
            (
                key("etl_orders", instance=f"worker-{n}", region=region),
                15 * 60,
                late,
                _rows(dice, 36),
            )
            for n, region, late in (
                (1, "eu-west-1", 120),
                (2, "eu-west-1", 240),
                (3, "us-east-2", 540),
                (7, "eu-west-1", 52 * 60),
            )
        ),
        (
            key("github_runner", repository="shop/frontend", workflow="deploy"),
            900,
            21,
            _rows(dice, 8),
        ),
        (key("github_runner", repository="shop/backend", workflow="test"), 700, 70, _rows(dice, 8)),
        (key("invoice_export", tenant="acme"), HOUR, 41 * 60, _rows(dice, 14)),
        (key("invoice_export", tenant="globex"), HOUR, 43 * 60, _rows(dice, 14)),
        (key("lambda_resize"), 1200, 50 * 60, "resized_images_total 41\n"),
        (key("lambda_resize", region="us-east-2"), HOUR, 5 * HOUR, "resized_images_total 7\n"),
        (key("node_patching", instance="web-12", rack="b4"), 7 * day, 6 * HOUR, _rows(dice, 3)),
        (key("restic", instance="nas", repository="s3:eu-backup"), day, 11 * HOUR, _rows(dice, 9)),
        (key("spark_features", date="2026-11-26"), day, 17 * 60, _rows(dice, 90)),
    ]
    for group, every, age, body in fleet:
        for back in range(dice.choice((20, 20, 20, 11)) - 1, -1, -1):
            at = now - age - back * every * dice.uniform(0.99, 1.01)
            luck = dice.random() if back else 1
            if luck < 0.03:
                change(store, Fail(group, int(at * SECOND)))
            elif luck > 0.08:  # between, it was not pushed at all
                change(store, put(group, body, int(at * SECOND)))
    for back in range(19, -1, -1):
        at = int((now - 3 * HOUR - back * day * dice.uniform(0.998, 1.002)) * SECOND)
        if back == 7:
            change(store, Fail(BACKUP, at))
        else:
            change(store, Replace(BACKUP, _backup(int(at / SECOND), dice), at))
    return store


def _rows(dice: random.Random, tables: int) -> str:
    lines = ["# HELP orders_total Rows read, by table and outcome.", "# TYPE orders_total counter"]
    for n in range(tables):
        lines.append(f'orders_total{{table="t{n}",outcome="ok"}} {dice.randrange(10**6)}')
        lines.append(f'orders_total{{table="t{n}",outcome="rejected"}} {dice.randrange(1000)}')
    return "\n".join(lines) + "\n"


def _backup(at: int, dice: random.Random):
    """A push with every type of metric."""
    text = f"""\
# HELP batch_job_last_success_timestamp_seconds When the job last succeeded.
# TYPE batch_job_last_success_timestamp_seconds gauge
batch_job_last_success_timestamp_seconds {at}.332
# HELP backup_size_bytes Size of what was written.
# TYPE backup_size_bytes gauge
backup_size_bytes{{volume="/"}} 835306302261
backup_size_bytes{{volume="/var/lib/postgresql"}} 560754685347
# HELP rows_processed_total Rows read, by table and outcome.
# TYPE rows_processed_total counter
rows_processed_total{{table="orders",outcome="ok"}} 121108
rows_processed_total{{table="orders",outcome="rejected"}} 613
rows_processed_total{{table="customers",outcome="ok"}} 1927494
# HELP upload_duration_seconds How long uploads took.
# TYPE upload_duration_seconds summary
upload_duration_seconds{{quantile="0.5"}} 0.42
upload_duration_seconds{{quantile="0.9"}} 1.9
upload_duration_seconds{{quantile="0.99"}} 4.75
upload_duration_seconds_sum 8123.5
upload_duration_seconds_count 14903
# HELP compressed_ratio Size after compression, of the size before.
# TYPE compressed_ratio histogram
compressed_ratio_bucket{{le="0.2"}} 410
compressed_ratio_bucket{{le="0.4"}} 3120
compressed_ratio_bucket{{le="0.6"}} 7604
compressed_ratio_bucket{{le="0.8"}} 8911
compressed_ratio_bucket{{le="1"}} 9204
compressed_ratio_bucket{{le="+Inf"}} 9310
compressed_ratio_sum 4210.7
compressed_ratio_count 9310
"""
    simple, decoded = pushed(text), decode(delimited(_native()))
    families = (*simple.shape.families, *decoded.shape.families)
    metrics = sum(len(family.labels) for family in simple.shape.families)
    return simple._replace(
        shape=interned(families),
        numbers=simple.numbers + b" " + decoded.numbers,
        details=(*(b"",) * metrics, *decoded.details),
    )


def _native():
    family = message_class("MetricFamily")(
        name=b"backup_chunk_duration_seconds", help=b"How long each chunk took.", type=4
    )
    dice = random.Random(9)
    counts = [
        round(900 * math.exp(-(((n - 25) / 7.5) ** 2)) + dice.randrange(4, 60)) for n in range(61)
    ]
    family.metric.add(
        histogram={
            "sample_count": sum(counts),
            "sample_sum": 4320.0,
            "schema": 3,
            "zero_threshold": 1e-128,
            "positive_span": [{"offset": -54, "length": len(counts)}],
            "positive_delta": [b - a for a, b in zip([0, *counts], counts, strict=False)],
        }
    )
    return family


_GROUP = f"/ui/group/{group_id(BACKUP)}"
# Each with its path, its size, and whether it is dark.
PICTURES = {
    "groups": ("/", 1280, 700, False),
    "groups-dark": ("/", 1280, 700, True),
    "groups-phone": ("/", 390, 780, False),
    "group": (_GROUP, 1280, 1500, False),
    "group-dark-phone": (_GROUP, 390, 1400, True),
    "status": ("/status", 1280, 1180, False),
    "status-phone": ("/status", 390, 1400, False),
    "rules": ("/rules", 1280, 420, False),
    "help": ("/help", 1280, 900, False),
}


def main(folder: Path) -> None:
    """Writes the pictures into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    with browser.chromium() as chromium, showcase() as url:
        for name, (path, width, height, is_dark) in PICTURES.items():
            reader = browser.Reader(name, {"width": width, "height": height}, is_dark)
            with browser.tab(chromium, reader) as page:
                page.goto(url + path)
                # A window without scroll bars needs no room for them.
                page.evaluate("document.documentElement.style.scrollbarGutter = 'auto'")
                page.screenshot(path=folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
