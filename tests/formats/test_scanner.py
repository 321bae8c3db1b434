"""The scanner by itself: what it returns, and where it finds an error.

That it reads as the Go server does, and that the fast readers give what it gives, is in
test_text.py.
"""

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import TextFormatError
from pushgate.formats.scanner import scan
from pushgate.model.names import NameRule


def test_values_are_those_of_the_samples_as_written():
    found = scan(b"a 1.0\n# TYPE c counter\nc +2e0\n", NameRule.LEGACY)
    assert found.values == [b"1.0", b"+2e0"]
    assert found.pushed.numbers == b"1 2"
    assert found.pushed.shape.names == ("a", "c")


@pytest.mark.parametrize("names", NameRule)
def test_names_in_quotes_are_the_same_names(names):
    plain = scan(b'a{b="1",c="2"} 3\n', names).pushed
    for body in (
        b'{"a",b="1",c="2"} 3\n',
        b'{"a","b"="1","c"="2"} 3\n',
        b'{"a", "c"="2",b="1"} 3\n',
    ):
        quoted = scan(body, names).pushed
        assert (quoted.shape, quoted.numbers) == (plain.shape, plain.numbers)


def test_names_beyond_the_legacy_ones_have_to_be_allowed():
    body = '{"ä.b","c d"="e"} 1\n'.encode()
    [family] = scan(body, NameRule.UTF8).pushed.shape.families
    assert (family.name, family.labels) == ("ä.b", ((("c d", "e"),),))
    with pytest.raises(TextFormatError, match="invalid metric name"):
        scan(body, NameRule.LEGACY)


def test_only_a_sample_with_a_time_makes_a_push_timestamped():
    assert not scan(b"a 1\n# a 1 2\n", NameRule.LEGACY).pushed.timestamped
    assert scan(b"a 1\nb 1 2\n", NameRule.LEGACY).pushed.timestamped


@given(st.integers(0, 20))
def test_an_error_has_the_number_of_its_line(lines):
    with pytest.raises(TextFormatError) as error:
        scan(b"".join(b"m%d 1\n" % number for number in range(lines)) + b"- 1\n", NameRule.LEGACY)
    assert error.value.line == lines + 1


def test_an_error_shows_no_more_than_a_part_of_what_was_sent():
    with pytest.raises(TextFormatError, match="expected float as value") as error:
        scan(b"a " + b"x" * 1_000_000 + b"\n", NameRule.LEGACY)
    assert len(str(error.value)) < 5000
