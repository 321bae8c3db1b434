"""The abuse table: within the default limits, no request may stop the server. A row is a line.

Every row is sent to a server process of its own while a second connection polls /-/healthy.
"""

import struct
from base64 import b64encode
from pathlib import Path

from tests.abuse.requests import Request, Row, delete, get, gzipped, patch, post, put
from tests.delimited import PROTOBUF
from tests.fuzz.schema import varint

MANY = 99_000  # just below the default --limit.series-per-push
JOB = "/metrics/job/a"
SLOW_REGEX = "(((a%7B30%7D)%7B30%7D)?|.)*"  # its states are too many to be kept
LONG = f"{JOB}/k/{'v' * 60_000}"
SUMS = (f"--push.rules-file={Path(__file__).with_name('sums.yml')}",)
GROUP_PAGE = "/ui/group/am9i_2E"  # of the group of JOB
OTHER = "/metrics/job/b"


def families(count: int, head: str = "", prefix: str = "m") -> bytes:
    """Return *count* families of one series each; *head* is a comment, ``%d`` its number."""
    return b"".join(
        (head % number if head else "").encode() + b"%b%d 1\n" % (prefix.encode(), number)
        for number in range(count)
    )


def series(count: int, label: str = "l", start: int = 0) -> bytes:
    """Return one family of *count* series, which differ in the value of *label*."""
    return b"".join(b'm{%b="%d"} 1\n' % (label.encode(), n) for n in range(start, start + count))


def labelled_series(salt: str = "") -> bytes:
    """Return 99,000 series of nine labels each, no two values alike."""
    labels = ",".join(f'l{n}="{salt}{n}_%d"' for n in range(9))
    return "".join(f"m{{{labels}}} 1\n" % ((n,) * 9) for n in range(MANY)).encode()


def histograms(count: int, buckets: int) -> bytes:
    lines = ["# TYPE h histogram"]
    for number in range(count):
        lines += [f'h_bucket{{n="{number}",le="{le}"}} {le}' for le in range(buckets)]
        lines += [f'h_sum{{n="{number}"}} 1', f'h_count{{n="{number}"}} {buckets}']
    return "\n".join([*lines, ""]).encode()


def gauge(count: int) -> bytes:
    return families(count, "# TYPE m%d gauge\n")


def empty_families(count: int) -> bytes:
    """Return *count* protobuf families with a name and one gauge without labels."""
    out = []
    for number in range(count):
        name = b"m%d" % number
        inner = b"\x0a%c%b\x18\x01\x22\x0b\x12\x09\x09" % (len(name), name) + bytes(8)
        out.append(bytes([len(inner)]) + inner)
    return b"".join(out)


def field(inner: bytes, at: int) -> bytes:
    return bytes([at << 3 | 2]) + varint(len(inner)) + inner


def message(*fields: tuple[int, bytes]) -> bytes:
    """Return a protobuf message whose *fields* have numbers and bytes."""
    return b"".join(field(inner, at) for at, inner in fields)


def protobuf(kind: int, metric: bytes) -> bytes:
    """Return a body of one family of the type *kind* with one metric."""
    family = message((1, b"a")) + bytes([0x18, kind]) + message((4, metric))
    return varint(len(family)) + family


def wrong_types(count: int, name: bytes = b"a") -> bytes:
    """Return a body of one family of counters with *count* gauges, all without labels."""
    gauges = message((4, message((2, b"\x09" + bytes(8))))) * count
    family = message((1, name)) + b"\x18\0" + gauges
    return varint(len(family)) + family


def classic_histogram(count: int) -> bytes:
    """Return a body with a histogram of *count* buckets and a creation time."""
    bounds = (b"\x11" + struct.pack("<d", n) for n in range(count))
    inner = b"".join(field(one, 3) for one in bounds) + field(b"\x08\x01", 15)
    family = message((1, b"h")) + b"\x18\4"
    family += message((4, message((1, message((1, b"n"), (2, b"0"))), (7, inner))))
    return varint(len(family)) + family


def native_histogram(count: int, offset: int) -> bytes:
    """Return a body with a native histogram of *count* buckets, *offset* apart."""
    span = field(b"\x08" + varint(2 * offset) + b"\x10\x01", 12)
    deltas = field(b"\x02" + bytes(count - 1), 13)
    inner = b"\x08" + varint(count) + b"\x28\x06" + span * count + deltas
    return protobuf(4, message((7, inner)))


