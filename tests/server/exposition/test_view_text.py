"""A scrape never fails because of what was pushed."""

import re
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import example, given, strategies as st
from prometheus_client.parser import text_string_to_metric_families

from pushgate.errors import InconsistentPush, InvalidPush
from pushgate.formats.decoder import PushDecoder
from pushgate.formats.encoding import Encoding
from pushgate.model.grouping import GroupingKey
from pushgate.model.names import Escaping, NameRule
from pushgate.model.slices import finished
from pushgate.server.exposition.cache import Exposition
from pushgate.server.exposition.view import TextView
from pushgate.server.store.change import Delete, Fail, Merge, Replace
from pushgate.server.store.store import Store
from pushgate.server.telemetry import Telemetry
from tests import delimited
from tests.examples import few_large_examples
from tests.formats.protobuf.bodies import body, family

NAMES = [
    "m", "m_sum", "m_count", "m_bucket", "m_total", "n", "n.x", "n_x", "n_x_sum", "a:b",
    "push_time_seconds", "go_info", "process_cpu_seconds_total", "pushgateway_http_requests_total",
]  # fmt: skip
LABELS = ["a", "quantile", "le", "instance", "job", "l.x", "l_x", "__x", "name"]
VALUES = ["", "1", "0.5", "+Inf", 'x"\\\n', "ä", "%b"]
NUMBERS = ["1", "0.5", "-0", "1e-05", "NaN", "+Inf", "7"]
TYPES = ["counter", "gauge", "summary", "untyped", "histogram"]
SUFFIXES = ["", "", "_sum", "_count", "_bucket", "_total"]

PROTOBUF = delimited.PROTOBUF.encode()
OPENMETRICS = b"application/openmetrics-text; version=1.0.0"

PARTS = {"summary": ("_sum", "_count"), "histogram": ("_sum", "_count", "_bucket")}

TELEMETRY = Telemetry()
TELEMETRY.count_request(200, "push", "put")
LABEL = re.compile(r'("(?:\\.|[^"\\])*"|[^",={}]+)="((?:\\.|[^"\\])*)"')


def quoted(text: str) -> str:
    return '"{}"'.format(text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\""))


def name_text(name: str) -> str:
    return quoted(name) if "." in name else name


label_sets = st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(VALUES)), max_size=3)


def text_family(name, kind, samples) -> str:
    lines = [f"# TYPE {name_text(name)} {kind}"] if kind else []
    for suffix, labels, number in samples:
        sample = name + suffix
        pairs = [f"{name_text(label)}={quoted(value)}" for label, value in labels]
        if "." in sample:
            pairs, sample = [quoted(sample), *pairs], ""
        block = "{" + ",".join(pairs) + "}" if pairs else ""
        lines.append(f"{sample}{block} {number}")
    return "".join(f"{line}\n" for line in lines)


text_samples = st.tuples(st.sampled_from(SUFFIXES), label_sets, st.sampled_from(NUMBERS))
names = st.sampled_from(NAMES)
text_families = st.builds(
    text_family,
    names,
    st.sampled_from(["", *TYPES, "unknown", "gaugehistogram"]),
    st.lists(text_samples, max_size=4),
)
texts = st.lists(text_families, max_size=4).map("".join)

points = st.floats(allow_nan=True, width=32)
buckets = st.lists(
    st.fixed_dictionaries({"upper_bound": points, "cumulative_count": st.integers(0, 9)}),
    max_size=2,
)
quantiles = st.lists(st.fixed_dictionaries({"quantile": points, "value": points}), max_size=2)
values = {
    "counter": st.fixed_dictionaries({"value": points}),
    "gauge": st.fixed_dictionaries({"value": points}),
    "untyped": st.fixed_dictionaries({"value": points}),
    "summary": st.fixed_dictionaries({"sample_count": st.integers(0, 9), "quantile": quantiles}),
    "histogram": st.fixed_dictionaries({"sample_count": st.integers(0, 9), "bucket": buckets}),
}


def protobuf_family(name, kind, metrics) -> bytes:
    found = [
        {"label": [{"name": n.encode(), "value": v.encode()} for n, v in labels], kind: value}
        for labels, value in metrics
    ]
    return family(name=name.encode(), type=TYPES.index(kind), metric=found)


protobuf_families = st.one_of(
    st.builds(
        protobuf_family, names, st.just(kind), st.lists(st.tuples(label_sets, value), max_size=3)
    )
    for kind, value in values.items()
)
bodies = st.one_of(
    st.tuples(st.just(b""), texts.map(str.encode)),
    st.tuples(st.just(OPENMETRICS), texts.map(lambda text: f"{text}# EOF\n".encode())),
    st.tuples(st.just(PROTOBUF), st.lists(protobuf_families, max_size=3).map(lambda fs: body(*fs))),
)
keys = st.dictionaries(st.sampled_from(LABELS[:-2]), st.sampled_from(VALUES), max_size=2).map(
    lambda labels: GroupingKey({"job": "j", **labels}.items())
)
requests = st.lists(
    st.tuples(st.sampled_from([Replace, Merge, Merge, Delete]), keys, bodies), max_size=6
)


