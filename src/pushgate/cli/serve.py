"""``pushgate serve``: the server, under the flags of the Go Pushgateway."""

import click

from pushgate.cli import pushgateway


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def serve(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Run the gateway; see: pushgate serve --help."""
    context.exit(pushgateway.main(arguments, "pushgate serve"))
