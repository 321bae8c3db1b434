import re

import pytest
from hypothesis import assume, given, strategies as st
from prometheus_client.openmetrics import exposition

from pushgate import EncodingError
from pushgate.client.escaping import escape_name


@given(st.text(min_size=1), st.sampled_from(["underscores", "dots", "values"]))
def test_names_are_escaped_as_prometheus_client_does(name, scheme):
    assume(not name.endswith("\n"))  # it takes a legal name and a line feed for legal
    assert escape_name("metric", name, scheme) == exposition.escape_metric_name(name, scheme)
    # It takes a legal label name that begins with two underscores for illegal.
    assume(scheme != "values" or not re.fullmatch("__[a-zA-Z0-9_]*", name))
    assert escape_name("label", name, scheme) == exposition.escape_label_name(name, scheme)


@pytest.mark.parametrize(
    ("name", "underscores", "dots", "values"),
    [
        ("http.server", "http_server", "http_dot_server", "U__http_2e_server"),
        ("a_b.c", "a_b_c", "a__b_dot_c", "U__a__b_2e_c"),
        ("1a", "_a", "__a", "U___31_a"),
        ("a:b", "a_b", "a__b", "U__a_3a_b"),
    ],
)
def test_label_names(name, underscores, dots, values):
    assert escape_name("label", name) == underscores
    assert escape_name("label", name, "dots") == dots
    assert escape_name("label", name, "values") == values


def test_a_colon_in_a_label_name_is_refused_when_nothing_replaces_it():
    assert escape_name("label", "ü.x", "allow-utf-8") == "ü.x"
    with pytest.raises(EncodingError, match="breaks every scrape"):
        escape_name("label", "a:b", "allow-utf-8")
