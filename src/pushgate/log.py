"""Messages of the client for the program's log; some are logged once in a process.

``logging`` is imported with the first message: most pushes have none, and it takes longer to
import than a push takes.
"""

from collections.abc import Callable
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

_CLIENT = "pushgate.client"
_logged: set[tuple[str, str]] = set()
_preparations: list[Callable[[], object]] = []


def log(level: Level, message: str, *arguments: object, logger: str = _CLIENT) -> None:
    """Log *message* with its %-style *arguments*."""
    import logging

    for prepare in _preparations:
        prepare()
    getattr(logging.getLogger(logger), level)(message, *arguments, stacklevel=2)


def log_once(level: Level, message: str, *, logger: str = _CLIENT) -> None:
    """Log *message*, once in a process."""
    if (logger, message) not in _logged:
        _logged.add((logger, message))
        log(level, "%s", message, logger=logger)


def warn_once(message: str) -> None:
    """Log *message* as a warning, once in a process."""
    log_once("warning", message)


def before_messages(prepare: Callable[[], object]) -> None:
    """Call *prepare* before each message: a program of ours decides there where messages go."""
    _preparations[:] = [prepare]
