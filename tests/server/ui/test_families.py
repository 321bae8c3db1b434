import asyncio

import pytest

from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.reader import decode
from pushgate.formats.scanner import scan
from pushgate.model.family import MetricType
from pushgate.model.names import NameRule
from pushgate.server.http.stream import in_steps
from pushgate.server.settings import Settings
from pushgate.server.store.group import Block, Group
from pushgate.server.ui.families import FamilyCard, family_cards
from tests.delimited import delimited
from tests.server.pushes import key, pushed

SECOND = 10**9
NOW = 1_800_000_000 * SECOND
TIMES = {"push_time_seconds", "push_failure_time_seconds"}


def group(body: str = "") -> Group:
    blocks = (Block(pushed(body), NOW),) if body else ()
    return Group(key(instance="i"), blocks, pushed_at=NOW, failed_at=0, since=1)


def cards(of: Group, max_rows: int | None = None) -> list[FamilyCard]:
    return list(asyncio.run(in_steps(family_cards(of, Settings(), NOW, max_rows=max_rows))))


def rows(body: str) -> dict[str, list]:
    """The rows of each family of a group with *body*, without the push times."""
    return {card.name: list(card.rows) for card in cards(group(body)) if card.name not in TIMES}


def native_rows(**histogram) -> list:
    """The rows of a family that holds one native histogram, pushed as protobuf."""
    family = message_class("MetricFamily")(name=b"h_seconds", type=MetricType.HISTOGRAM)
    family.metric.add(histogram=histogram)
    blocks = (Block(decode(delimited(family)), NOW),)
    one = Group(key(), blocks, pushed_at=NOW, failed_at=0, since=1)
    [card] = [card for card in cards(one) if card.name == "h_seconds"]
    assert card.type == "native histogram"
    return list(card.rows)


def test_families_come_by_name_with_type_unit_and_help():
    body = "z 1\n# HELP a_bytes_total Eh.\n# TYPE a_bytes_total counter\na_bytes_total 2\n"
    found = cards(group(body))
    assert [
        (card.name, card.type, card.unit, card.help) for card in found if card.name not in TIMES
    ] == [
        ("a_bytes_total", "counter", "bytes", "Eh."),
        ("z", "untyped", "", ""),
    ]
    assert [card.name for card in found] == ["a_bytes_total", "z", *sorted(TIMES)]


@pytest.mark.parametrize(
    ("body", "query"),
    [
        ("m 1\n", 'm{job="j",instance="i"}'),
        ('{"my.metric"} 1\n', '{"my.metric",job="j",instance="i"}'),
        ("# TYPE h histogram\nh_sum 1\nh_count 1\n", 'h_bucket{job="j",instance="i"}'),
        ('# TYPE s summary\ns{quantile="1"} 1\n', 's{job="j",instance="i"}'),
        ("# TYPE s summary\ns_sum 1\ns_count 1\n", 's_sum{job="j",instance="i"}'),
    ],
)
def test_a_family_comes_with_a_query_that_finds_it(body, query):
    blocks = (Block(scan(body.encode(), NameRule.UTF8).pushed, NOW),)
    one = Group(key(instance="i"), blocks, pushed_at=NOW, failed_at=0, since=1)
    assert query in [card.query for card in cards(one)]


def test_a_metric_has_its_own_labels_only():
    [row] = rows('m{z="1",instance="overruled",a=""} 1\n')["m"]
    assert [(chip.name, chip.value) for chip in row.chips] == [("a", ""), ("z", "1")]
    assert row.value == ("1", "1")


