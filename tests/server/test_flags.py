"""Flags of any program, read in the manner of the Go server."""

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from pushgate.errors import UsageError
from pushgate.server import flags
from pushgate.server.flags import Flag, Kind, TextRequested, read_arguments

FLAGS = {
    "color": Flag("color", flags.TEXT, "red", "The color."),
    "is_loud": Flag("loud", flags.SWITCH, "", "Whether to be loud."),
    "names": Flag("name", flags.TEXTS, "x", "A name."),
    "size": Flag("max.size", flags.SIZE, "1KiB", "The size."),
}


def read(*argv: str):
    return read_arguments(argv, "program", FLAGS, "1.0")


def test_only_what_is_given_has_a_value():
    assert read() == {}
    assert read("--color=", "--no-loud", "--name", "a", "--name=b", "--max.size=2MiB") == {
        "color": "",
        "is_loud": False,
        "names": ("a", "b"),
        "size": 2 << 20,
    }


def requested(*argv: str) -> str:
    with pytest.raises(TextRequested) as request:
        read(*argv)
    return request.value.text


def test_a_text_is_requested():
    assert requested("--loud", "--version") == "1.0"
    shown = requested("--loud", "-h")
    assert "--loud, --no-loud  Whether to be loud.\n" in shown
    assert "--color red        The color.\n" in shown


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--colo=x"], "unrecognized arguments: --colo=x"),  # no abbreviations
        (["--color=a", "--color=b"], "argument --color: it cannot be repeated"),
        (["--max.size=many"], 'argument --max.size: invalid size "many"'),
    ],
)
def test_a_mistake_is_one_line_that_names_the_flag(argv, message):
    with pytest.raises(UsageError, match="program: error: ") as caught:
        read(*argv)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_are_texts_of_their_kind():
    assert [flag.default_value for flag in FLAGS.values()] == ["red", False, ("x",), 1024]
    assert [flag.text(flag.default_value) for flag in FLAGS.values()] == [
        "red",
        "false",
        "x",
        "1KiB",
    ]


KINDS: list[tuple[Kind, str]] = [
    (flags.DURATION, "1h30m0s"),
    (flags.SIZE, "32MiB"),
    (flags.COUNT, "100000"),
    (flags.NETWORKS, "10.0.0.0/8,::1/128"),
    (flags.LOG_LEVEL, "warn"),
    (flags.LOG_FORMAT, "json"),
    (flags.URL, "https://example.org/a"),
]


@pytest.mark.parametrize(("kind", "text"), KINDS)
def test_a_value_is_shown_as_it_was_written(kind, text):
    assert kind.write(kind.read(text)) == text


@given(st.sampled_from([kind for kind, _ in KINDS]), st.text())
def test_any_text_has_a_value_or_a_reason(kind, text):
    with suppress(ValueError):
        assert isinstance(kind.write(kind.read(text)), str)


def test_passwords_in_urls_are_not_shown():
    assert flags.URL.write("https://user:secret@example.org/a") == (
        "https://user:xxxxx@example.org/a"
    )
