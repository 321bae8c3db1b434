"""The tables of a benchmark run, with the floors that Pushgate promises to keep."""

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

UNCHECKED, DEFAULT = "Go, unchecked", "Go, default"
MEMORY, DURABLE = "Pushgate, memory only", "Pushgate, durable"
BEFORE_IN_MEMORY, BEFORE_DURABLE = "before, memory only", "before, durable"
EARLIER = {MEMORY: BEFORE_IN_MEMORY, DURABLE: BEFORE_DURABLE}
NOT_MEASURED = "-"
COLUMNS = (UNCHECKED, DEFAULT, MEMORY, DURABLE)

Measurements = dict[tuple[str, str], dict[str, list[float]]]
Medians = Mapping[str, float]


class Better(Enum):
    """What is good: the ratio to Go is never below its floor if it is to be high."""

    MORE = "the more the better; ours to Go's"
    LESS = "the less the better; Go's to ours"
    SMALLER = "the less the better; ours to Go's, and the floor is a ceiling"
    ALONE_LESS = "the less the better; ours alone, and the floor is a ceiling"
    ALONE_MORE = "the more the better; ours alone"

    def ratio(self, ours: float, go: float) -> float:
        match self:
            case Better.MORE | Better.SMALLER:
                return ours / go
            case Better.LESS:
                return go / ours
            case Better.ALONE_LESS | Better.ALONE_MORE:
                return ours

    @property
    def is_more(self) -> bool:
        return self in (Better.MORE, Better.ALONE_MORE)

    @property
    def is_alone(self) -> bool:
        return self in (Better.ALONE_LESS, Better.ALONE_MORE)

    @property
    def has_ceiling(self) -> bool:
        return self in (Better.SMALLER, Better.ALONE_LESS)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: of the scenario *name*, what it measured under *what*.

    *floors* are for (memory only, durable), by the column of Go; None where there is none.
    Figures of *beside* stand in the same cells, before it.
    """

    title: str
    name: str
    what: str
    better: Better
    floors: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    beside: tuple[str, ...] = ()

    @property
    def source(self) -> tuple[str, str]:
        return self.name, self.what


def push_rows(
    title: str,
    name: str,
    memory: float | None,
    durable: float | None,
    *,
    default: tuple[float, float] | None = None,
) -> list[Row]:
    """Throughput, CPU time and latency of one kind of push, with the floors of throughput."""
    floors: dict[str, tuple[float | None, float | None]] = {UNCHECKED: (memory, durable)}
    if default:
        floors[DEFAULT] = default
    return [
        Row(f"pushes/s, {title}", name, "per second", Better.MORE, floors),
        Row("… CPU s per 1,000", name, "cpu", Better.LESS),
        Row("… p50 / p99 / p99.9, ms", name, "p99.9", Better.LESS, beside=("p50", "p99")),
    ]


def ours(memory: float | None, durable: float | None = None):
    return {UNCHECKED: (memory, durable)}


PUSHES = [
    *push_rows("1 series", "push 1", 1.2, 0.8, default=(20, 14)),
    *push_rows("50 series", "push 50", 3, 1.2, default=(50, 35)),
    *push_rows("50 series by protobuf", "push protobuf", 3, 0.9),
    *push_rows("50 series, new connections", "push reconnect", 1.1, 0.9),
    *push_rows("1,000 series", "push 1000", 2.5, 1.8),
    *push_rows("1 series, 8 connections", "push 1 x8", None, None),
    Row("… to SQLite's group commit", "push 1 x8", "share", Better.ALONE_MORE, ours(None, 0.6)),
    *push_rows("1 series, 64 connections", "push 1 x64", None, None),
    Row("… to SQLite's group commit", "push 1 x64", "share", Better.ALONE_MORE, ours(None, 0.6)),
    *push_rows("50 series, 8 connections", "push 50 x8", None, 1.2),
    *push_rows("50 series, all groups stored", "many groups", None, None),
    Row("… to 100 groups", "many groups", "flat", Better.ALONE_MORE, ours(0.9, 0.9)),
]
NEVER_SEEN = [
    *push_rows("50 gauges", "cold", 0.9, None),
    *push_rows("help ends in a digit", "cold help", 0.9, None),
    *push_rows("48 histogram samples", "cold histograms", 0.7, None),
    *push_rows("1,000 gauges", "cold 1000", 1, None),
    *push_rows("50 gauges by protobuf", "cold protobuf", 0.8, None),
    Row("RSS after many of 50 gauges, MB", "cold memory", "rss", Better.ALONE_LESS, ours(70)),
]
SCRAPES = [
    Row("gzip, first, ms", "scrape", "gzip first", Better.LESS),
    Row("… everything changed", "scrape", "gzip changed", Better.LESS, ours(10, 10)),
    Row("… nothing changed", "scrape", "gzip unchanged", Better.LESS, ours(500, 500)),
    Row("plain, everything changed, ms", "scrape", "plain changed", Better.LESS),
    Row("… nothing changed", "scrape", "plain unchanged", Better.LESS),
    Row(
        "protobuf, everything changed, ms",
        "scrape",
        "protobuf changed",
        Better.ALONE_LESS,
        ours(400),
    ),
    Row("resident memory, MB", "scrape", "filled", Better.SMALLER, ours(0.15, 0.2)),
    Row("… after scrapes", "scrape", "scraped", Better.SMALLER, ours(0.15, 0.2)),
    Row("own label values: gzip, first, ms", "scrape own", "gzip first", Better.LESS, ours(1.5)),
    Row("… CPU s", "scrape own", "gzip cpu", Better.LESS),
    Row("… protobuf, everything changed", "scrape own", "protobuf changed", Better.LESS),
    Row("… resident memory, MB", "scrape own", "filled", Better.SMALLER, ours(0.5)),
    Row("… longest event-loop block, ms", "scrape own", "block", Better.ALONE_LESS, ours(10)),
    Row("many: gzip, first, CPU s", "scrape many", "cpu", Better.ALONE_LESS, ours(5)),
    Row("… resident memory after it, MB", "scrape many", "scraped", Better.ALONE_LESS, ours(900)),
    Row("… longest health check, ms", "scrape many", "health", Better.ALONE_LESS, ours(50)),
    Row("… push p99, ms", "scrape many", "push p99", Better.ALONE_LESS, ours(10)),
    Row(
        "push p99 while all series are scraped, ms",
        "push while scraping",
        "p99",
        Better.ALONE_LESS,
        ours(10, None),
    ),
    Row("… longest push", "push while scraping", "max", Better.ALONE_LESS),
    Row(
        "scrapes/s, 1,000 series, 8 connections",
        "small scrape",
        "per second",
        Better.MORE,
        ours(1, None),
    ),
    Row("… CPU s per 1,000", "small scrape", "cpu", Better.LESS),
    Row("restart to ready, s", "restart", "seconds", Better.LESS, ours(None, 1)),
    Row(
        "… own label values",
        "restart own",
        "seconds",
        Better.ALONE_LESS,
        ours(None, 1.2),
    ),
]
PAGES = [
    Row("page of all groups, kB", "pages", "kB", Better.ALONE_LESS, ours(100, 100)),
    Row("… compressed, kB", "pages", "kB packed", Better.ALONE_LESS, ours(20, 20)),
    Row("… opened, ms", "pages", "opened", Better.ALONE_LESS, ours(50, 50)),
    Row("… searched, ms", "pages", "search", Better.ALONE_LESS, ours(80, 80)),
    Row(
        "push p99 beside ten browsers that refresh it : without",
        "pages",
        "p99 ratio",
        Better.ALONE_LESS,
        ours(1.5, 1.5),
    ),
]
TABLES = {
    "Pushes of a known shape": PUSHES,
    "Pushes never seen before": NEVER_SEEN,
    "Scrapes, memory and start": SCRAPES,
    "Pages": PAGES,
}
ROWS = [row for rows in TABLES.values() for row in rows]


def markdown(measurements: Measurements) -> str:
    """The medians as tables, with the ratios to Go and the floors; a missed floor is bold."""
    return "\n\n".join(
        table(title, [row for row in rows if row.source in measurements], measurements)
        for title, rows in TABLES.items()
        if any(row.source in measurements for row in rows)
    )


def progress(measurements: Measurements) -> str:
    """The medians of an earlier Pushgate beside ours; a ratio above 1 is better than before."""
    titles = ["Now and before"]
    for now, before in EARLIER.items():
        titles += [before, now, "gain"]
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)]]
    for row in ROWS:
        medians = medians_of(measurements, row.source)
        line = [f"{row.name}: {row.what}"]
        for now, before in EARLIER.items():
            if not {now, before} <= medians.keys():
                line += [NOT_MEASURED] * 3
                continue
            more = medians[now] / medians[before]
            gain = more if row.better.is_more else 1 / more
            line += map(number, (medians[before], medians[now], gain))
        if any(cell != NOT_MEASURED for cell in line[1:]):
            lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table(title: str, rows: list[Row], measurements: Measurements) -> str:
    titles = [title, *COLUMNS, "memory only : Go", "durable : Go"]
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)]]
    lines += [list(cells(row, measurements)) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Row, measurements: Measurements) -> Iterator[str]:
    medians = medians_of(measurements, row.source)
    beside = [medians_of(measurements, (row.name, what)) for what in row.beside]
    yield row.title
    for column in COLUMNS:
        figures = [by[column] for by in (*beside, medians) if column in by]
        yield " / ".join(map(number, figures)) or NOT_MEASURED
    for place, mine in enumerate((MEMORY, DURABLE)):
        if mine not in medians:
            yield NOT_MEASURED
            continue
        others = [UNCHECKED] if row.better.is_alone else [UNCHECKED, DEFAULT]
        compared = [
            judged(row, medians, mine, go, place)
            for go in others
            if go in medians or row.better.is_alone
        ]
        yield " · ".join(compared)


def medians_of(measurements: Measurements, source: tuple[str, str]) -> Medians:
    return {
        column: statistics.median(values) for column, values in measurements.get(source, {}).items()
    }


def judged(row: Row, medians: Medians, mine: str, go: str, place: int) -> str:
    ratio = row.better.ratio(medians[mine], medians.get(go, math.nan))
    floor = row.floors[go][place] if go in row.floors else None
    if floor is None:
        return number(ratio)
    text = f"{number(ratio)} ({'≤' if row.better.has_ceiling else '≥'} {floor:g})"
    is_kept = ratio <= floor if row.better.has_ceiling else ratio >= floor
    return text if is_kept else f"**{text}**"


def number(value: float) -> str:
    """Three significant digits, with thousands separators."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
