"""``pushgate check-rules``: whether a rules file is valid."""

from pathlib import Path

import click

from pushgate.cli.messages import counted
from pushgate.errors import StartupError


@click.command("check-rules")
@click.argument("file", type=click.Path(path_type=Path))
def check_rules(file: Path) -> None:
    """Check a rules file for the server's flag --push.rules-file."""
    from pushgate.server.live import read_file
    from pushgate.server.rules import parse

    try:
        rules = parse(read_file(file))
    except StartupError as error:
        raise StartupError(f"{file}: {error}") from error
    click.echo(f"{file}: {counted(len(rules), 'rule')}, valid")
