"""A shape whose new label values are filled in is the one that reading them gives."""

import pytest
from hypothesis import given, strategies as st

from pushgate.formats.relabeling import Relabeling
from pushgate.formats.structure import Unusual
from pushgate.formats.text import TextReader
from pushgate.model.names import NameRule
from pushgate.model.shape import PushShape

LINES = (
    'a{run="%(run)s",x="1"}',
    'a{run="%(run)s",x="2"}',
    'b{commit="%(commit)s",run="%(run)s",y="é"}',
    'c{x="long"}',
    "d",
)
values = st.text("rstü", min_size=1, max_size=6)


def shape(lines: tuple[str, ...] = LINES, **new: str) -> PushShape:
    body = "".join(f"{line} 1\n" for line in lines) % new
    return TextReader(NameRule.LEGACY).read(body.encode()).shape


@given(values, values)
def test_filled_values_stand_where_reading_finds_them(run, commit):
    relabeling = Relabeling(shape(run="FIRST", commit="0a1b"), ["FIRST", "0a1b"])
    filled, read = relabeling.filled([run, commit]), shape(run=run, commit=commit)
    assert filled.families == read.families
    assert filled.label_schema is read.label_schema
    assert (filled.starts, filled.longest_value) == (read.starts, read.longest_value)
    assert filled.is_distinct is read.is_distinct is True


def test_families_with_the_same_labels_share_them():
    relabeling = Relabeling(shape(('a{run="%(run)s"}', 'b{run="%(run)s"}'), run="1"), ["1"])
    one, other = relabeling.filled(["2"]).families
    assert one.labels is other.labels


def test_a_value_that_only_some_metrics_of_a_family_have_is_unusual():
    for lines in (
        ('a{run="%(run)s"}', 'a{run="other"}'),
        ('a{run="%(run)s"}', 'a{run="%(run)s",x="1"}'),
    ):
        with pytest.raises(Unusual):
            Relabeling(shape(lines, run="1"), ["1"])


def test_its_cost_grows_with_the_labels_that_it_holds():
    few, many = (
        Relabeling(shape(tuple(f'a{{run="%(run)s",x="{at}"}}' for at in range(n)), run="r"), ["r"])
        for n in (10, 1000)
    )
    assert many.cost > 50 * few.cost
