"""Protobuf bodies for tests, written by the protobuf package after the real metrics.proto."""

import base64
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from pushgate.formats.protobuf.messages import VALUE_FIELDS
from pushgate.model.family import MetricType
from tests.delimited import delimited, undelimited
from tests.fuzz.schema import message_class

body = delimited

CONFORMANCE = Path(__file__).parents[2] / "conformance" / "vectors.json"


def family(**fields: Any) -> Any:
    return message_class("MetricFamily")(**fields)


def labels(**values: str) -> list[Any]:
    pair = message_class("LabelPair")
    return [pair(name=name.encode(), value=value.encode()) for name, value in values.items()]


def spans(*pairs: tuple[int, int]) -> list[dict[str, int]]:
    """Return the spans of a native histogram with these offsets and lengths."""
    return [{"offset": offset, "length": length} for offset, length in pairs]


def recorded() -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Return the recorded protobuf pushes: body and expected answer, by name."""
    pushes = {}
    for scenario in json.loads(CONFORMANCE.read_text()):
        if scenario["name"].startswith("protobuf "):
            step = scenario["steps"][0]
            sent = step.get("body", "").encode()
            sent = base64.b64decode(step["body_base64"]) if "body_base64" in step else sent
            pushes[scenario["name"].removeprefix("protobuf ")] = (sent, step["expect"])
    return pushes


def _message(
    name: str, /, required: dict[str, st.SearchStrategy] | None = None, **fields: st.SearchStrategy
) -> st.SearchStrategy:
    """Return messages that have all fields in *required* and any of *fields*."""
    return st.fixed_dictionaries(required or {}, optional=fields).map(
        lambda set_: message_class(name)(**set_)
    )


def _few(one: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(one, max_size=3)


DOUBLES = st.one_of(
    st.floats(), st.sampled_from([0.0, -0.0, 1.0, 1e6, 2.0**53]), st.integers(0, 1000).map(float)
)
COUNTS = st.one_of(
    st.integers(0, 300), st.integers(0, 2**64 - 1), st.just(2**53 + 1), st.just(2**60)
)
VALID_NAMES = st.sampled_from([b"a", b"b", b"c_total", b"a.b", b"x" * 200])
NAMES = VALID_NAMES | st.just(b"\xff")
TIMESTAMPS = _message(
    "Timestamp", seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)
)
LABEL_PAIRS = _message("LabelPair", name=NAMES, value=NAMES)
EXEMPLARS = _message("Exemplar", label=_few(LABEL_PAIRS), value=DOUBLES, timestamp=TIMESTAMPS)
SPANS = _message("BucketSpan", offset=st.integers(-20, 20), length=st.integers(0, 5))
BUCKETS = _message("Bucket", cumulative_count=COUNTS, upper_bound=DOUBLES)
FLOAT_BUCKETS = _message("Bucket", cumulative_count_float=DOUBLES, upper_bound=DOUBLES)
RICH_BUCKETS = _message(
    "Bucket",
    cumulative_count=COUNTS,
    cumulative_count_float=DOUBLES,
    upper_bound=DOUBLES,
    exemplar=EXEMPLARS,
)
VALUES = {
    "gauge": _message("Gauge", value=DOUBLES),
    "untyped": _message("Untyped", value=DOUBLES),
    "counter": _message("Counter", value=DOUBLES, exemplar=EXEMPLARS, created_timestamp=TIMESTAMPS),
    "summary": _message(
        "Summary",
        sample_count=COUNTS,
        sample_sum=DOUBLES,
        quantile=_few(_message("Quantile", quantile=DOUBLES, value=DOUBLES)),
        created_timestamp=TIMESTAMPS,
    ),
    "histogram": _message(
        "Histogram",
        sample_count=COUNTS,
        sample_sum=DOUBLES,
        bucket=_few(BUCKETS),
        created_timestamp=TIMESTAMPS,
    )
    | _message(
        "Histogram",
        sample_count_float=DOUBLES,
        sample_sum=DOUBLES,
        bucket=_few(FLOAT_BUCKETS),
    )
    | _message(
        "Histogram",
        sample_count=COUNTS,
        sample_count_float=DOUBLES,
        sample_sum=DOUBLES,
        bucket=_few(RICH_BUCKETS),
        schema=st.integers(-4, 8),
        zero_threshold=DOUBLES,
        zero_count=COUNTS,
        zero_count_float=DOUBLES,
        negative_span=_few(SPANS),
        negative_delta=_few(st.integers(-(2**63), 2**63 - 1)),
        negative_count=_few(DOUBLES),
        positive_span=_few(SPANS),
        positive_delta=_few(st.integers(-5, 5)),
        positive_count=_few(DOUBLES),
        exemplars=_few(EXEMPLARS),
    ),
}


# The strategies are made once: one made while drawing is analysed anew each time.
def _metrics(label_lists: st.SearchStrategy, *values: st.SearchStrategy) -> st.SearchStrategy:
    return _few(
        st.builds(
            lambda labels, fields: message_class("Metric")(label=labels, **fields),
            label_lists,
            st.one_of(values),
        )
    )


def _families(
    names: st.SearchStrategy, metrics_of: Callable[[MetricType], st.SearchStrategy]
) -> st.SearchStrategy:
    return st.one_of(
        [
            _message(
                "MetricFamily",
                required={"name": names, "type": st.just(kind.value), "metric": metrics_of(kind)},
                help=names,
            )
            for kind in MetricType
        ]
    )


def _right(kind: MetricType) -> st.SearchStrategy:
    """Return values of the type *kind*, as fields of a metric."""
    return st.fixed_dictionaries({VALUE_FIELDS[kind]: VALUES[VALUE_FIELDS[kind]]})


def _any_metrics(kind: MetricType) -> st.SearchStrategy:
    right, wrong = _right(kind), st.fixed_dictionaries({}, optional=VALUES)
    with_others = st.fixed_dictionaries(
        {VALUE_FIELDS[kind]: VALUES[VALUE_FIELDS[kind]]},
        optional={
            **{field: value for field, value in VALUES.items() if field != VALUE_FIELDS[kind]},
            "timestamp_ms": st.integers(0, 5),
        },
    )
    return _metrics(_few(LABEL_PAIRS), right, right, with_others, wrong)


# Any family that can be stored, and many that cannot.
FAMILIES = _families(NAMES, _any_metrics)
BODIES = st.lists(FAMILIES, max_size=4).map(lambda made: body(*made))

# Bodies most of which can be stored.
_VALID_LABELS = st.dictionaries(VALID_NAMES, VALID_NAMES, max_size=3).map(
    lambda values: [message_class("LabelPair")(name=n, value=v) for n, v in values.items()]
)
STORABLE_BODIES = st.lists(
    _families(VALID_NAMES, lambda kind: _metrics(_VALID_LABELS, _right(kind))),
    max_size=4,
    unique_by=lambda family: family.name,
).map(lambda made: body(*made))


def renumbered(sent: bytes, numbers: Iterable[float]) -> bytes:
    """Return *sent* with other numbers, wherever they are ordinary."""
    out, fresh = undelimited(message_class("MetricFamily"), sent), iter(numbers)
    for one in out:
        for metric in one.metric:
            _renumber(metric, fresh)
    return body(*out)


def _renumber(metric: Any, fresh: Iterable[float]) -> None:
    for field in ("gauge", "counter", "untyped"):
        if metric.HasField(field):
            getattr(metric, field).value = next(fresh)
    for field in ("summary", "histogram"):
        if metric.HasField(field):
            value = getattr(metric, field)
            value.sample_sum = next(fresh)
            value.sample_count = int(abs(next(fresh)))
    for bucket in metric.histogram.bucket:
        bucket.cumulative_count = int(abs(next(fresh)))
    for quantile in metric.summary.quantile:
        quantile.value = next(fresh)