def test_a_summary_shows_quantiles_as_bars_and_as_text():
    body = (
        '# TYPE s_seconds summary\ns_seconds{quantile="0.5"} 0.5\ns_seconds{quantile="0.99"} 2\n'
        's_seconds{quantile="1"} NaN\ns_seconds_sum 3e6\ns_seconds_count 7e6\n'
    )
    [row] = rows(body)["s_seconds"]
    assert [(name, value.shown, share) for name, value, share in row.quantiles] == [
        ("p50", "500 ms", "25.0%"),
        ("p99", "2 s", "100.0%"),
        ("p100", "NaN", "0%"),
    ]
    assert [(name, value.shown) for name, value in row.totals] == [
        ("count", "7 M"),
        ("sum", "34 d 17 h"),
        ("mean", "429 ms"),
    ]
    assert list(row.points) == [
        ("Quantile 0.5", "0.5"),
        ("Quantile 0.99", "2"),
        ("Quantile 1", "NaN"),
        ("Count", "7000000"),
        ("Sum", "3000000"),
    ]


def test_a_classic_histogram_is_drawn_with_its_real_counts_floats_too():
    body = '# TYPE h histogram\nh_bucket{le="1e6"} 1.5\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n'
    [row] = rows(body)["h"]
    assert list(row.points) == [
        ("≤ 1000000", "1.5"),
        ("≤ +Inf", "2"),
        ("Count", "2"),
        ("Sum", "3"),
    ]
    assert [bar.title for bar in row.chart.bars] == ["0 to 1 M: 1.5", "1 M to ∞: 0.5"]
    assert [(name, value.shown) for name, value in row.totals] == [
        ("count", "2"),
        ("sum", "3"),
        ("mean", "1.5"),
        ("p50", "666,667"),
        ("p90", "1 M"),
        ("p99", "1 M"),
    ]


def test_a_histogram_without_observations_is_not_drawn():
    body = '# TYPE h histogram\nh_bucket{le="+Inf"} 0\nh_sum 0\nh_count 0\n'
    [row] = rows(body)["h"]
    assert row.chart is None
    assert [name for name, _ in row.totals] == ["count", "sum"]


def test_a_native_histogram_is_drawn_and_its_text_is_one_line():
    [row] = native_rows(
        sample_count=23,
        sample_sum=9.5,
        zero_count=3,
        zero_threshold=0.001,
        positive_span=[{"offset": -1, "length": 2}, {"offset": 2, "length": 1}],
        positive_delta=[1, 2, 3],
        negative_span=[{"offset": 1, "length": 1}],
        negative_delta=[10],
    )
    assert row.native == (
        "{count:23, sum:9.5, [-2,-1):10, [-0.001,0.001]:3, (0.25,0.5]:1, (0.5,1]:3, (4,8]:6}"
    )
    assert row.points is None
    assert [bar.title for bar in row.chart.bars] == [
        "-2 s to -1 s: 10",
        "-1 ms to 1 ms: 3",
        "250 ms to 500 ms: 1",
        "500 ms to 1 s: 3",
        "4 s to 8 s: 6",
    ]


def test_a_native_histogram_of_floats_shows_its_classic_buckets_too():
    [row] = native_rows(
        sample_count_float=4.5,
        sample_sum=1e6,
        schema=3,
        positive_span=[{"offset": 0, "length": 1}],
        positive_count=[4.5],
        bucket=[{"upper_bound": 1e6, "cumulative_count_float": 1.5}],
    )
    assert row.native == "{count:4.5, sum:1e+06, (0.9170040432046711,1]:4.5}"
    assert list(row.points) == [("≤ 1000000", "1.5")]


def test_of_a_large_family_only_some_metrics_are_shown():
    one = group("".join(f'm{{i="{i}"}} {i}\n' for i in range(5)))
    some = next(c for c in cards(one, 2) if c.name == "m")
    everything = next(c for c in cards(one) if c.name == "m")
    assert (len(list(some.rows)), some.more) == (2, 3)
    assert (len(list(everything.rows)), everything.more) == (5, 0)


def test_of_a_huge_histogram_only_the_text_is_shown():
    lines = "".join(f'h_bucket{{le="{n}"}} {n}\n' for n in range(1, 3000))
    [row] = rows(f'# TYPE h histogram\n{lines}h_bucket{{le="+Inf"}} 3000\nh_sum 1\nh_count 3000\n')[
        "h"
    ]
    assert row.chart is None
    assert len(list(row.points)) == 3002
