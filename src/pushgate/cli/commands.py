"""The subcommands of ``pushgate``, each imported when it is used."""

import io
import sys
from importlib import import_module
from typing import Any

import click

from pushgate import __version__
from pushgate.cli.messages import OUTPUT_FAILED, exit_status, report, say
from pushgate.cli.options import Pairs, pairs
from pushgate.errors import PushgateError, needs_server

# Subcommand: where its click command is.
_COMMANDS = {
    "backup": "pushgate.cli.backup:backup",
    "check": "pushgate.cli.backup:check",
    "check-rules": "pushgate.cli.check_rules:check_rules",
    "completion": "pushgate.cli.completion:completion",
    "copy": "pushgate.cli.backup:copy",
    "delete": "pushgate.cli.groups:delete",
    "import": "pushgate.cli.import_:import_groups",
    "list": "pushgate.cli.groups:list_groups",
    "prune": "pushgate.cli.groups:prune",
    "push": "pushgate.cli.push:push",
    "restore": "pushgate.cli.backup:restore",
    "run": "pushgate.cli.run:run",
    "serve": "pushgate.cli.pushgateway:serve",
    "set": "pushgate.cli.set_values:set_values",
    "status": "pushgate.cli.status:status",
    "url": "pushgate.cli.url:url",
}
# Of these, a library may be missing where only the client is installed.
_OF_THE_SERVER = {"backup", "check", "check-rules", "copy", "import", "restore", "serve"}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        ctx.invoked_subcommand = cmd_name  # click sets it when its module has been imported
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; report an error of ours, and exit with its status."""
        try:
            return super().invoke(ctx)
        except PushgateError as error:
            report(error)
            sys.exit(exit_status(error))
        except KeyboardInterrupt:
            from pushgate.cli.process import die_of_interrupt

            die_of_interrupt()
        except ModuleNotFoundError as error:
            is_ours = (error.name or "").startswith("pushgate")
            if is_ours or ctx.invoked_subcommand not in _OF_THE_SERVER:
                raise  # the installation is broken, and the traceback says how
            command = f"pushgate {ctx.invoked_subcommand}"
            raise click.ClickException(needs_server(command, error)) from error

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command. A stdout that cannot be written is reported, without a traceback."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A label may have characters that a terminal without UTF-8 cannot show.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            try:
                return super().main(*args, **kwargs)
            finally:  # click ends by an exception, and a full disk shows only at a flush
                if sys.stdout is not None:
                    sys.stdout.flush()
        except OSError as error:
            # An error with a name is about another file.
            say(str(error) if error.filename else f"cannot write to stdout: {error.strerror}")
            sys.stdout = None  # or Python would flush it again, and fail again
            sys.exit(OUTPUT_FAILED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pushgate")
@click.option("--define", "-D", multiple=True, callback=pairs, metavar="KEY=VALUE",
              help="Set a property for the command, as in prometheus.properties; repeatable.",
)  # fmt: skip
@click.pass_context
def pushgate(context: click.Context, define: Pairs) -> None:
    """Push metrics of batch jobs to a Prometheus Pushgateway, or run one.

    Exit status: 0 success, 2 usage or configuration, 3 the push was refused, 4 the
    gateway cannot be reached or is overloaded, 5 the credentials are missing or wrong.
    """
    context.obj = define
