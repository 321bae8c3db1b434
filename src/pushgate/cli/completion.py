"""``pushgate completion``: scripts that complete command lines."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

_VARIABLE = "_PUSHGATE_COMPLETE"


# click runs the bash of this machine for its version.
class _Bash(BashComplete):
    @staticmethod
    def _check_version() -> None:
        """Skip the check: the script may be for another machine."""


_SHELLS: dict[str, type[ShellComplete]] = {"bash": _Bash, "zsh": ZshComplete, "fish": FishComplete}


@click.command()
@click.argument("shell", type=click.Choice(sorted(_SHELLS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes command lines in SHELL.

    \b
    bash:  eval "$(pushgate completion bash)"     in ~/.bashrc
    zsh:   eval "$(pushgate completion zsh)"      in ~/.zshrc
    fish:  pushgate completion fish > ~/.config/fish/completions/pushgate.fish
    """  # noqa: D301  click's mark for lines that stay as they are
    root = context.find_root().command
    click.echo(_SHELLS[shell](root, {}, "pushgate", _VARIABLE).source())
