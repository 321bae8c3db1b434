"""What the pages about the server itself show: its status, and its rules."""

import os
import time
from collections import Counter
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from pushgate.server.http.context import AppContext
from pushgate.server.recent import MINUTES, Minute, Scrape
from pushgate.server.store.rules import Rule
from pushgate.server.ui.charts import bar_share, line
from pushgate.server.ui.groups import STATE_WORDS, Chip, chips
from pushgate.server.ui.search import State, state_of
from pushgate.server.ui.values import Moment, age, duration, moment, plain, size
from pushgate.server.version import BUILD

_PLOT = (600, 90)
_MAX_CHIP = 40
_NEARLY_FULL = 0.8


class Tile(NamedTuple):
    """A fact in large type, and what there is to say about it."""

    name: str
    value: str
    details: str
    is_bad: bool = False


class Limit(NamedTuple):
    """How much of a limit is used."""

    name: str
    text: str
    share: str
    is_near: bool


class Plot(NamedTuple):
    """A line over the last hour."""

    title: str
    now: str
    path: str
    label: str


class RefusedRow(NamedTuple):
    """A refused push."""

    at: Moment
    address: str
    job: str
    chips: list[Chip]
    reason: str
    message: str


def status(context: AppContext, now: int) -> dict[str, Any]:
    """Return what the status page shows at *now*, in Unix nanoseconds."""
    settings, recent = context.settings, context.telemetry.recent
    rows, changed = settings.rows(), settings.changed
    refused = [
        RefusedRow(
            moment(one.time, now),
            one.address,
            dict(one.group.labels)["job"] if one.group else "",
            chips(one.group, settings, most=_MAX_CHIP) if one.group else [],
            one.reason,
            one.message,
        )
        for one in recent.refused
    ]
    return {
        "tiles": _tiles(context, now),
        "plots": _plots(recent.minutes(time.perf_counter())),
        "plot_size": _PLOT,
        "scrapes": [
            (moment(one.time, now), one.address, one.agent, duration(one.seconds), size(one.size))
            for one in recent.scrapes()
        ],
        "refused": refused,
        "reasons": recent.refusals.most_common(),
        "limits": _limits(context),
        "changed": {name: value for name, value in rows.items() if name in changed},
        "flags": {name: value for name, value in rows.items() if name not in changed},
        "build": {
            "version": BUILD.version,
            "branch": BUILD.branch,
            "revision": BUILD.revision,
            "tags": BUILD.tags,
            "python": BUILD.python,
            "platform": BUILD.platform,
        },
    }


def _tiles(context: AppContext, now: int) -> list[Tile]:
    store = context.gateway.store
    scrapes = context.telemetry.recent.scrapes()
    started = moment(context.started, now)
    last = scrapes[0] if scrapes else None
    return [
        Tile(
            "Up",
            duration((now - context.started) // 10**9),
            f"since {started.full} · {BUILD.version}",
        ),
        _storage(context, now),
        Tile("Memory", size(_memory()), f"{len(store):,} groups · {store.series:,} series"),
        Tile(
            "Last scrape",
            moment(last.time, now).ago if last else "none yet",
            _last_scrape(last) if last else "Prometheus has not asked for metrics since the start",
        ),
    ]


def _last_scrape(scrape: Scrape) -> str:
    client = f"{scrape.agent} ({scrape.address})" if scrape.agent else scrape.address
    return f"{client} · {size(scrape.size)} in {duration(scrape.seconds)}"


def _storage(context: AppContext, now: int) -> Tile:
    gateway = context.gateway
    if not gateway.is_durable:
        return Tile("Storage", "in memory", "lost at the next stop, see --persistence.file")
    if not gateway.is_ready:
        return Tile(
            "Storage", "cannot be written", "pushes are refused, the log says why", is_bad=True
        )
    file = Path(context.settings.persistence_file)
    try:
        main, log = file.stat(), Path(f"{file}-wal").stat()
    except OSError:
        return Tile("Storage", "durable", file.name)
    written = moment(max(main.st_mtime_ns, log.st_mtime_ns), now)
    return Tile(
        "Storage",
        "durable",
        f"{file.name} {size(main.st_size)} · log {size(log.st_size)} · written {written.ago}",
    )


def _memory() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _plots(minutes: list[Minute]) -> list[Plot]:
    minutes = minutes[:-1] or minutes  # the current one has not ended
    nothing = [Minute(0, float("nan"), float("nan"))] * (MINUTES - len(minutes))
    minutes = [*nothing, *minutes]
    rates = [minute.pushes / 60 for minute in minutes]
    p99 = [minute.p99 for minute in minutes]
    now = next((m for m in reversed(minutes) if isfinite(m.p50)), None)
    latency = f"p50 {duration(now.p50)} · p99 {duration(now.p99)}" if now else "no pushes yet"
    return [
        Plot(
            "Pushes per second",
            f"last minute {plain(rates[-1])} · most {plain(max(rates))}",
            line(rates, width=_PLOT[0], height=_PLOT[1]),
            f"Pushes per second over the last hour, at most {plain(max(rates))}",
        ),
        Plot(
            "Push duration, p99",
            latency,
            line(p99, width=_PLOT[0], height=_PLOT[1]),
            f"99th percentile of the duration of pushes over the last hour: {latency}",
        ),
    ]


def _limits(context: AppContext) -> list[Limit]:
    settings, gateway = context.settings, context.gateway
    used = {
        "series": (gateway.store.series, settings.limit_series),
        "groups": (len(gateway.store), settings.limit_groups),
        "pushes in flight": (gateway.waiting, settings.limit_pushes_in_flight),
    }
    return [
        Limit(
            name,
            f"{value:,} of {most:,}" if most else f"{value:,}, no limit",
            bar_share(value, most),
            bool(most) and value >= _NEARLY_FULL * most,
        )
        for name, (value, most) in used.items()
    ]


class RuleRow(NamedTuple):
    """A rule, and how many groups it is for, by state."""

    selector: str
    expect_every: str
    ttl: str
    forget_after: str
    aggregate: str
    groups: int
    states: list[tuple[str, str, int]]


async def rules(context: AppContext, now: int) -> dict[str, Any]:
    """Return what the page of the rules shows at *now*, in Unix nanoseconds."""
    store = context.gateway.store
    counts: dict[int, Counter[State]] = {}
    for run in store.walk():
        for group in run:
            rule = store.rule(group.key)
            counts.setdefault(id(rule), Counter())[state_of(group, rule, now)] += 1
    live = context.live_rules
    return {
        "file": context.settings.push_rules_file,
        "error": str(live.error or ""),
        "rules": [
            _rule_row(rule, counts.get(id(rule), Counter()))
            for rule in (*store.rules.rules, store.rules.default)
        ],
        "expired": context.expiry.expired,
    }


def _rule_row(rule: Rule, counts: Counter[State]) -> RuleRow:
    every, ttl, forget = (
        age(nanoseconds) if nanoseconds else ""
        for nanoseconds in (rule.expect_every, rule.ttl, rule.forget_after)
    )
    states = [(state.value, STATE_WORDS[state], counts[state]) for state in State if counts[state]]
    selector = str(rule.selector) if rule.selector else ""
    operations = rule.aggregate.operations if rule.aggregate else {}
    aggregate = ", ".join(f"{name} {operation.value}" for name, operation in operations.items())
    return RuleRow(selector, every, ttl, forget, aggregate, counts.total(), states)
