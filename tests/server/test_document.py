import json

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import StartupError
from pushgate.server.document import Document, Nanoseconds, Section, Switch, Whole, check_known


class Inner(Section, frozen=True, kw_only=True):
    name: str
    on: Switch = Switch(False)

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError("this name is bad")


class Outer(Section, frozen=True, kw_only=True):
    inner: tuple[Inner, ...] = ()
    either: str | tuple[str, ...] = ""
    wait: Nanoseconds = Nanoseconds(0)
    size: Whole = Whole(0)


def read(text: str) -> Outer:
    document = Document(text.encode())
    return document.convert(document.data, Outer)


def refusal(text: str) -> str:
    with pytest.raises(StartupError) as caught:
        read(text)
    return str(caught.value)


# A list of ten lists of ten lists …, in ten short lines.
LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: b: c\n", "line 1: mapping values are not allowed in this context"),
        ("a: [\n", "line 2: did not find expected node content"),
        ("a:\n\tcert: x\n", "line 2: found character that cannot start any token"),
        ("a:\n  cert: x\n foo: y\n", "line 3: did not find expected key"),
        ("%foo\n", "line 1: found unknown directive name"),
        ("a\0b", "control characters are not allowed"),
        ("[" * 1000 + "]" * 1000, "nested more than 50 deep"),
        ("a: &a [*a]", "nested more than 50 deep"),
        (LAUGHS, "more than 100000 values"),
    ],
)
def test_what_is_not_a_sensible_document_is_refused(text, complaint):
    assert refusal(text) == f"yaml: {complaint}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("wait: 1s\nsiez: 1\n", "line 2: unknown key siez, did you mean size?"),
        ("inner:\n- nmae: a\n", "line 2: inner[0]: unknown key nmae, did you mean name?"),
        ("inner:\n- name: a\n- on: yes\n", "line 3: inner[1]: name is missing"),
        ("inner:\n- name: a\n- name: bad\n", "line 3: inner[1]: this name is bad"),
        ("inner: 1\n", "line 1: inner: expected a list, got a string"),
        ("either: {a: b}", "line 1: either: expected a string or a list, got a mapping"),
        ("either:\n  - a\n  - [b]\n", "line 3: either[1]: expected a string, got a list"),
        ("size: 1\nsize: 2\n", "line 2: the key size is given twice"),
        ("? [a]\n: 1\n", "line 1: a key must be a string"),
    ],
)
def test_an_error_names_line_and_key(text, complaint):
    assert refusal(text) == complaint


@pytest.mark.parametrize(
    ("text", "value"), [("yes", 1), ("On", 1), ("true", 1), ("no", 0), ("off", 0), ("False", 0)]
)
def test_a_switch_has_every_spelling_of_yaml(text, value):
    assert read(f"inner: [{{name: a, on: {text}}}]").inner[0].on == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-7", -7), ("0x10", 16), ("1_000", 1000), ("2.9", 2), (str(2**63 - 1), 2**63 - 1)],
)
def test_a_whole_number_is_cut_like_in_go(text, value):
    assert read(f"size: {text}").size == value


@pytest.mark.parametrize(("text", "value"), [("5", 5), ("1m30s", 90 * 10**9), ("'1s'", 10**9)])
def test_a_duration_has_a_unit_or_is_in_nanoseconds(text, value):
    assert read(f"wait: {text}").wait == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("size: x", "size: expected a whole number"),
        ("size: '5'", "size: expected a whole number"),
        ("size: true", "size: expected a whole number"),
        ("size: .nan", "size: expected a whole number"),
        ("size: .inf", "size: the number is too large"),
        (f"size: {2**63}", "size: the number is too large"),
        ("size: " + "9" * 5000, "size: expected a whole number"),
        ("wait: '5'", 'wait: time: missing unit in duration "5"'),
        ("wait: true", "wait: expected a whole number"),
        ("inner: [{name: a, on: 1}]", "inner[0].on: expected true or false"),
    ],
)
def test_what_is_no_number_is_refused(text, complaint):
    assert refusal(text) == f"line 1: {complaint}"


@pytest.mark.parametrize("text", ["no", "007", "1e3", "0x10", ".5", "12:30:45"])
def test_a_text_is_as_it_is_written(text):
    assert read(f"either: {text}").either == text


def test_no_value_shows_in_a_repr():
    assert repr(read("inner: [{name: t0ps3cret}]")) == "Outer(...)"


TEXTS = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=5)
TREES = st.recursive(
    st.none() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=20,
)


@pytest.mark.parametrize("nothing", ["", "# a comment", "~"])
def test_a_document_of_nothing_is_an_empty_mapping(nothing):
    assert Document(nothing.encode()).data == {}


@given(TREES.filter(lambda tree: tree is not None))
def test_data_is_what_was_written(tree):
    assert Document(json.dumps(tree).encode()).data == tree


@given(st.integers() | st.floats() | st.booleans())
def test_a_number_keeps_its_text(number):
    written = json.dumps(number)
    assert Document(f"a: {written}".encode()).data == {"a": written}


class Credentials(Section):
    password: str


def test_a_section_does_not_show_what_may_be_secret():
    assert repr(Credentials(password="secret")) == "Credentials(...)"


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (["push", "read"], "unknown permission: pusch; use push or read"),
        ([f"read{n}" for n in range(20)] + ["push"], "unknown permission: pusch; use push"),
        ([f"read{n}" for n in range(20)], "unknown permission: pusch"),
    ],
    ids=["a few", "many", "none is close"],
)
def test_an_unknown_name_is_refused_with_what_may_have_been_meant(known, message):
    check_known("permission", "push", [*known, "push"])
    with pytest.raises(ValueError, match="unknown") as refused:
        check_known("permission", "pusch", known)
    assert str(refused.value) == message