def long_labels(labels: int, buckets: int) -> bytes:
    """Return a body with a histogram of so many buckets, and labels of 60 kB."""
    pairs = (message((1, b"l%d" % n), (2, b"v" * 60_000)) for n in range(labels))
    bounds = (b"\x11" + struct.pack("<d", n) for n in range(buckets))
    own = b"".join(field(pair, 1) for pair in pairs)
    return protobuf(4, own + message((7, b"".join(field(one, 3) for one in bounds))))


def groups(count: int):
    """Yield pushes that make *count* groups of one job with as many sets of label names."""
    return (put(f"/metrics/job/j/l{n}/x", b"m 1\n") for n in range(count))


def long_keys(count: int = 500):
    """Yield pushes that make *count* groups with a label value of 60 kB."""
    return (put(f"/metrics/job/j{n}/l/{'v' * 60_000}", b"m 1\n") for n in range(count))


def named_by_control_characters():
    """Yield pushes of jobs with a name of 60 kB, each character of which is escaped."""
    names = (b64encode(b"\x01" * 60_000 + b"%d" % n, b"-_").decode() for n in range(20))
    return (put(f"/metrics/job@base64/{name}", b"m 1\n") for name in names)


def one_long_value():
    return [put(f"{JOB}/l/{'a' * 60_000}x", b"m 1\n")]


def subsets(labels: int):
    """Yield pushes to a group for every subset of so many labels, all of the same job."""
    for mask in range(1 << labels):
        path = "".join(f"/l{n}/x" for n in range(labels) if mask >> n & 1)
        yield put(f"/metrics/job/j{path}", b"n 1\n")


def stored_families():
    return [put(JOB, families(MANY))]


def stored_series():
    return [put(JOB, series(MANY))]


def stored_labelled_series():
    return [put(JOB, labelled_series())]


def half_a_million_series():
    return [put(f"/metrics/job/{n}", series(MANY, start=n * MANY)) for n in range(5)]


