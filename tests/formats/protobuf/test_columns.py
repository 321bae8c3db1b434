"""Bodies that are read by columns mean what the scanner, which is slow and obvious, says."""

import pytest
from hypothesis import example, given, strategies as st

from pushgate.formats.protobuf.columns import SameLength, read_columns
from pushgate.formats.protobuf.reader import decode
from pushgate.formats.structure import Structure, Unusual
from tests.formats.protobuf.bodies import body, family, labels

# Few of each, so that families often have the same labels, and metrics of a family too.
FIELDS = {0: "counter", 1: "gauge", 3: "untyped"}
VALUES = st.sampled_from([0.5, 1e-05, 42.0, 123456.7])
LABEL_SETS = st.sampled_from([{}, {"a": "1"}, {"a": "2"}, {"a": "1", "b": "1"}, {"b": "ä"}])


@st.composite
def simple_families(draw, name):
    kind, of = draw(st.sampled_from(sorted(FIELDS))), draw(LABEL_SETS)
    metrics = []
    for _ in range(draw(st.integers(1, 3))):
        its = {label: draw(st.sampled_from([value, "3"])) for label, value in of.items()}
        metrics.append({"label": labels(**its), FIELDS[kind]: {"value": draw(VALUES)}})
    return family(name=name, type=kind, metric=metrics)


def gauges(name, count):
    return family(name=name, type=1, metric=[{"gauge": {"value": n}} for n in range(1, count + 1)])


BODIES = st.integers(1, 4).flatmap(
    lambda count: st.tuples(*map(simple_families, [b"m", b"n", b"o", b"p"][:count]))
)


@given(BODIES)
@example((gauges(b"m", 1), gauges(b"n", 2)))
def test_a_body_of_simple_families_is_read_as_by_the_scanner(families):
    sent = body(*families)
    columns, expected = read_columns(sent, 100), decode(sent)
    assert columns.shape.families == expected.shape.families
    assert columns.shape.label_schema == expected.shape.label_schema
    assert [*columns.numbers] == [*map(float, expected.numbers.split())]


@given(BODIES, st.data())
def test_a_body_of_the_same_length_is_read_as_by_the_scanner(families, data):
    sent = body(*families)
    try:
        known = SameLength(sent, read_columns(sent, 100))
    except Unusual:
        return
    others = data.draw(st.permutations([b"1", b"2", b"3"]))
    other = sent.translate(bytes.maketrans(b"123", b"".join(others)))
    shape = known.shape(other)
    if shape is not None:
        expected = decode(other).shape
        assert shape.families == expected.families
        assert shape.is_distinct is expected.is_distinct
        assert shape.longest_value == expected.longest_value


def test_label_values_that_all_metrics_have_are_filled_in(monkeypatch):
    def sent(run):
        metrics = [{"label": labels(run=run, x=x), "gauge": {"value": 1}} for x in "12"]
        return body(family(name=b"m", type=1, metric=metrics))

    known = SameLength(sent("a1"), read_columns(sent("a1"), 100))
    monkeypatch.setattr(Structure, "assembled", None)
    assert known.shape(sent("ä")).families == decode(sent("ä")).shape.families
    assert known.shape(sent("ä").replace("ä".encode(), b"\xc3\xff")) is None


def test_more_series_than_allowed_are_for_the_scanner_which_names_the_limit():
    with pytest.raises(Unusual):
        read_columns(body(gauges(b"m", 3)), 2)
