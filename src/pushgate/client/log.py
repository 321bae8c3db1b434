"""The client's logger, and messages that are logged once in a process."""

import logging

log = logging.getLogger("pushgate.client")
_logged: set[str] = set()


def log_once(level: int, message: str) -> None:
    """Log *message*, once in a process."""
    if message not in _logged:
        _logged.add(message)
        log.log(level, "%s", message)


def warn_once(message: str) -> None:
    """Log *message* as a warning, once in a process."""
    log_once(logging.WARNING, message)
