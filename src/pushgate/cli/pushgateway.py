"""The command ``pushgateway``: the server with the Go Pushgateway's command line."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pushgate.errors import UsageError

_MISSING = (
    "{prog}: error: the server is not installed ({name} is missing): "
    "run pip install 'pushgate[server]'\n"
)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the server with the arguments *argv*; return the exit status.

    ``--help`` and ``--version`` work where only the client is installed.
    """
    from pushgate.server.flags import TextRequested
    from pushgate.server.settings import parse

    prog = prog or Path(sys.argv[0]).name
    try:
        settings = parse(sys.argv[1:] if argv is None else argv, prog)
    except TextRequested as requested:
        sys.stdout.write(requested.text)
        return 0
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        from pushgate.server.run import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pushgate"):
            raise
        sys.stderr.write(_MISSING.format(prog=prog, name=error.name))
        return 1
    return serve(settings)
