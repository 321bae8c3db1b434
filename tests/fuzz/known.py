"""Where Pushgate answers differently on purpose: these requests are left out of the comparison.

The ids are those of docs/compatibility.md; "random" is what the reference leaves to chance. After
such a request the two stores may differ, so the case ends before it.
"""

import base64
import re
import zlib
from collections.abc import Callable, Iterator
from urllib.parse import unquote_to_bytes

from google.protobuf.message import DecodeError

from pushgate.formats.protobuf.description import is_native, native_inconsistency
from tests.fuzz import schema
from tests.fuzz.generate import Request

GroupingKey = frozenset[tuple[bytes, bytes]]


def known(request: Request, before: list[Request]) -> str | None:
    """The id of the deliberate difference that *request* runs into after *before*, if any."""
    for identity, applies in KNOWN.items():
        if applies(request, before):
            return identity
    return None


def grouping_key(target: str) -> GroupingKey | None:
    """The labels that *target* names, not validated; None where it names no group."""
    path = unquote_to_bytes(target.partition("?")[0])
    parts = path.split(b"/")[2:]
    if len(parts) == 3 and not parts[2]:
        parts.pop()
    if len(parts) < 2 or len(parts) % 2:
        return None
    labels = {}
    try:
        for name, value in [*zip(parts[2::2], parts[3::2], strict=True), parts[:2]]:
            bare = name.removesuffix(b"@base64")
            labels[bare] = value if bare == name else decoded(value)
    except ValueError:
        return None
    return frozenset(labels.items())


def decoded(value: bytes) -> bytes:
    stripped = value.rstrip(b"=")
    return base64.urlsafe_b64decode(stripped + b"=" * (-len(stripped) % 4))


def plain_body(request: Request) -> bytes:
    return inflated(request) or b""


def is_intact(request: Request) -> bool:
    return inflated(request) is not None


def inflated(request: Request) -> bytes | None:
    """The body without its gzip; None if that is damaged."""
    if request.headers.get("Content-Encoding") != "gzip":
        return request.body
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(request.body)
    except zlib.error:
        return None
    return plain if stream.eof and not stream.unused_data else None  # zeros behind it are damage


def families(request: Request) -> Iterator:
    """The families of a protobuf push as far as it can be read."""
    if request.is_protobuf:
        for _, body in schema.lengths_and_bodies(plain_body(request)):
            try:
                yield schema.MetricFamily.FromString(body)
            except DecodeError:
                return


def group_is_not_utf8(request: Request, _before: list[Request]) -> bool:
    key = grouping_key(request.target) or frozenset()
    return any(not is_utf8(part) for label in key for part in label)


def is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def reserved_name_escaped(request: Request, _before: list[Request]) -> bool:
    return "U___" in request.target


def groups_differ_by_an_empty_instance(request: Request, before: list[Request]) -> bool:
    key, empty = grouping_key(request.target), (b"instance", b"")
    others = {grouping_key(other.target) for other in before}
    return key is not None and (key ^ {empty}) in others


def pushes_the_failure_time(request: Request, _before: list[Request]) -> bool:
    return b"push_failure_time_seconds" in plain_body(request)


def family_that_breaks_scrapes(request: Request, _before: list[Request]) -> bool:
    return any(
        not family.name
        or not 0 <= family.type < len(schema.TYPES)
        or (family.type == 5 and any(not m.HasField("histogram") for m in family.metric))
        for family in families(request)
    )


def schema_out_of_range(request: Request, _before: list[Request]) -> bool:
    return any(
        not -4 <= metric.histogram.schema <= 8
        for family in families(request)
        for metric in family.metric
    )


def native_histogram_that_ends_a_scrape(request: Request, _before: list[Request]) -> bool:
    """One whose buckets, spans and count disagree: a Prometheus drops the target for it."""
    return any(
        is_native(metric.histogram) and native_inconsistency(metric.histogram) is not None
        for family in families(request)
        for metric in family.metric
    )


def length_beyond_the_body(request: Request, _before: list[Request]) -> bool:
    """Only where the reference would allocate it."""
    if not request.is_protobuf:
        return False
    lengths = [length for length, _ in schema.lengths_and_bodies(plain_body(request))]
    return any(length > 1 << 24 for length in lengths)


BRACES_FIRST = re.compile(rb"^[ \t]*\{", re.MULTILINE)
ASSEMBLED_TYPE = re.compile(rb"#[ \t]*TYPE[^\n]*(summary|histogram)", re.IGNORECASE)
GAUGE_HISTOGRAM = re.compile(
    rb"#[ \t]*TYPE[ \t]+\"?([\w:]+)\"?[ \t]+gauge_?histogram", re.IGNORECASE
)
SUMMARY = re.compile(rb"#[ \t]*TYPE[^\n]*summary", re.IGNORECASE)
COUNT_THAT_IS_NONE = re.compile(
    rb'_count"?(\{.*\})?[ \t]*(-|nan|\+?inf|[\d.]*e\+?\d{2}|[\d.]{19})', re.IGNORECASE
)