def long_path(size: int) -> str:
    return JOB + "".join(f"/l{n}/x" for n in range(size // 9))


ANY_JOB = "match[]=%7Bjob%3D~%22j.*%22%7D"
ALL_LABELS = ",".join(f'l{n}="x"' for n in range(12))

# fmt: off
ROWS = (
    # What the push says twice, or says wrong in itself.
    Row("duplicates", lambda: put(JOB, b"m 1\n" * 16_000), 400),
    Row("duplicates, small enough for the event loop", lambda: put(JOB, b"m 1\n" * 4_000), 400),
    Row("99,000 duplicates in a few bytes of gzip", lambda: gzipped(JOB, b"m 1\n" * MANY), 400),
    Row("16,000 values of a wrong type, all alike", lambda: put(JOB, wrong_types(16_000), Content_Type=PROTOBUF), 400),
    Row("90,000 values of a wrong type, all alike", lambda: put(JOB, wrong_types(90_000), Content_Type=PROTOBUF), 400),
    Row("reserved label names", lambda: put(JOB, series(MANY, "__l")), 400),
    Row("families that collide with each other", lambda: put(JOB, families(30_000).replace(b" 1", b"_sum 1") + families(30_000, "# TYPE m%d summary\n")), 400),
    Row("a distribution with 90,000 buckets twice", lambda: put(JOB, histograms(1, 45_000) + b'h_sum{n="0",job="x"} 1\n'), 400),
    Row("a bad line at the end of 99,000", lambda: put(JOB, families(MANY) + b"{\n"), 400),
    Row("timestamps", lambda: put(JOB, series(MANY).replace(b" 1\n", b" 1 1\n")), 400),
    Row("99,000 series of nine labels, the last one twice", lambda: put(JOB, labelled_series() + b"m 1\nm 2\n"), 400),
    Row("two million spans of a histogram", lambda: put(JOB, protobuf(4, message((7, b"\x62\0" * 2_200_000))), Content_Type=PROTOBUF), 413),
    Row("a histogram of one unknown field", lambda: put(JOB, protobuf(4, message((7, b"\x7a\0"))), Content_Type=PROTOBUF), 200),
    Row("15 million unknown fields", lambda: put(JOB, protobuf(1, b"\x7a\0" * 15_000_000), Content_Type=PROTOBUF), 413),
    Row("4.9 million unknown fields", lambda: put(JOB, protobuf(1, b"\x7a\0" * 4_900_000), Content_Type=PROTOBUF), 400),
    Row("an unknown field of 16 MB", lambda: put(JOB, protobuf(1, message((15, b"\n" * 16_000_000))), Content_Type=PROTOBUF), 413),
    Row("20,000 values of a wrong type, a name of 1 kB", lambda: put(JOB, wrong_types(20_000, b"\n" * 1_000), Content_Type=PROTOBUF), 400),
    # What contradicts the stored groups.
    Row("50,000 families of another type than stored", lambda: put(OTHER, families(50_000)), 400, lambda: [put(JOB, gauge(50_000))]),
    Row("50,000 series of another group of the job", lambda: put(JOB, series(50_000, "x").replace(b'"} ', b'",i="1"} ')), 400, lambda: [put(f"{JOB}/i/1", series(50_000, "x"))]),
    Row("1,000 series, 10,000 sets of label names", lambda: put("/metrics/job/j/l1/x", series(1_000)), 200, lambda: groups(10_000)),
    Row("1,000 series, 4,096 groups they might be in", lambda: put("/metrics/job/j", series(1_000, "v").replace(b"} 1", f",{ALL_LABELS}}} 1".encode())), 200, lambda: subsets(12)),
    # What is large and new.
    Row("99,000 families", lambda: put(JOB, families(MANY)), 200),
    Row("99,000 families, protobuf", lambda: put(JOB, empty_families(MANY), Content_Type=PROTOBUF), 200),
    Row("99,000 series of one family", lambda: put(JOB, series(MANY)), 200),
    Row("99,000 series, each with its own label name", lambda: put(JOB, b"".join(b'm{l%d=""} 1\n' % n for n in range(MANY))), 200),
    Row("99,000 series of nine labels", lambda: put(JOB, labelled_series()), 200),
    Row("eight million deltas of a histogram", lambda: put(JOB, protobuf(4, message((7, message((13, bytes(8_000_000)))))), Content_Type=PROTOBUF), 413),
    Row("99,000 numbers that are small", lambda: put(JOB, series(MANY).replace(b" 1\n", b" 1e-05\n")), 200),
    Row("99,000 series with escape sequences", lambda: put(JOB, series(MANY).replace(b'"} ', b'\\n"} ')), 200),
    Row("99,000 series with blanks behind them", lambda: put(JOB, series(MANY).replace(b" 1\n", b" 1  \n")), 200),
    Row("30 numbers of 1 MB", lambda: put(JOB, b"".join(b"m%d 0.%b1\n" % (n, b"0" * 1_000_000) for n in range(30))), 200),
    Row("1,000 label values of 30 kB, all line feeds", lambda: put(JOB, b"".join(b'm{l="%d%b"} 1\n' % (n, b"\\n" * 15_000) for n in range(1_000))), 200),
    Row("a help text of 16 MB, protobuf", lambda: put(JOB, varint(16_000_008) + message((1, b"a"), (2, b"\n" * 16_000_000)), Content_Type=PROTOBUF), 413),
    Row("1,000 label values of 1 kB in one family", lambda: put(JOB, b"".join(b'm{l="%d%b"} 1\n' % (n, b"v" * 1000) for n in range(1_000))), 200),
    Row("15 MB of comments", lambda: put(JOB, b"# x\n" * 3_750_000 + b"m 1\n"), 413),
    Row("OpenMetrics of 99,000 series", lambda: put(JOB, series(MANY) + b"# EOF\n", Content_Type="application/openmetrics-text; version=1.0.0"), 200),
    Row("OpenMetrics of 99,000 exemplars, wrong at its end", lambda: put(JOB, b"# TYPE m counter\n" + b"".join(b'm_total{l="%d"} 1 # {id="%d"} 1 1.5\n' % (n, n) for n in range(MANY)) + b"{", Content_Type="application/openmetrics-text; version=1.0.0"), 400),
    Row("OpenMetrics of 99,000 exemplars", lambda: put(JOB, b"# TYPE m counter\n" + b"".join(b'm_total{l="%d"} 1 # {id="%d"} 1 1.5\n' % (n, n) for n in range(MANY)) + b"# EOF\n", Content_Type="application/openmetrics-text; version=1.0.0"), 200),
    Row("3,000 series of 250 labels", lambda: put(JOB, b"".join(b"m{" + b",".join(b'l%d="%d"' % (at, n) for at in range(250)) + b"} 1\n" for n in range(3_000))), 200),
    Row("15 MB of line feeds in a few bytes of gzip", lambda: gzipped(JOB, b"\n" * 15_000_000 + b"m 1\n"), 413),
    Row("1.9 million empty chunks of snappy", lambda: put(JOB, b"\xff\x06\0\0sNaPpY" + b"\x01\x04\0\0\xd8\xea\x82\xa2" * 1_900_000, Content_Encoding="snappy"), 200),
    Row("9,000 histograms", lambda: put(JOB, histograms(9_000, 9)), 200),
    Row("the push times among 99,000 families", lambda: put(JOB, b"push_time_seconds 1\n" + families(MANY)), 200),
    Row("99,000 series of a group named by 60 kB", lambda: put(LONG, series(MANY)), 413),
    Row("90,000 buckets with labels of 600 kB", lambda: put(JOB, long_labels(10, 90_000), Content_Type=PROTOBUF), 413),
    # What meets something large.
    Row("a known body for other label names", lambda: put(f"{JOB}/x/y", families(MANY)), 200, stored_families),
    Row("a known body of series for other label names", lambda: put(f"{JOB}/x/y", series(MANY)), 200, stored_series),
    Row("one family into a group with 99,000", lambda: post(JOB, b"m7 2\n"), 200, stored_families),
    Row("one new family into a group with 99,000", lambda: post(JOB, b"n 2\n"), 200, stored_families),
    Row("one family in the place of 99,000", lambda: put(JOB, b"n 2\n"), 200, stored_families),
    Row("99,000 other families in the place of 99,000", lambda: put(JOB, families(MANY, prefix="n")), 200, stored_families),
    Row("99,000 other series of nine labels in the place of 99,000", lambda: put(JOB, labelled_series("x")), 200, stored_labelled_series),
    Row("one family in the place of 99,000 series of nine labels", lambda: put(JOB, b"n 2\n"), 200, stored_labelled_series),
    Row("a known body of series of nine labels for other label names", lambda: put(f"{JOB}/x/y", labelled_series()), 200, stored_labelled_series),
    Row("99,000 families patched", lambda: patch(JOB, families(MANY)), 200, stored_families),
    Row("99,000 series patched, half of them new", lambda: patch(JOB, series(MANY, start=MANY // 2)), 200, stored_series),
    Row("one series patched among 99,000", lambda: patch(JOB, b'm{l="7"} 2\n'), 200, stored_series),
    Row("60,000 of 99,000 families", lambda: post(JOB, families(60_000)), 200, stored_families),
    Row("the families of 1,000 pushes", lambda: post(JOB, b"".join(families(90, prefix=f"b{n}_") for n in range(1_000))), 200, lambda: (post(JOB, families(90, prefix=f"b{n}_")) for n in range(1_000))),
    Row("one family among those of 5,000 pushes", lambda: post(JOB, b"n 1\n"), 200, lambda: (post(JOB, f"m{n} 1\n".encode()) for n in range(5_000))),
    Row("90,000 families patched, of 1,000 pushes", lambda: patch(JOB, b"".join(families(90, prefix=f"b{n}_") for n in range(1_000))), 200, lambda: (post(JOB, families(90, prefix=f"b{n}_")) for n in range(1_000))),
    Row("99,000 families added up", lambda: post(JOB, families(MANY)), 200, stored_families, SUMS),
    Row("99,000 families added up, half of them new", lambda: post(JOB, families(50_000, prefix="n") + families(49_000)), 200, stored_families, SUMS),
    Row("99,000 series added up", lambda: post(JOB, series(MANY)), 200, stored_series, SUMS),
    Row("9,000 histograms added up", lambda: post(JOB, histograms(9_000, 9)), 200, lambda: [put(JOB, histograms(9_000, 9))], SUMS),
    Row("a histogram with 90,000 buckets added up", lambda: post(JOB, histograms(1, 90_000)), 200, lambda: [put(JOB, histograms(1, 90_000))], SUMS),
    Row("a histogram with 90,000 buckets added to one that says when it began", lambda: post(JOB, histograms(1, 90_000)), 200, lambda: [put(JOB, classic_histogram(90_000), Content_Type=PROTOBUF)], SUMS),
    Row("a native histogram with 45,000 buckets added up", lambda: post(JOB, native_histogram(45_000, 5), Content_Type=PROTOBUF), 200, lambda: [put(JOB, native_histogram(45_000, 7), Content_Type=PROTOBUF)], SUMS),
    Row("a delete of 10,000 groups by selector", lambda: delete(f"/api/v1/groups?{ANY_JOB}"), 200, lambda: groups(10_000)),
    Row("a delete of 99,000 families", lambda: delete(JOB), 202, stored_families),
    Row("a wipe of 10,000 groups", lambda: put("/api/v1/admin/wipe", b""), 202, lambda: groups(10_000)),
    # Reading it.
    Row("first scrape of 99,000 families", lambda: get("/metrics"), 200, stored_families),
    Row("first scrape of 99,000 families, gzip", lambda: get("/metrics", Accept_Encoding="gzip"), 200, stored_families),
    Row("first scrape of 99,000 families, protobuf", lambda: get("/metrics", Accept=PROTOBUF), 200, stored_families),
    Row("first scrape of 99,000 families, protobuf text", lambda: get("/metrics", Accept=PROTOBUF.replace("delimited", "text")), 200, stored_families),
    Row("first scrape of 99,000 series of one family", lambda: get("/metrics"), 200, stored_series),
    Row("first scrape of 99,000 series, protobuf", lambda: get("/metrics", Accept=PROTOBUF), 200, stored_series),
    Row("first scrape of 9,000 histograms", lambda: get("/metrics"), 200, lambda: [put(JOB, histograms(9_000, 9))]),
    Row("first scrape of a histogram with 90,000 buckets", lambda: get("/metrics"), 200, lambda: [put(JOB, histograms(1, 90_000))]),
    Row("first scrape of a histogram with 90,000 buckets, protobuf", lambda: get("/metrics", Accept=PROTOBUF), 200, lambda: [put(JOB, histograms(1, 90_000))]),
    Row("first scrape of 99,000 small numbers", lambda: get("/metrics"), 200, lambda: [put(JOB, series(MANY).replace(b" 1\n", b" 1e-05\n"))]),
    Row("first scrape of 10,000 groups", lambda: get("/metrics"), 200, lambda: groups(10_000)),
    Row("first HEAD of 99,000 series, zstd", lambda: Request("HEAD", "/metrics", headers=(("Accept-Encoding", "zstd"),)), 200, stored_series),
    Row("first scrape of 500,000 series", lambda: get("/metrics"), 200, half_a_million_series),
    Row("first scrape of 99,000 series of nine labels", lambda: get("/metrics"), 200, stored_labelled_series),
    Row("first scrape of 99,000 series of nine labels, protobuf", lambda: get("/metrics", Accept=PROTOBUF), 200, stored_labelled_series),
    Row("scrape of 10,000 groups by selector", lambda: get(f"/metrics?{ANY_JOB}"), 200, lambda: groups(10_000)),
    Row("groups API, 10,000 groups by selector", lambda: get(f"/api/v1/groups?{ANY_JOB}"), 200, lambda: groups(10_000)),
    Row("JSON API with 99,000 series of nine labels", lambda: get("/api/v1/metrics"), 200, stored_labelled_series),
    Row("JSON API with 500,000 series", lambda: get("/api/v1/metrics"), 200, half_a_million_series),
    Row("the page with 99,000 families", lambda: get("/"), 200, stored_families),
    Row("the page with 10,000 groups", lambda: get("/"), 200, lambda: groups(10_000)),
    Row("a search in 10,000 groups", lambda: get("/?q=l9+x"), 200, lambda: groups(10_000)),
    Row("a search for 200 words in 500 label values of 60 kB", lambda: get("/?q=" + "+".join(["v="] + ["v"] * 200)), 200, long_keys),
    Row("the page with names of jobs of 60 kB to escape", lambda: get("/"), 200, named_by_control_characters),
    Row("the groups to delete, 500 label values of 60 kB", lambda: get("/ui/groups"), 200, long_keys),
    Row("first scrape of 500 label values of 60 kB, gzip", lambda: get("/metrics", Accept_Encoding="gzip"), 200, long_keys),
    Row("first scrape of 500 label values of 60 kB, protobuf", lambda: get("/metrics", Accept=PROTOBUF), 200, long_keys),
    Row("first scrape of 1,000 series of a group named by 60 kB", lambda: get("/metrics"), 200, lambda: [put(LONG, series(1_000))]),
    Row("JSON API with 1,000 series of a group named by 60 kB", lambda: get("/api/v1/metrics"), 200, lambda: [put(LONG, series(1_000))]),
    Row("the page of a native histogram with 45,000 buckets", lambda: get(GROUP_PAGE), 200, lambda: [put(JOB, native_histogram(45_000, 7), Content_Type=PROTOBUF)]),
    Row("scrape by a regular expression that takes a second", lambda: get(f"/metrics?match[]=%7Bl=~%22{SLOW_REGEX}%22%7D"), 200, one_long_value),
    Row("a search by a regular expression that takes a second", lambda: get(f"/?q=%7Bl=~%22{SLOW_REGEX}%22%7D"), 200, one_long_value),
    Row("12 selectors of 1,400 regular expressions each", lambda: get("/metrics?" + "&".join(["match[]={" + 'a=~".",' * 1_400 + "}"] * 12)), 200),
    Row("a search by 1,400 regular expressions", lambda: get("/?q={" + 'a=~".",' * 1_400 + "}"), 200),
    Row("1,600 matchers for 1,000 groups", lambda: get("/api/v1/groups?match[]=%7B" + 'a="",' * 1_600 + "%7D"), 200, lambda: groups(1_000)),
    Row("the page of a group with 99,000 families", lambda: get(GROUP_PAGE), 200, stored_families),
    Row("the page of a group with 99,000 series", lambda: get(GROUP_PAGE + "?all"), 200, stored_series),
    Row("the page of a histogram with 90,000 buckets", lambda: get(GROUP_PAGE), 200, lambda: [put(JOB, histograms(1, 90_000))]),
    Row("JSON API with 99,000 families", lambda: get("/api/v1/metrics"), 200, stored_families),
    Row("JSON API with a histogram of 90,000 buckets", lambda: get("/api/v1/metrics"), 200, lambda: [put(JOB, histograms(1, 90_000))]),
    Row("JSON API with 10,000 groups", lambda: get("/api/v1/metrics"), 200, lambda: groups(10_000)),
    # Heads.
    Row("a path of 1 MB with distinct label names", lambda: put(long_path(1_000_000), b"m 1\n"), 414),
    Row("a path of 128 KiB with distinct label names", lambda: put(long_path(128_000), b"m 1\n"), 413),
    Row("a delete of a path of 128 KiB", lambda: delete(long_path(128_000)), 413),
    Row("a path of 128 KiB that is not percent-encoded", lambda: get("/" + "\xff" * 120_000), 414),
    Row("a path of 128 KiB in percent escapes", lambda: put(f"{JOB}/l/{'%41' * 43_000}", b"m 1\n"), 200),
    Row("a path of 128 KiB in base64, wrong at its end", lambda: put(f"{JOB}/l@base64/{'QUFB' * 32_000}!", b"m 1\n"), 400),
    Row("a path of 128 KiB without a label name", lambda: put(JOB + "/" * 128_000, b"m 1\n"), 413),
    Row("the page of a group named by 128 KiB", lambda: get("/ui/group/" + "_2Fh" * 32_000), 404),
    Row("a search for 10,000 words in 10,000 groups", lambda: get("/?q=" + "+".join(f"a{n}" for n in range(10_000))), 200, lambda: groups(10_000)),
    Row("11,000 parameters", lambda: get("/?" + "&".join(f"a{n}=1" for n in range(11_000))), 200),
    Row("an idempotency key of 1 MB", lambda: Request("POST", JOB, b"m 1\n", (("Idempotency-Key", "x" * 1_000_000),)), 400),
    Row("a query of 128 KiB", lambda: get("/?q=" + "%41+" * 32_000), 200),
    Row("a query of 128 KiB, all percent signs", lambda: get("/api/v1/groups?" + "%" * 128_000), 400),
    Row("a search by an age of 60,000 hours", lambda: get("/?older_than=" + "1h" * 60_000), 200),
    Row("a static file, the first request of all", lambda: get("/static/style.css"), 200),
    Row("an If-None-Match header of 1 MB for a static file", lambda: get("/static/style.css", If_None_Match='W/"abc",' * 120_000), 200),
    Row("an Origin header of 1 MB", lambda: Request("DELETE", JOB, headers=(("Origin", "http://" + "\xe9" * 1_000_000),)), 403),
    Row("an Accept header of 1 MB", lambda: get("/metrics", Accept="text/plain;q=0.5," * 55_000), 200),
    Row("an Accept-Encoding header of 1 MB", lambda: get("/metrics", Accept_Encoding="gzip;q=0.5," * 90_000), 200),
)
# fmt: on
