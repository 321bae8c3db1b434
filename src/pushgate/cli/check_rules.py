"""``pushgate check-rules``: whether a rules file is valid."""

import sys
from pathlib import Path

import click

from pushgate.cli.messages import USAGE, say
from pushgate.errors import StartupError


@click.command("check-rules")
@click.argument("file", type=click.Path(path_type=Path))
def check_rules(file: Path) -> None:
    """Check a rules file, as --push.rules-file of the server takes it."""
    from pushgate.server.rules.file import load

    try:
        rules = load(file)
    except StartupError as error:
        say(f"{file}: {error}")
        sys.exit(USAGE)
    click.echo(f"{file}: {len(rules)} rule{'' if len(rules) == 1 else 's'}, valid")
