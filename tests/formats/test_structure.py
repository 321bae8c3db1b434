"""What is left of a body without its label values, and what it becomes with others."""

import pytest

from pushgate.formats.families import FamilyBuilder, Part
from pushgate.formats.structure import Run, Unusual, fill, labels_of
from pushgate.model.family import MetricType

SUM = Run(0, Part.SUM, range(2, 3), (), (), None)


def buckets(*, samples: int, part: Part = Part.BODY) -> Run:
    """Samples ``{le="…",x="…"}``."""
    values = 2 * samples
    return Run(0, part, range(samples), ("x",), (slice(1, values, 2),), slice(0, values, 2))


def histogram() -> FamilyBuilder:
    return FamilyBuilder("h", MetricType.HISTOGRAM)


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
