"""The client's logger, and messages that a process needs once, however often it pushes."""

import logging

log = logging.getLogger("pushgate.client")
_logged: set[str] = set()


def log_once(level: int, message: str) -> None:
    """Log *message*, but never twice in a process."""
    if message not in _logged:
        _logged.add(message)
        log.log(level, "%s", message)


def warn_once(message: str) -> None:
    """Log *message* as a warning, but never twice in a process."""
    log_once(logging.WARNING, message)
