"""What the commands say on stderr, and the exit status of each kind of failure."""

import re
from collections.abc import Mapping
from contextlib import suppress

import click

from pushgate.errors import (
    ConfigurationError,
    JournalFailed,
    PushAuthError,
    PushConnectionError,
    PushgateError,
    PushServerError,
    StartupError,
)
from pushgate.log import before_messages

OUTPUT_FAILED, USAGE, REJECTED, UNREACHABLE, UNAUTHORIZED = 1, 2, 3, 4, 5
# The first class that fits counts; every other failure is REJECTED.
_STATUSES: Mapping[type[PushgateError], int] = {
    ConfigurationError: USAGE,
    StartupError: USAGE,
    JournalFailed: UNREACHABLE,
    PushAuthError: UNAUTHORIZED,
    PushConnectionError: UNREACHABLE,
    PushServerError: UNREACHABLE,
}
# The client's messages name Python arguments; these are the flags that mean the same.
# No text of the user may look like one, such as the label job="x".
_FLAGS = {
    "timestamps='strip'": "--strip-timestamps",
    "on_label_clash='allow'": "--on-label-clash allow",
    "verify=False": "--insecure",
    "authority with ca_file=": "authority with --ca-file",
    "compression=None": "no --compression",
    "Give instance=": "Give --instance",
    "in grouping_key": "with --group",
    "in the grouping key": "in --group",
    "with job=": "with --job",
    "basic_auth, bearer_token, bearer_token_file": "--user, --bearer-token-file",
    "read_timeout= gives": "-D io.prometheus.exporter.pushgateway.read_timeout_seconds= gives",
    "deadline: ": "--timeout: ",
    "retry: ": "--retries: ",
}
_python_spelling = re.compile("|".join(map(re.escape, _FLAGS)))


def exit_status(error: Exception) -> int:
    """Return the exit status for *error*."""
    return next((status for kind, status in _STATUSES.items() if isinstance(error, kind)), REJECTED)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return *number* and *noun*, in the plural unless it is one; *plural* is an irregular one."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def say(text: str) -> None:
    """Write *text* to stderr, if it can be written."""
    with suppress(OSError):
        click.echo(f"pushgate: {text}", err=True)


def log_to_stderr() -> None:
    """Write the warnings of the client to stderr, as if they were said here."""

    def set_up() -> None:
        import logging  # slow, and most commands have no warning

        logging.basicConfig(format="pushgate: %(message)s", level=logging.WARNING)

    before_messages(set_up)


def report(error: Exception) -> None:
    """Write *error* and its notes to stderr, in the spelling of the command line."""
    # What the journal advises, to push again, is for those who push.
    message = error.cause if isinstance(error, JournalFailed) else str(error)
    for line in (message or repr(error), *getattr(error, "__notes__", ())):
        say(_python_spelling.sub(lambda match: _FLAGS[match[0]], line))
