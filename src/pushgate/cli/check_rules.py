"""``pushgate check-rules``: whether a rules file is valid."""

import sys
from pathlib import Path

import click

from pushgate.cli.messages import USAGE, counted, say
from pushgate.errors import StartupError, needs_server


@click.command("check-rules")
@click.argument("file", type=click.Path(path_type=Path))
def check_rules(file: Path) -> None:
    """Check a rules file for the server's flag --push.rules-file."""
    try:
        from pushgate.server.rules.file import load
    except ModuleNotFoundError as error:
        raise click.ClickException(needs_server("pushgate check-rules", error)) from error
    try:
        rules = load(file)
    except StartupError as error:
        say(f"{file}: {error}")
        sys.exit(USAGE)
    click.echo(f"{file}: {counted(len(rules), 'rule')}, valid")
