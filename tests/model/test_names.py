"""Names: which are legal, how the schemes write the others, what a ``U__`` name means."""

import pytest
from hypothesis import given, strategies as st

from pushgate.model.names import Escaping, NameRule, escape, is_plain, unescape


@pytest.mark.parametrize("name", ["a", "_", "a1", "a:b", ":", "A_9"])
def test_legacy_metric_names(name):
    assert NameRule.LEGACY.metric(name)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "é", "a\n", "a b", "\udcff"])
def test_other_names_are_not_legacy(name):
    assert not NameRule.LEGACY.metric(name)
    assert not NameRule.LEGACY.label(name)


def test_a_legacy_label_has_no_colon():
    assert not NameRule.LEGACY.label("a:b")


@pytest.mark.parametrize(("name", "is_legal"), [("a.b", True), ("é", True), ("1a", True)])
@pytest.mark.parametrize("kind", ["metric", "label"])
def test_utf8_names(name, is_legal, kind):
    assert getattr(NameRule.UTF8, kind)(name) is is_legal


@pytest.mark.parametrize("name", ["", "a\udcff"])
def test_a_utf8_name_is_neither_empty_nor_broken(name):
    assert not NameRule.UTF8.metric(name)
    assert not NameRule.UTF8.label(name)


@pytest.mark.parametrize(
    ("name", "underscores", "dots", "values"),
    [
        ("a.b", "a_b", "a_dot_b", "U__a_2e_b"),
        ("a b", "a_b", "a__b", "U__a_20_b"),
        ("é中", "__", "____", "U___e9__4e2d_"),
        ("1a", "_a", "__a", "U___31_a"),
        ("a.b_c", "a_b_c", "a_dot_b__c", "U__a_2e_b__c"),
        ("U__a", "U__a", "U__a", "U__a"),
        ("a:b", "a:b", "a:b", "a:b"),
        ("", "", "", ""),
    ],
)
def test_names_are_escaped(name, underscores, dots, values):
    escaped = [escape(name, scheme) for scheme in Escaping]
    assert escaped == [underscores, name, dots, values]


def test_a_name_that_is_not_utf8_is_escaped_even_where_utf8_is_allowed():
    """A scraper drops the whole exposition for one such byte."""
    escaped = [escape("a\udcff", scheme) for scheme in Escaping]
    assert escaped == ["a_", "a_", "a__", "U__a_fffd_"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("U__foo_2e_bar", "foo.bar"),
        ("foo.bar", "foo.bar"),
        ("U__foo__bar", "foo_bar"),
        ("U___55_____", "U__"),
        ("U___1F60A_", "😊"),
        ("U___1f60a_", "😊"),
        ("U___6a_ob", "job"),
        ("U__", ""),
        ("U___0_", "\0"),
        ("U____name____", "_name__"),
        ("U______name______", "__name___"),
        ("u__foo_2e_bar", "u__foo_2e_bar"),
    ],
)
def test_names_are_unescaped(written, meant):
    assert unescape(written) == meant


@pytest.mark.parametrize(
    "name",
    [
        "U__in_xxx_valid",
        "U___10FFFF_",
        "U___01f60a_",
        "U___110000_",
        "U___d800_",
        "U___61",
        "U__a_",
        "U_____",
        "U__a___b",
        "U___-1_",
        "U___1_1_",
    ],
)
def test_a_name_that_breaks_the_rules_stays(name):
    assert unescape(name) == name


astral = st.characters(max_codepoint=0xFFFFF, exclude_categories=["Cs"])


@given(st.text(astral, min_size=1).filter(lambda name: not is_plain(name)))
def test_what_values_escapes_unescape_returns(name):
    escaped = escape(name, Escaping.VALUES)
    assert is_plain(escaped)
    assert unescape(escaped) == name
