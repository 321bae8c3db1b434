"""What an old gateway holds that is about to be replaced: every kind of metric, odd groups."""

from google.protobuf import text_format

from pushgate.formats.protobuf.messages import message_class
from pushgate.formats.protobuf.reader import messages
from tests import services
from tests.delimited import PROTOBUF, delimited
from tests.exchange import ask
from tests.exposition import pushed_part, with_sorted_samples

TEXT_TYPES = b"""\
# HELP c_total A counter
# TYPE c_total counter
c_total{a="b",u="\xce\xa0\xcf\x81\xce\xbf"} 42
# TYPE g gauge
g -1.5
g{q="quo\\"te\\\\n\\n"} NaN
g{q="zero"} -0
# TYPE h histogram
h_bucket{le="0.1"} 1
h_bucket{le="1e6"} 3
h_bucket{le="+Inf"} 4
h_sum 2.5
h_count 4
# TYPE s summary
s{quantile="0.5"} 0.2
s{quantile="0.9"} NaN
s_sum 12
s_count 20
u_untyped 1e300
"""


EXEMPLAR = """{
  label { name: "trace_id" value: "abc" } value: 0.25 timestamp { seconds: 1700000000 nanos: 5 }
}"""
PROTOBUF_TYPES = f"""
metric_family {{
  name: "with_exemplar_total" help: "Kept" type: 0
  metric {{ counter {{
    value: 3 exemplar {EXEMPLAR} created_timestamp {{ seconds: 1600000000 nanos: 7 }}
  }} }}
}}
metric_family {{
  name: "native" help: "Native" type: 4
  metric {{
    label {{ name: "number" value: "1" }}
    histogram {{
      sample_count: 24 sample_sum: 9.5 schema: 0 zero_threshold: 0.001 zero_count: 2
      positive_span {{ offset: 0 length: 2 }} positive_span {{ offset: 1 length: 2 }}
      positive_delta: [1, 1, -1, 5]
      negative_span {{ offset: -2 length: 1 }} negative_delta: 12
      exemplars {EXEMPLAR} created_timestamp {{ seconds: 1600000001 }}
    }}
  }}
  metric {{
    label {{ name: "number" value: "2" }}
    histogram {{ sample_count: 0 sample_sum: 0 schema: 3 positive_span {{ offset: 0 length: 0 }} }}
  }}
}}
metric_family {{
  name: "native_floats" type: 4
  metric {{ histogram {{
    sample_count_float: 4.5 sample_sum: 3.25 schema: 3
    positive_span {{ offset: -2 length: 2 }} positive_count: [1.5, 3]
  }} }}
}}
metric_family {{
  name: "native_and_classic" type: 4
  metric {{ histogram {{
    sample_count: 5 sample_sum: 2.5 schema: 0
    bucket {{ upper_bound: 0.5 cumulative_count: 2 exemplar {EXEMPLAR} }}
    bucket {{ upper_bound: 2.5 cumulative_count: 5 }}
    positive_span {{ offset: 0 length: 1 }} positive_delta: 5
  }} }}
}}
metric_family {{
  name: "gauge_histogram" help: "Goes up and down" type: 5
  metric {{ histogram {{
    sample_count: 3 sample_sum: 1.5 bucket {{ upper_bound: 1 cumulative_count: 2 }}
  }} }}
}}
metric_family {{
  name: "created_summary" type: 2
  metric {{ summary {{
    sample_count: 2 sample_sum: 0.5 quantile {{ quantile: 0.99 value: 0.25 }}
    created_timestamp {{ seconds: 1600000002 }}
  }} }}
}}
metric_family {{
  name: "dotted.name" type: 1
  metric {{ label {{ name: "label.name" value: "x" }} gauge {{ value: 1 }} }}
}}
metric_family {{ name: "no_metrics" help: "A family without metrics" type: 1 }}
"""


def families() -> list:
    """Families that only protobuf can say."""
    texts = PROTOBUF_TYPES.split("\nmetric_family {")[1:]
    new = message_class("MetricFamily")
    return [text_format.Parse(text.rstrip().removesuffix("}"), new()) for text in texts]


def protobuf_body() -> bytes:
    return delimited(*families())


def fill(service: services.Service) -> None:
    """Pushes to six groups; one of them has known nothing but failure."""
    for status, method, path, body, kind in (
        (200, "PUT", "/metrics/job/batch", TEXT_TYPES, "text/plain"),
        (200, "POST", "/metrics/job/batch", b"later 1\n", "text/plain"),
        (400, "POST", "/metrics/job/batch", b"late 1 1\n", "text/plain"),
        (200, "PUT", "/metrics/job@base64/L3RtcC94/instance/i1/x/2", protobuf_body(), PROTOBUF),
        (200, "PUT", "/metrics/job/same/instance/i2", protobuf_body(), PROTOBUF),
        (200, "PUT", "/metrics/job/%CE%A0%20%2B/dir@base64/Li4vLg/empty@base64/=", b"", ""),
        (400, "PUT", "/metrics/job/bad", b"never 1 1\n", "text/plain"),
        (200, "PUT", "/metrics/job/own", b'process_rss{job="other"} 1\n', "text/plain"),
    ):
        assert ask(service.port, method, path, body, {"Content-Type": kind}).status == status


def lines_of(service: services.Service, *, times: bool) -> list[str]:
    """What a scrape shows of the pushes, and the push times or only that there are some."""
    exposition = service.get("/metrics")
    shown = with_sorted_samples(pushed_part(exposition))
    pushed_at = [line for line in exposition.split("\n") if line.startswith("push_")]
    return [*shown, *sorted(pushed_at)] if times else shown


def messages_of(service: services.Service) -> dict[bytes, list[str]]:
    """What a protobuf scrape shows of :func:`families`: each one's metrics, sorted."""
    accept = PROTOBUF + "; escaping=allow-utf-8"
    body = ask(service.port, "GET", "/metrics", headers={"Accept": accept}).body
    pushed = {family.name for family in families()}
    return {
        family.name: sorted(map(text_format.MessageToString, family.metric))
        for family in messages(body)
        if family.name in pushed
    }
