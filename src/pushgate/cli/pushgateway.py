"""``pushgate serve`` and ``pushgateway``: the server with the Go Pushgateway's command line."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from pushgate.errors import UsageError, needs_server


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the server with the arguments *argv*; return the exit status.

    ``--help`` and ``--version`` work where only the client is installed.
    """
    from pushgate.server.flags import TextRequested
    from pushgate.server.settings import parse

    prog = prog or Path(sys.argv[0]).name
    try:
        settings = parse(sys.argv[1:] if argv is None else argv, prog, os.environ)
    except TextRequested as requested:
        try:
            click.echo(requested.text, nl=False)
        except OSError as error:
            sys.stdout = None  # or Python would flush it again, and fail again
            click.echo(f"{prog}: error: cannot write to stdout: {error.strerror}", err=True)
            return 1
        return 0
    except UsageError as error:
        click.echo(str(error), err=True)
        return 1
    # Imported late: a command line that is wrong, or --help, needs no library of the server.
    try:
        from pushgate.server.run import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pushgate"):
            raise
        click.echo(f"{prog}: error: {needs_server(prog, error)}", err=True)
        return 1
    return serve(settings)


class _Serve(click.Command):
    """Passes its arguments on to the server, and completes the server's flags."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002  click's signature
        from pushgate.server.settings import FLAGS

        names = [
            ("--help", ""),
            ("--version", ""),
            *((name, flag.help) for flag in FLAGS.values() for name in flag.spellings),
        ]
        return [CompletionItem(n, help=text) for n, text in names if n.startswith(incomplete)]


@click.command(
    cls=_Serve,
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def serve(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Run the gateway; see pushgate serve --help."""
    context.exit(main(arguments, "pushgate serve"))
