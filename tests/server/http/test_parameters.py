import asyncio

import pytest

from pushgate.errors import InvalidParameter
from pushgate.server.http.parameters import Parameters, query_parameters


def parameters(query: str) -> Parameters:
    return Parameters({"type": "http", "query_string": query.encode()})


def reason(function, *arguments, **named) -> str:
    with pytest.raises(InvalidParameter) as refused:
        function(*arguments, **named)
    return str(refused.value)


def test_a_parameter_that_is_not_known_is_named_with_those_that_are():
    parameters("a=1&b=2&a=3").only(["a", "b"])
    assert reason(parameters("a=1&c=2").only, ["a", "b"]) == (
        'invalid parameter "c": unknown; expected one of a, b'
    )


def test_selectors_are_all_of_match():
    several = parameters("match[]={a=%221%22}&other=x&match%5B%5D={b!=%22%22}")
    assert [*map(str, asyncio.run(several.selectors()))] == ['{a="1"}', '{b!=""}']
    assert asyncio.run(parameters("").selectors()) == ()
    broken = parameters("match[]={").selectors()
    assert reason(asyncio.run, broken).startswith('invalid parameter "match[]": pos')


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False)]
)
def test_a_boolean_is_written_in_one_of_four_ways(text, value):
    assert parameters(f"flag={text}").boolean("flag") is value


@pytest.mark.parametrize("text", ["", "yes", "TRUE", "tr\u00fce"])
def test_anything_else_is_no_boolean(text):
    assert "position 1: expected true or false, found" in reason(
        parameters(f"flag={text}").boolean, "flag"
    )


@pytest.mark.parametrize("text", ["1", "007", "9"])
def test_a_number_is_within_its_bounds(text):
    assert parameters(f"n={text}").number("n", 5, least=1, most=9) == int(text)


@pytest.mark.parametrize("text", ["", "0", "10", "-1", "+1", "1.0", "%201", "\u0661", "1" * 5000])
def test_any_other_number_is_refused_with_the_bounds(text):
    said = reason(parameters(f"n={text}").number, "n", 5, least=1, most=9)
    assert "position 1: expected a whole number from 1 to 9, found" in said
    assert len(said) < 150


@pytest.mark.parametrize(("text", "seconds"), [("30d", 30 * 86400), ("1h30m", 5400), ("0", 0)])
def test_a_duration_is_that_of_prometheus(text, seconds):
    assert parameters(f"age={text}").duration("age") == seconds * 10**9


@pytest.mark.parametrize("text", ["", "30", "-1h", "1x", "1h" * 100])
def test_any_other_duration_is_refused_with_examples(text):
    assert "expected a duration, for example 30d or 1h30m" in reason(
        parameters(f"age={text}").duration, "age"
    )


def test_a_choice_is_one_of_those_that_there_are():
    assert parameters("order=job").choice("order", ["job", "age"]) == "job"
    assert reason(parameters("order=size").choice, "order", ["job", "age"]) == (
        "invalid parameter \"order\": position 1: expected one of job, age, found 'size'"
    )


def test_what_is_not_given_has_its_default():
    nothing = parameters("")
    assert nothing.number("n", 5, least=1, most=9) == 5
    assert (nothing.boolean("n"), nothing.duration("n"), nothing.choice("n", ["a"])) == (None,) * 3


def test_what_is_given_twice_is_refused_where_one_is_meant():
    assert reason(parameters("flag=true&flag=true").boolean, "flag") == (
        'invalid parameter "flag": given more than once'
    )


def test_a_query_has_a_limited_number_of_parameters():
    parameters("&".join(["a=1"] * 100)).only(["a"])
    assert reason(parameters, "&".join(["a=1"] * 101)) == (
        'invalid parameter "a": a query has at most 100 parameters'
    )


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("a=%C3%A9+%2B%26", "é +&"),
        ("a=100%", "100%"),
        ("a=%zz+b", "%zz b"),
        ("a=%FF", "\udcff"),
        ("a=b=c", "b=c"),
        ("&&a", ""),
        ("%61=\\x41", "\\x41"),
    ],
)
def test_what_is_not_percent_encoded_properly_is_taken_as_it_stands(query, value):
    assert query_parameters({"type": "http", "query_string": query.encode()}, 9) == [("a", value)]
