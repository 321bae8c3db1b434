import sys
from types import SimpleNamespace

from hypothesis import given, strategies as st
from prometheus_client.samples import Exemplar

from pushgate import Histogram
from pushgate.instruments.exemplars import MAX_NATIVE, Sampler, kept
from pushgate.properties.schema import ExemplarProperties


@given(st.lists(st.floats(allow_nan=False), max_size=40))
def test_at_most_ten_are_kept_in_order_and_the_newest_or_its_neighbour_among_them(values):
    exemplars = []
    for now, value in enumerate(values):
        exemplars = kept(exemplars, Exemplar({}, value, now), now)
    assert len(exemplars) == min(len(values), MAX_NATIVE)
    assert [e.value for e in exemplars] == sorted(e.value for e in exemplars)


def test_the_older_one_of_the_closest_pair_goes():
    exemplars = [Exemplar({}, 10.0**n, n) for n in range(10)]
    after = kept(exemplars, Exemplar({}, 1001.0, 20), 20)
    assert 1000.0 not in [e.value for e in after]
    assert 1001.0 in [e.value for e in after]


def test_an_expired_one_goes_first():
    exemplars = [Exemplar({}, 10.0**n, n) for n in range(10)]
    after = kept(exemplars, Exemplar({}, 1001.0, 400), 400)
    assert 1.0 not in [e.value for e in after]
    assert 1000.0 in [e.value for e in after]


class Span:
    def __init__(self, *, sampled):
        flags = SimpleNamespace(sampled=sampled)
        self.context = SimpleNamespace(is_valid=True, trace_flags=flags, trace_id=10, span_id=11)
        self.attributes = {}

    def get_span_context(self):
        return self.context

    def set_attribute(self, name, value):
        self.attributes[name] = value


def trace(monkeypatch, span):
    module = SimpleNamespace(get_current_span=lambda: span)
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)


def test_a_sampled_span_becomes_an_exemplar_but_not_too_often(monkeypatch):
    span = Span(sampled=True)
    trace(monkeypatch, span)
    sampler = Sampler(ExemplarProperties(sample_interval_milliseconds=1000))
    labels = sampler.sample(100.0, None)
    assert labels == {"trace_id": f"{10:032x}", "span_id": f"{11:016x}"}
    assert span.attributes == {"exemplar": "true"}
    assert sampler.sample(100.5, None) is None
    recent = Exemplar({}, 1.0, 99.0)
    assert sampler.sample(102.0, recent) is None
    assert sampler.sample(110.0, recent) is not None


def test_without_tracing_or_sampling_there_is_none(monkeypatch):
    assert Sampler(ExemplarProperties()).sample(1.0, None) is None
    trace(monkeypatch, Span(sampled=False))
    assert Sampler(ExemplarProperties()).sample(1.0, None) is None


def test_a_sampled_exemplar_is_dropped_when_it_is_old_and_a_chosen_one_stays(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("pushgate.instruments.histogram.time.time", lambda: now[0])
    trace(monkeypatch, Span(sampled=True))
    limit = {"io.prometheus.exemplars.max_retention_period_seconds": "30"}
    histogram = Histogram("h", "", buckets=[1], registry=None, properties=limit)
    histogram.observe(0.5)
    histogram.observe(2, exemplar={"trace_id": "chosen"})
    assert kept_by(histogram) == ([0.5, 2], [0.5, 2])
    now[0] += 31
    assert kept_by(histogram) == ([2], [2])


def kept_by(histogram):
    [family] = histogram.collect()
    classic = [sample.exemplar.value for sample in family.samples if sample.exemplar]
    return classic, [exemplar.value for exemplar in family.native[0][1].nh_exemplars]
