import subprocess
import sys
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from pushgate.cli.options import Duration, option, takes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30), ("1.5", 1.5), ("500ms", 0.5), ("90s", 90), ("1h30m", 5400), ("1d", 86400)],
)
def test_a_duration_is_seconds_or_has_units(text, seconds):
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "-5s", "inf", "nan", "5x"])
def test_what_is_no_time_above_zero_is_no_duration(text):
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


@dataclass(frozen=True, kw_only=True)
class Base:
    size: int = option("--size", "-s", default=3, type=int, help="How many.")


@dataclass(frozen=True, kw_only=True)
class More(Base):
    color: str | None = option("--color", help="Which.")


def test_a_command_takes_sets_of_options_as_dataclasses():
    seen = []

    @click.command()
    @takes(more=More)
    @click.argument("word")
    def command(word, more):
        seen.append((word, more))

    done = CliRunner().invoke(command, ["-s", "5", "w"])
    assert done.exit_code == 0
    assert seen == [("w", More(size=5, color=None))]
    shown = CliRunner().invoke(command, ["--help"]).output
    assert shown.index("--size") < shown.index("--color")


def test_a_click_whose_types_are_not_generic_is_new_enough():
    # Before 8.4; other packages of an environment, such as Airflow, may ask for one of those.
    program = "import click; click.ParamType.__class_getitem__ = None; import pushgate.cli.options"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
