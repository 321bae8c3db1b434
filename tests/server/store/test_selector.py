"""Selectors name groups as Prometheus names series, and say where they are wrong."""

import re

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import InvalidSelector
from pushgate.model.grouping import GroupingKey
from pushgate.server.store.selector import parse_selector


def matches(selector, **labels):
    return parse_selector(selector).matches(GroupingKey(labels.items()).labels)


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ("{}", {"job": "a"}),
        ('{job="a"}', {"job": "a", "instance": "x"}),
        ('{job!="b"}', {"job": "a"}),
        ('{job=~"back.*"}', {"job": "backup"}),
        ('{job=~"a|b"}', {"job": "b"}),
        ('{job!~"a|b"}', {"job": "ab"}),
        ('{job="a",instance=~"db.*",}', {"job": "a", "instance": "db1"}),
        (' { job = "a" , # all of them\n instance != "" } ', {"job": "a", "instance": "x"}),
        ("{job='a\"b'}", {"job": 'a"b'}),
        (r"{job=`a\d`}", {"job": r"a\d"}),
        (r"{job=~`a\d+`}", {"job": "a17"}),
        (r'{job="a\n\t\\\"\x41\101\u00e9\U0001f600\xc3\xa9"}', {"job": 'a\n\t\\"AAé😀é'}),
        ('{"my.label"="x"}', {"job": "a", "my.label": "x"}),
        ('{instance=""}', {"job": "a"}),
        ('{instance!="b"}', {"job": "a"}),
        ('{instance=~".*"}', {"job": "a"}),
        ('{job=~"a.b"}', {"job": "a\nb"}),
        ('{job=~"(?i)BACKUP"}', {"job": "backup"}),
        ('{job=~"é+"}', {"job": "éé"}),
        ('{job=~"a.*",job!="ab"}', {"job": "ac"}),
    ],
)
def test_a_selector_takes_the_groups_that_prometheus_would(selector, labels):
    assert matches(selector, **labels)


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ('{job="a"}', {"job": "ab"}),
        ('{job=~"a"}', {"job": "ab"}),
        ('{job=~"a|b"}', {"job": "ab"}),
        ('{job=~"b"}', {"job": "ab"}),
        ('{job!~"a.*"}', {"job": "ab"}),
        ('{instance!=""}', {"job": "a"}),
        ('{instance=~".+"}', {"job": "a"}),
        ('{job="a",instance="x"}', {"job": "a", "instance": "y"}),
        ('{job="A"}', {"job": "a"}),
    ],
)
def test_a_selector_leaves_the_groups_that_prometheus_would(selector, labels):
    assert not matches(selector, **labels)


LARGE = ".{1000}" * 3  # half of what a selector may have


@pytest.mark.parametrize(
    ("selector", "position", "reason"),
    [
        ("", 1, 'expected "{", found the end'),
        ("job", 1, "groups have no metric name; write label matchers only"),
        ('up{job="a"}', 1, "groups have no metric name"),
        ('{"up"}', 6, 'expected "=", "!=", "=~" or "!~" after the label "up", found "}"'),
        ('{job="a"', 9, 'expected "," or "}", found the end'),
        ('{job="a"}}', 10, 'expected nothing after the selector, found "}"'),
        ('{job="a" instance="b"}', 10, 'expected "," or "}", found "instance"'),
        ('{,job="a"}', 2, 'expected a label name or "}", found ","'),
        ('{job>"a"}', 5, 'after the label "job", found ">"'),
        ('{job=="a"}', 6, 'expected a value in quotes after "=", found "="'),
        ("{job=a}", 6, 'expected a value in quotes after "=", found "a"'),
        ('{job="a}', 6, 'the string has no closing "'),
        ("{job=`a}", 6, "the string has no closing `"),
        ('{job="a\n"}', 6, 'the string has no closing "'),
        ('{job=~"\\d"}', 8, "unknown escape \\d; write a backslash as \\\\ or use backquotes"),
        ('{job="\\\'"}', 7, "unknown escape \\'"),
        ('{job="\\ud800"}', 7, "unknown escape \\ud800"),
        ('{job="\\xff"}', 6, "the string is not UTF-8"),
        ('{job="\udcff"}', 7, "a byte that is not UTF-8"),
        ('{job=~"a("}', 7, "invalid regular expression: missing ): a("),
        ('{job=~"(?=a)"}', 7, "invalid regular expression: invalid perl operator: (?="),
        ('{job="x",a=~"(a)\\\\1"}', 13, "invalid regular expression: invalid escape sequence"),
        ('{__name__="up"}', 2, "groups have no metric name; leave __name__ out"),
        (f'{{a=~"{LARGE}",b=~"{LARGE}1"}}', 29, "too large together; use fewer"),
        ('{job="' + "a" * 10_000 + '"}', 10_001, "more than 10000 characters"),
    ],
)
def test_a_wrong_selector_is_refused_with_the_position_and_what_to_write(
    selector, position, reason
):
    with pytest.raises(InvalidSelector) as caught:
        parse_selector(selector)
    assert caught.value.position == position
    assert reason in caught.value.reason
    assert str(caught.value).startswith(f"position {position}: ")


@given(st.text(st.sampled_from(list("{}=~!,\"'`\\job a.*+[](|)#\n\udcff")), max_size=40))
def test_any_text_is_a_selector_or_refused_at_a_position_in_it(text):
    try:
        selector = parse_selector(text)
    except InvalidSelector as error:
        assert 1 <= error.position <= len(text) + 1  # noqa: PT017 - both ends are asserted
    else:
        assert str(parse_selector(str(selector))) == str(selector)


VALUES = st.text(st.sampled_from(list('ab.\n"\\é')), max_size=4)
LABELS = st.dictionaries(st.sampled_from(["instance", "my.db"]), VALUES)


@given(st.lists(st.tuples(st.sampled_from(["job", "instance", "my.db"]),
                          st.sampled_from(["=", "!=", "=~", "!~"]), VALUES), max_size=3),
       VALUES, LABELS)  # fmt: skip
def test_matchers_agree_with_pythons_own_comparison_and_regular_expressions(wanted, job, labels):
    labels = {**labels, "job": job}
    compare = {
        "=": lambda have, want: have == want,
        "!=": lambda have, want: have != want,
        "=~": lambda have, want: re.fullmatch(want, have, re.DOTALL) is not None,
        "!~": lambda have, want: re.fullmatch(want, have, re.DOTALL) is None,
    }
    parts, expected = [], True
    for name, operator, value in wanted:
        if "~" in operator:
            value = re.escape(value).replace("\\\n", "\n").replace("a", "[ab]?")  # noqa: PLW2901
        expected = expected and compare[operator](labels.get(name, ""), value)
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        parts.append(f'"{name}"{operator}"{escaped}"')
    selector = parse_selector("{" + ",".join(parts) + "}")
    assert selector.matches(GroupingKey(labels.items()).labels) is expected


@pytest.mark.timeout(10)  # a matcher that backtracks would take for ever
def test_a_regular_expression_that_hangs_others_is_matched_in_linear_time():
    assert not matches('{job=~"(a*)*b"}', job="a" * 100_000)
