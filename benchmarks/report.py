"""The table of a benchmark run, with the floors that Pushgate promises to keep."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import ge, le

UNCHECKED, DEFAULT = "Go, unchecked", "Go, default"
MEMORY, DURABLE = "Pushgate, memory only", "Pushgate, durable"
NOT_MEASURED = "-"
COLUMNS = (UNCHECKED, DEFAULT, MEMORY, DURABLE)

Measurements = dict[tuple[str, str], dict[str, list[float]]]
Medians = Mapping[str, float]


def ours_to_go(ours: float, go: float) -> float:
    return ours / go


def go_to_ours(ours: float, go: float) -> float:
    return go / ours


def ours_alone(ours: float, _go: float) -> float:
    return ours


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. *floors* are for (memory only, durable), by the column of Go."""

    title: str
    source: tuple[str, str]
    ratio: Callable[[float, float], float] = ours_to_go
    kept: Callable[[float, float], bool] = ge
    floors: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def push_rows(title: str, scenario: str, **floors: tuple[float, float]) -> list[Row]:
    by_column = {"unchecked": UNCHECKED, "default": DEFAULT}
    return [
        Row(
            f"pushes/s, {title}",
            (scenario, "pushes/s"),
            floors={by_column[name]: pair for name, pair in floors.items()},
        ),
        Row("… p99, ms", (scenario, "p99"), go_to_ours, floors={UNCHECKED: (2, 1)}),
    ]


ROWS = [
    *push_rows("1 series", "push 1", unchecked=(1.1, 0.8), default=(20, 14)),
    *push_rows("50 series, 100 groups", "push 50", unchecked=(1.7, 1.2), default=(50, 35)),
    *push_rows("50 series by protobuf", "push protobuf", unchecked=(1.2, 0.9)),
    *push_rows("50 series, new connections", "push reconnect", unchecked=(1.1, 0.9)),
    *push_rows("1,000 series", "push 1000", unchecked=(2.5, 1.8)),
    *push_rows("50 series never seen before", "push cold", unchecked=(0.7, 0.5)),
    *push_rows("50 series, all groups stored", "many groups"),
    Row(
        "… to pushes/s with 100 groups",
        ("many groups", "flat"),
        ours_alone,
        floors={UNCHECKED: (0.9, 0.9)},
    ),
    Row("gzip scrape of all series: first, ms", ("scrape", "gzip first"), go_to_ours),
    Row(
        "… everything changed, ms",
        ("scrape", "gzip changed"),
        go_to_ours,
        floors={UNCHECKED: (10, 10)},
    ),
    Row(
        "… nothing changed, ms",
        ("scrape", "gzip unchanged"),
        go_to_ours,
        floors={UNCHECKED: (500, 500)},
    ),
    Row("plain scrape: everything changed, ms", ("scrape", "plain changed"), go_to_ours),
    Row("… nothing changed, ms", ("scrape", "plain unchanged"), go_to_ours),
    Row(
        "resident memory with all series, MB",
        ("scrape", "filled"),
        kept=le,
        floors={UNCHECKED: (0.2, 0.25)},
    ),
    Row(
        "… after scrapes, MB",
        ("scrape", "scraped"),
        kept=le,
        floors={UNCHECKED: (0.2, 0.25)},
    ),
    Row(
        "push p99 while all series are scraped, ms",
        ("push while scraping", "p99"),
        ours_alone,
        le,
        floors={UNCHECKED: (50, 50)},
    ),
    Row("… longest push, ms", ("push while scraping", "max"), ours_alone, le),
    Row(
        "restart with all series to ready, s",
        ("restart", "seconds"),
        go_to_ours,
        floors={UNCHECKED: (1, 1)},
    ),
]


def markdown(measurements: Measurements) -> str:
    """The medians as a table, with the ratios to Go and the floors; a missed floor is bold."""
    titles = ["", *COLUMNS, "memory only : Go", "durable : Go"]
    lines = [titles, ["---", *["--:"] * (len(titles) - 1)]]
    for row in ROWS:
        if row.source in measurements:
            by_column = measurements[row.source]
            medians = {column: statistics.median(by_column[column]) for column in by_column}
            lines.append(list(cells(row, medians)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(row: Row, medians: Medians) -> Iterator[str]:
    yield row.title
    for column in COLUMNS:
        yield number(medians[column]) if column in medians else NOT_MEASURED
    for place, ours in enumerate((MEMORY, DURABLE)):
        compared = [
            judged(row, medians, ours, go, place) for go in (UNCHECKED, DEFAULT) if go in medians
        ]
        yield " · ".join(compared) if ours in medians else NOT_MEASURED


def judged(row: Row, medians: Medians, ours: str, go: str, place: int) -> str:
    if ours not in medians:
        return NOT_MEASURED
    ratio = row.ratio(medians[ours], medians[go])
    if go not in row.floors:
        return number(ratio)
    floor = row.floors[go][place]
    text = f"{number(ratio)} ({'≥' if row.kept is ge else '≤'} {floor:g})"
    return text if row.kept(ratio, floor) else f"**{text}**"


def number(value: float) -> str:
    """Three significant digits, with thousands separators."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