def braces_first(request: Request, _before: list[Request]) -> bool:
    body = plain_body(request)
    return (
        not request.is_protobuf
        and bool(nameless(body) or BRACES_FIRST.search(body))
        and (bool(ASSEMBLED_TYPE.search(body)) or nameless(body))
    )


def nameless(body: bytes) -> bool:
    """Whether a line starts with braces that may lack the metric name."""
    starts = [line.lstrip(b" \t") for line in body.split(b"\n")]
    return any(
        re.match(rb'\{[ \t]*(\}|,|$|("[^"]*"|\w*)[ \t]*=)', start) is not None for start in starts
    )


def summary_count_that_is_none(request: Request, _before: list[Request]) -> bool:
    body = plain_body(request)
    return bool(SUMMARY.search(body) and COUNT_THAT_IS_NONE.search(body))


def untidy_text(request: Request, _before: list[Request]) -> bool:
    """Text that is read although the reference refuses it, as editors and shells leave it."""
    body = plain_body(request)
    return not request.is_protobuf and bool(
        body and (not body.endswith(b"\n") or UNTIDY.search(body))
    )


UNTIDY = re.compile(rb"\A\xef\xbb\xbf|\r\n|^[ \t]*[^# \t\n][^\n]*[ \t]$", re.MULTILINE)


def slashes_that_do_not_separate(request: Request, _before: list[Request]) -> bool:
    path = request.target.partition("?")[0]
    parts = path.removeprefix("/").split("/")
    return "%2F" in path.upper() or any(part in {"", ".", ".."} for part in parts)


def mistyped_path(request: Request, _before: list[Request]) -> bool:
    """A path that the reference's router redirects."""
    return not request.target.startswith("/metrics/job")


def own_metric(request: Request, _before: list[Request]) -> bool:
    body = plain_body(request)
    return re.search(rb"\b(go|process|python|promhttp|pushgateway|pushgate)_", body) is not None


def type_without_value_among_groups(request: Request, before: list[Request]) -> bool:
    """Families whose metrics do not hold their type: the verdict depends on which group is first.

    The reference visits its groups in random order.
    """
    requests = [request, *before]
    return len({grouping_key(one.target) for one in requests}) > 1 and any(
        not holds_its_type(family) for one in requests for family in families(one)
    )


def holds_its_type(family) -> bool:
    kind = schema.TYPES[family.type] if family.type < 5 else "histogram"
    return bool(family.metric) and all(metric.HasField(kind) for metric in family.metric)


def gauge_histogram_elsewhere(request: Request, before: list[Request]) -> bool:
    """A gauge histogram's name in another group: whose type counts depends on which is first."""
    requests = [request, *before]
    names = {family.name for one in requests for family in families(one) if family.type == 5}
    names |= {name for one in requests for name in GAUGE_HISTOGRAM.findall(plain_body(one))}
    return len({grouping_key(one.target) for one in requests}) > 1 and any(
        name in plain_body(one) for name in names for one in requests
    )


def stray_summary_with_quantile_label(request: Request, _before: list[Request]) -> bool:
    """A metric of another type that has a summary besides, and a label ``quantile``."""
    return any(
        metric.HasField("summary") and any(pair.name == b"quantile" for pair in metric.label)
        for family in families(request)
        if family.type != 2
        for metric in family.metric
    )


def histogram_with_le_label(request: Request, _before: list[Request]) -> bool:
    """A histogram in a group labelled ``le``, or with such a label."""
    return any(name == b"le" for name, _ in grouping_key(request.target) or ()) or any(
        pair.name == b"le"
        for family in families(request)
        if family.type in {4, 5}
        for metric in family.metric
        for pair in metric.label
    )


def family_without_metrics(request: Request, before: list[Request]) -> bool:
    """It claims its name in the reference, though no scrape ever shows it."""
    return any(not family.metric for one in [request, *before] for family in families(one))


KNOWN: dict[str, Callable[[Request, list[Request]], bool]] = {
    "P1": group_is_not_utf8,
    "P2": reserved_name_escaped,
    "P3": groups_differ_by_an_empty_instance,
    "P4": pushes_the_failure_time,
    "P5": family_that_breaks_scrapes,
    "P6": schema_out_of_range,
    "P6, inconsistent": native_histogram_that_ends_a_scrape,
    "P8": length_beyond_the_body,
    "P10": braces_first,
    "P12": summary_count_that_is_none,
    "L1": untidy_text,
    "L2": slashes_that_do_not_separate,
    "router": mistyped_path,
    "D8": own_metric,
    "le": histogram_with_le_label,
    "D17": family_without_metrics,
    "D16": stray_summary_with_quantile_label,
    "random": type_without_value_among_groups,
    "random, gauge histograms": gauge_histogram_elsewhere,
}
