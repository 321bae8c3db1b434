"""The command ``pushgate``. Each subcommand is imported when it is used."""

from importlib import import_module

import click

from pushgate import __version__

# Subcommand: where its click command is.
_COMMANDS = {
    "delete": "pushgate.cli.commands:delete",
    "import": "pushgate.cli.import_:import_groups",
    "push": "pushgate.cli.commands:push",
    "run": "pushgate.cli.run:run",
    "serve": "pushgate.cli.serve:serve",
    "set": "pushgate.cli.commands:set_values",
    "status": "pushgate.cli.commands:status",
    "url": "pushgate.cli.commands:url",
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pushgate")
def main() -> None:
    """Push metrics of batch jobs to a Prometheus Pushgateway, or be one.

    Exit status: 0 success, 2 usage or configuration, 3 the push was refused, 4 the
    gateway cannot be reached or is overloaded, 5 the credentials are missing or wrong.
    """
