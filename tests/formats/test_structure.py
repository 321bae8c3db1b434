"""What is left of a body without its label values, and what it becomes with others."""

import pytest

from pushgate.formats.families import FamilyBuilder, Part
from pushgate.formats.structure import Run, Unusual, fill, labels_of
from pushgate.formats.text import TextReader
from pushgate.model.family import MetricType
from pushgate.model.names import NameRule
from pushgate.model.shape import PushShape

SUM = Run(0, Part.SUM, range(2, 3), (), slice(0, 0), (), (), None)


def buckets(*, samples: int, part: Part = Part.BODY) -> Run:
    """Samples ``{le="…",x="…"}``."""
    end = 2 * samples
    columns, bounds = (slice(1, end, 2),), slice(0, end, 2)
    return Run(0, part, range(samples), ("le", "x"), slice(0, end), ("x",), columns, bounds)


def histogram() -> FamilyBuilder:
    return FamilyBuilder("h", MetricType.HISTOGRAM)


def test_what_a_structure_knows_of_its_shapes_is_what_they_would_find_themselves():
    reader = TextReader(NameRule.UTF8)
    body = b'# TYPE none gauge\na{x="%d"} 1\na 1\nb 2\nb{y="\xc3\xa4",x="%d"} 3\na{x="z"} 4\n'
    for run in range(100, 103):  # the structure is kept from the second on
        shape = reader.read(body % (run, run)).shape
        alone = PushShape(shape.families, shape.label_schema)
        assert shape.starts == alone.starts
        assert shape.longest_value == alone.longest_value
        assert shape.values_are_utf8 is alone.values_are_utf8


def test_families_share_their_labels_only_if_the_same_names_have_the_same_values():
    body = b'a{x="1",y="2"} 1\nb{y="1",x="2"} 1\nc{x="1",y="2"} 1\nd{x="1"} 1\n'
    a, b, c, d = TextReader(NameRule.UTF8).read(body).shape.families
    assert (a.labels, b.labels) == (((("x", "1"), ("y", "2")),), ((("x", "2"), ("y", "1")),))
    assert c.labels is a.labels
    assert d.labels == ((("x", "1"),),)


def test_metrics_without_labels_have_none():
    assert labels_of((), [], 2) == [(), ()]


def test_pairs_that_all_metrics_have_are_one_object():
    first, second = labels_of(("job", "run"), [["a", "a"], ["1", "2"]], 2)
    assert (first, second) == ((("job", "a"), ("run", "1")), (("job", "a"), ("run", "2")))
    assert first[0] is second[0]


def test_buckets_go_to_the_metric_that_their_other_labels_name():
    family = histogram()
    fill([family], [buckets(samples=3)], ["1", "a", "1e6", "a", "1", "b"])
    a, b = family.distributions[("x", "a"),], family.distributions[("x", "b"),]
    assert (a.bounds, a.at) == (["1", "1e+06"], [0, 1])
    assert (b.bounds, b.at) == (["1"], [2])


def test_places_of_a_later_piece_follow_those_before():
    family = histogram()
    fill([family], [SUM], [], before=10)
    assert family.distributions[()].sum == 12


@pytest.mark.parametrize(
    ("run", "inside"),
    [
        pytest.param(buckets(samples=1), ["NaN", "a"], id="a bucket of no bound"),
        pytest.param(buckets(samples=1), ["1" * 101, "a"], id="a bound without end"),
        pytest.param(buckets(samples=1, part=Part.COUNT), ["1", "a"], id="a count with a bound"),
        pytest.param(SUM._replace(part=Part.BODY), [], id="a bucket without its label"),
    ],
)
def test_what_the_reference_reads_in_its_own_way_is_left_to_the_scanner(run, inside):
    with pytest.raises(Unusual):
        fill([histogram()], [run], inside)


def test_a_bound_that_is_no_number_is_an_error():
    with pytest.raises(ValueError, match="many"):
        fill([histogram()], [buckets(samples=1)], ["many", "a"])
