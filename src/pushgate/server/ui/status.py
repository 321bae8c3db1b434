"""The content of the pages about the server itself: its status, and its rules."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import chain
from math import isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pushgate.server.http.context import AppContext
from pushgate.server.http.slices import next_slice
from pushgate.server.recent import MINUTES, Minute
from pushgate.server.ui.charts import bar_share, line, top
from pushgate.server.ui.groups import chips
from pushgate.server.ui.search import State, state_of
from pushgate.server.ui.values import age, duration, moment, plain, size
from pushgate.server.version import BUILD

PLOT = (10 * (MINUTES - 1), 90)
"""Width and height of a plot, which is stretched to the width of the page."""
_MINUTE = 60 * 10**9
_MAX_CHIP = 40
_NEARLY_FULL = 0.8


class Tile(NamedTuple):
    """A fact in large type, with details below it."""

    name: str
    value: str
    details: str
    is_bad: bool = False


class Plot(NamedTuple):
    """A plot of the last hour. ``now`` says what the last minute was like.

    ``lines`` are paths by their CSS class, ``minutes`` the tooltips of minutes by their place.
    """

    title: str
    now: str
    top: str
    lines: list[tuple[str, str]]
    minutes: list[tuple[int, str]]


class Limit(NamedTuple):
    """How much of a limit is used; ``share`` is the length of its bar."""

    name: str
    text: str
    share: str
    is_near: bool


async def status(context: AppContext, now: int) -> dict[str, Any]:
    """Return what the status page shows at *now*, in Unix nanoseconds."""
    settings, recent = context.settings, context.telemetry.recent
    rows, changed = settings.rows(), settings.changed
    return {
        **await rules(context, now),
        "tiles": _tiles(context, now),
        "plots": _plots(context.telemetry.minutes()),
        "plot_size": PLOT,
        "scrapes": [
            (moment(one.time, now), one.address, one.agent, duration(one.seconds), size(one.size))
            for one in recent.scrapes()
        ],
        "refused": [
            (
                moment(one.time, now),
                chips(one.group, settings, most=_MAX_CHIP) if one.group else [],
                one,
            )
            for one in recent.refused
        ],
        "reasons": context.telemetry.rejected.most_common(),
        "limits": _limits(context),
        "changed": {name: value for name, value in rows.items() if name in changed},
        "flags": {name: value for name, value in rows.items() if name not in changed},
        "build": asdict(BUILD),
    }


def _tiles(context: AppContext, now: int) -> list[Tile]:
    store = context.gateway.store
    scrapes = context.telemetry.recent.scrapes()
    started = moment(context.started, now)
    last, scraped = "none yet", "nothing has scraped the metrics since the start"
    if scrapes:
        one = scrapes[0]
        last = moment(one.time, now).ago
        client = f"{one.agent} ({one.address})" if one.agent else one.address
        scraped = f"{client} · {size(one.size)} in {duration(one.seconds)}"
    return [
        Tile(
            "Up",
            duration((now - context.started) // 10**9),
            f"since {started.full} · {BUILD.version}",
        ),
        _storage(context, now),
        Tile("Memory", size(_memory()), f"{len(store):,} groups · {store.series:,} series"),
        Tile("Last scrape", last, scraped),
    ]


def _storage(context: AppContext, now: int) -> Tile:
    gateway, settings = context.gateway, context.settings
    if not gateway.is_durable:
        return Tile("Storage", "in memory", "lost at the next stop, see --persistence.file")
    if gateway.is_shared and not gateway.journal.is_connected:
        text = f"pushes are refused, and metrics shown as of {duration(gateway.copy_age)} ago"
        return Tile("Storage", "away", text, is_bad=True)
    if not gateway.is_ready:
        return Tile(
            "Storage", "cannot be written", "pushes are refused, the log says why", is_bad=True
        )
    if gateway.is_shared:
        return Tile("Storage", "durable", _sharing(context))
    file = Path(settings.persistence_file)
    try:
        main, log = file.stat(), Path(f"{file}-wal").stat()
    except OSError:
        return Tile("Storage", "durable", file.name)
    # SQLite writes the log with every commit, and the file itself only at a checkpoint.
    commit, checkpoint = (moment(stat.st_mtime_ns, now).ago for stat in (log, main))
    return Tile(
        "Storage",
        "durable",
        f"{file.name} {size(main.st_size)}, checkpoint {checkpoint} · "
        f"log {size(log.st_size)}, commit {commit}",
    )


def _sharing(context: AppContext) -> str:
    """Return a line about the database that servers share."""
    gateway = context.gateway
    url = urlsplit(context.settings.persistence_url)
    facts = [
        f"{url.netloc.rpartition('@')[2]}{url.path}",
        f"{gateway.news_groups:,} changes of other servers",
    ]
    if gateway.journal.turns:
        facts.append(
            f"a turn takes {duration(gateway.journal.turn_seconds / gateway.journal.turns)} for "
            f"{plain(gateway.journal.turn_changes / gateway.journal.turns)} changes"
        )
    return " · ".join([*facts, f"up to date {duration(gateway.copy_age)} ago"])


def _memory() -> int:
    """Return the resident memory in bytes; 0 where there is no /proc, as on macOS."""
    try:
        # The second field; see proc_pid_statm(5). The first counts what is only mapped.
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _plots(minutes: list[Minute]) -> list[Plot]:
    minutes = minutes[:-1]  # the last one has not ended
    rates = [minute.pushes / 60 for minute in minutes]
    last = next((minute for minute in reversed(minutes) if minute.pushes), None)
    return [
        _plot(
            "Pushes per second",
            f"last minute {plain(rates[-1])} · most {plain(max(rates))}" if rates else "",
            {"rate": rates},
            plain,
        ),
        _plot(
            "Push duration",
            f"p50 {duration(last.p50)} · p99 {duration(last.p99)}" if last else "no pushes yet",
            {"p50": [m.p50 for m in minutes], "p99": [m.p99 for m in minutes]},
            duration,
        ),
    ]


def _plot(
    title: str, now: str, series: Mapping[str, list[float]], read: Callable[[float], str]
) -> Plot:
    """Return the plot of *series*, with a number for each minute up to now, or NaN."""
    most = top(chain(*series.values()))
    width, height = PLOT
    padded = {name: [nan] * (MINUTES - 1 - len(some)) + some for name, some in series.items()}
    minutes = []
    for at, numbers in enumerate(zip(*padded.values(), strict=True)):
        if isfinite(numbers[0]):
            said = ", ".join(f"{name} {read(n)}" for name, n in zip(padded, numbers, strict=True))
            minutes.append((at, f"{age((MINUTES - 1 - at) * _MINUTE)} ago: {said}"))
    lines = [
        (name, line(some, top=most, width=width, height=height)) for name, some in padded.items()
    ]
    return Plot(title, now, read(most), lines, minutes)


def _limits(context: AppContext) -> list[Limit]:
    settings, gateway = context.settings, context.gateway
    used = {
        "series": (gateway.store.series, settings.limit_series),
        "groups": (len(gateway.store), settings.limit_groups),
        "connections": (len(context.telemetry.recent.connections), settings.limit_connections),
        "pushes in flight": (gateway.waiting, settings.limit_pushes_in_flight),
    }
    return [
        Limit(
            name,
            f"{value:,} of {most:,}" if most else f"{value:,}, no limit",
            bar_share(value, most),
            is_near=bool(most) and value >= _NEARLY_FULL * most,
        )
        for name, (value, most) in used.items()
    ]


async def rules(context: AppContext, now: int) -> dict[str, Any]:
    """Return the rules in force as of *now*, in Unix nanoseconds. Looks at every group."""
    store = context.gateway.store
    counts: defaultdict[int, Counter[State]] = defaultdict(Counter)
    for run in store.walk():
        for group in run:
            rule = store.rule(group.key)
            counts[id(rule)][state_of(group, rule, now)] += 1
        await next_slice()
    return {
        "file": context.settings.push_rules_file,
        "error": str(context.live_rules.error or ""),
        "rules": [
            (
                (text := str(rule.selector or "")),
                rule,
                counts[id(rule)],
                context.expiry.expired_by[text],
                context.expiry.forgotten_by[text],
            )
            for rule in (*store.rules.rules, store.rules.default)
        ],
    }
