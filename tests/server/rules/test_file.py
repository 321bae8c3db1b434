import pytest

from pushgate.errors import StartupError
from pushgate.server.rules.file import parse
from pushgate.server.store.aggregation import Aggregation
from tests.server.pushes import key

HOUR = 3600 * 10**9


def test_a_rule_has_durations_in_nanoseconds():
    text = b"""
rules:
  - match: '{job=~"backup.*"}'
    expect_every: 24h
    ttl: 7d
    forget_after: 90d
  - match: '{job="lambda"}'
    ttl: 1h30m
  - match: '{}'
"""
    backup, other, rest = parse(text)
    assert (backup.expect_every, backup.ttl, backup.forget_after) == (
        24 * HOUR,
        7 * 24 * HOUR,
        90 * 24 * HOUR,
    )
    assert (other.expect_every, other.ttl, other.forget_after) == (0, HOUR * 3 // 2, 0)
    assert (rest.expect_every, rest.ttl, rest.forget_after) == (0, 0, 0)
    assert backup.selector.matches(key("backup-db").labels)
    assert not backup.selector.matches(key("lambda").labels)
    assert rest.selector.matches(key("anything").labels)


def test_a_rule_says_how_to_add_up_by_type_and_by_name():
    text = b"rules: [{match: '{}', aggregate: {counter: sum, gauge: last, temperature: max}}]"
    (rule,) = parse(text)
    assert rule.aggregate.operations == {"counter": "sum", "gauge": "last", "temperature": "max"}


def test_a_rule_that_names_no_operation_adds_series_by_series():
    (rule,) = parse(b"rules: [{match: '{}', aggregate: {}}]")
    assert rule.aggregate == Aggregation({})


MATCH = "- match: '{job=\"a\"}'\n  "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: rules is missing"),
        ("rule: []", "line 1: unknown key rule, did you mean rules?"),
        ("rules: yes", "line 1: rules: expected a list, got a string"),
        ("rules:\n- ttl: 1h", "line 2: rules[0]: match is missing"),
        (f"rules:\n{MATCH}tll: 1h", "line 3: rules[0]: unknown key tll, did you mean ttl?"),
        (f"rules:\n{MATCH}ttl: 1h\n  ttl: 2h", "line 4: the key ttl is given twice"),
        (
            f"rules:\n{MATCH}ttl: 3600",
            'line 3: rules[0].ttl: missing unit in duration "3600"; write one such as 90s',
        ),
        (
            f"rules:\n{MATCH}expect_every: -1h",
            "line 3: rules[0].expect_every: -1h is not longer than nothing; leave the key out",
        ),
        (
            f"rules:\n{MATCH}forget_after: 0",
            "line 3: rules[0].forget_after: 0 is not longer than nothing; leave the key out",
        ),
        (f"rules:\n{MATCH}ttl:\n", "line 3: rules[0].ttl: expected a string, got nothing"),
        (
            f"rules:\n{MATCH}ttl: 2h\n  forget_after: 1h",
            "line 4: rules[0].forget_after: it is shorter than the ttl",
        ),
        (
            f"rules:\n{MATCH}aggregate: {{gauge: avg}}",
            "line 3: rules[0].aggregate.gauge: expected sum, max, min or last, got avg",
        ),
        (
            f"rules:\n{MATCH}aggregate:\n    counter: sum\n    histogram: max",
            "line 5: rules[0].aggregate.histogram: expected sum or last, got max",
        ),
        (f"rules:\n{MATCH}aggregate: sum", "line 3: rules[0].aggregate: expected a mapping"),
        (f"rules:\n{MATCH}aggregate: {{m: 7}}", "line 3: rules[0].aggregate.m: expected"),
        ("rules:\n- match: 'job=a'", "line 2: rules[0].match: "),
        ("rules: [", "yaml: line "),
    ],
)
def test_a_mistake_is_refused_with_its_line_and_key(text, message):
    with pytest.raises(StartupError) as refused:
        parse(text.encode())
    assert str(refused.value).startswith(message)
