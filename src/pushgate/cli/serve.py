"""``pushgate serve``: the server, with the flags of the Go Pushgateway."""

import click
from click.shell_completion import CompletionItem

from pushgate.cli import pushgateway


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
    context.exit(pushgateway.main(arguments, "pushgate serve"))