def push(store: Store, decoder: PushDecoder, kind, key: GroupingKey, sent, time: int) -> None:
    """Carry out one request as the server does; a refused one leaves its failure."""
    if kind is Delete:
        store.apply(store.admit(Delete(key)))
        return
    content_type, pushed = sent
    with suppress(InvalidPush):
        change = kind(key, decoder.read(pushed, content_type, b""), time)
        try:
            store.apply(store.admit(change))
        except InconsistentPush:
            store.apply(store.admit(Fail(key, time)))


def is_point(kind: str, line: str) -> bool:
    own = {"summary": "quantile", "histogram": "le"}.get(kind)
    return own is not None and re.search(rf'[{{,]{own}="', line) is not None


def assert_readable(exposition: str) -> None:
    """The parser takes it, no sample has a label twice, and no family has two headers."""
    list(text_string_to_metric_families(exposition))
    heads = [line.split(" ", 3)[:3] for line in exposition.split("\n") if line.startswith("# ")]
    assert all(heads.count(head) == 1 for head in heads)
    for line in exposition.split("\n"):
        if line and not line.startswith("#"):
            names = [name.strip(' "') for name, _ in LABEL.findall(line[line.find("{") :])]
            assert len(set(names)) == len(names), line


def test_families_that_are_written_alike_have_one_header():
    store = Store(TELEMETRY.own)
    decoder = PushDecoder(NameRule.UTF8)
    dotted = b'# HELP "n.x" dotted\n# TYPE "n.x" gauge\n{"n.x"} 1\n{"n.y"} 2\n'
    push(store, decoder, Replace, GroupingKey([("job", "a")]), (b"", dotted), 1)
    push(
        store,
        decoder,
        Replace,
        GroupingKey([("job", "b")]),
        (b"", b"# TYPE n_x counter\nn_x 3\n"),
        2,
    )
    view = TextView(Escaping.UNDERSCORES)
    exposition = b"".join(finished(Exposition(store, view, Encoding()).scrape())).decode()
    assert [line for line in exposition.splitlines() if "n_" in line] == [
        "# HELP n_x dotted",
        "# TYPE n_x gauge",
        'n_x{instance="",job="a"} 1',
        'n_x{instance="",job="b"} 3',
        "# TYPE n_y untyped",
        'n_y{instance="",job="a"} 2',
    ]


def assert_distinct(exposition: str) -> None:
    """No series is there twice, and no family twice or as part of another.

    A quantile or bucket may repeat within its metric: the reference exposes it twice as well, and
    a Prometheus takes the first. That another metric has the same labels shows in its count.
    """
    # Not the parser's samples: it calls the sample of a counter m_total, however it is written.
    kind, heads = "", Counter[str]()
    for line in exposition.split("\n"):
        if line.startswith("# TYPE "):
            kind = line.rpartition(" ")[2]
        elif line and not line.startswith("#") and not is_point(kind, line):
            heads[line.rpartition(" ")[0]] += 1
    assert [head for head, count in heads.items() if count > 1] == []
    typed = [line.split(" ")[2] for line in exposition.split("\n") if line.startswith("# TYPE ")]
    assert len(set(typed)) == len(typed)
    families = text_string_to_metric_families(exposition)
    parts = {f.name + suffix for f in families for suffix in PARTS.get(f.type, ())}
    assert parts.isdisjoint(typed)


# The parser takes a few milliseconds for each of the four expositions of an example.
@pytest.mark.timeout(300)
@few_large_examples
@given(st.sampled_from(list(NameRule)), requests)
@example(
    NameRule.LEGACY,
    [
        (
            Replace,
            GroupingKey([("job", "j"), ("quantile", "0.5")]),
            (b"", b'# TYPE s summary\ns{quantile="1"} 1\n'),
        )
    ],
)
@example(
    NameRule.LEGACY,
    [
        (
            Replace,
            GroupingKey([("job", "j")]),
            (b"", b'# TYPE s summary\ns{quantile="1"} 1\ns{quantile="1"} 2\n'),
        )
    ],
)
def test_whatever_was_pushed_a_scrape_in_each_text_format_can_be_read(rule, sent):
    store = Store(TELEMETRY.own)
    decoder = PushDecoder(rule)
    for number, (kind, key, pushed) in enumerate(sent, 1):
        push(store, decoder, kind, key, pushed, number)
    for escaping in Escaping:
        one = Exposition(store, TextView(escaping), Encoding(), TELEMETRY.families)
        chunks = finished(one.scrape())
        exposition = b"".join(chunks).decode()
        assert_readable(exposition)
        if escaping is Escaping.ALLOW_UTF8:  # others may write two names alike
            assert_distinct(exposition)
