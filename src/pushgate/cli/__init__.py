"""The command ``pushgate``."""

import atexit
import gc

# More objects than any command imports.
_MANY_OBJECTS = 100_000


def main() -> None:
    """Run the command ``pushgate`` with the arguments of this program."""
    # Imports make many objects, and none of them is garbage. To look for it all the same, now and
    # at the exit, would take a quarter of the CPU time of `pushgate run -- true`.
    gc.set_threshold(_MANY_OBJECTS)
    atexit.register(gc.freeze)
    from pushgate.cli.commands import pushgate

    pushgate()
