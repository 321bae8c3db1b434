"""Every error this package raises.

PushgateError
├── InvalidPush               the request is malformed
│   ├── InvalidGroupingKey    the path does not name a group
│   ├── InvalidBody           the body is malformed for its type or its encoding
│   │   └── TextFormatError   it is text, and the error names the line
│   └── UnsupportedEncoding   its Content-Encoding is not supported
├── InvalidParameter          a parameter of a query is wrong
├── InvalidSelector           a selector of groups is malformed
├── LimitExceeded             a limit of the server was exceeded; the error names the flag
│   └── StoreFull             there are as many groups or series as there may be
├── InconsistentPush          well-formed, but it contradicts itself or what is stored
│   └── ConflictingPush       only other groups are in its way
├── JournalFailed             the disk, or the database, could not store the push
├── StaleCopy                 what is in memory is too old to be shown
├── StartupError              the server can't start; the message says what to do
│   ├── UsageError            its command line is wrong
│   ├── DamagedFile           its persistence file is damaged
│   └── NotWritable           its persistence file can't be created
└── PushgatewayError          the client could not push
    ├── ConfigurationError    a setting is wrong (a ValueError)
    ├── EncodingError         the metrics cannot be sent as they are (a ValueError)
    ├── PushConnectionError   no answer: refused, DNS, reset, TLS (a ConnectionError)
    │   └── PushTimeoutError  no answer in time (a TimeoutError)
    └── PushHTTPError         the gateway answered with an error (an OSError)
        ├── PushRejectedError 400, 413, 415: this push will never be accepted
        ├── PushAuthError     401, 403, 407
        ├── PushRedirectError 3xx that is not followed
        └── PushServerError   5xx, 429: it may be accepted later
"""

from collections.abc import Mapping
from typing import Any


class PushgateError(Exception):
    """Base of everything this package raises on purpose.

    *advice* are further lines for whoever sent the request: what is in the way, what to do.
    """

    advice: tuple[str, ...] = ()

    def explained(self, most: int) -> str:
        """Return the message and, on lines of its own, the advice, in *most* characters.

        If that is not enough, the message is cut before the advice is.
        """
        advice = "".join(f"\n{line}" for line in self.advice)[: most // 2]
        return str(self)[: most - len(advice)] + advice

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the attributes too: an error may come from a worker process.

        By default, pickle calls the constructor with the message alone, which not all accept.
        """
        return type(self).__new__, (type(self), *self.args), self.__dict__


class InvalidPush(PushgateError):
    """The request is malformed; nothing was stored."""


class InvalidGroupingKey(InvalidPush):
    """The path does not name a group."""


class InvalidBody(InvalidPush):
    """The body is malformed for its content type or its encoding."""


class TextFormatError(InvalidBody):
    """A text body is malformed on line *line* (counted from 1)."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"text format parsing error in line {line}: {reason}")
        self.line = line
        self.reason = reason


class UnsupportedEncoding(InvalidPush):
    """The Content-Encoding of the body is not supported."""


class InvalidParameter(PushgateError):
    """The parameter *name* of a query is wrong."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f'invalid parameter "{name}": {reason}')
        self.name = name
        self.reason = reason


class InvalidSelector(PushgateError):
    """A selector of groups is malformed at *position*, in characters, from 1."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"position {position}: {reason}")
        self.position = position
        self.reason = reason


class LimitExceeded(PushgateError):
    """A limit of the server was exceeded: *limit* is ``body-bytes`` for ``--limit.body-bytes``."""

    def __init__(self, message: str, limit: str, *, status: int = 413) -> None:
        super().__init__(f"{message} (--limit.{limit})")
        self.limit = limit
        self.status = status


class StoreFull(LimitExceeded):
    """There are as many groups or series as there may be; with fewer, the push is accepted."""

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message, limit, status=429)


class InconsistentPush(PushgateError):
    """The push contradicts itself, the stored groups or the server's own metrics.

    ``str()`` is the reference's text.
    """

    def __init__(self, message: str, *, advice: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.advice = advice


class ConflictingPush(InconsistentPush):
    """The push contradicts other groups, and would be accepted if they were gone."""


class JournalFailed(PushgateError):
    """The journal could not be written; *cause* says why, in one line.

    The push was not stored, and no crash brings it back. If this is *unknown*, the disk failed
    in a way that may have kept the push: the server does not show it, but may do so after a crash.
    """

    def __init__(self, cause: str, *, unknown: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.unknown = unknown

    def __str__(self) -> str:
        if self.unknown:
            return f"{self.cause}; it is unknown whether the push is stored, so push again"
        return f"{self.cause}; the push is not stored, so push again"


class StaleCopy(PushgateError):
    """The database does not answer, and what is in memory is too old to be shown instead."""


class StartupError(PushgateError):
    """The server can't start. The message is one line and says what to do."""


class DamagedFile(StartupError):
    """The persistence file is damaged. It was not touched."""


class NotWritable(StartupError):
    """There is no persistence file yet, and none can be created in its directory."""


class PushgatewayError(PushgateError):
    """The client could not push; base of everything a push raises.

    Attributes:
        method: HTTP method of the push; empty if none was chosen yet.
        url: The URL it was sent to, without credentials.
        job: The job of the group.
        grouping_key: The other labels of the group.
        attempts: Requests made before giving up.
        elapsed: Seconds spent.
        hint: What to do about it; empty if the message says it all.
    """

    method: str = ""
    url: str = ""
    job: str = ""
    grouping_key: Mapping[str, str] = {}
    attempts: int = 0
    elapsed: float = 0.0
    hint: str = ""

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.hint})" if self.hint else super().__str__()


class ConfigurationError(PushgatewayError, ValueError):
    """A setting is wrong. The message never shows the value of a setting that is text.

    Attributes:
        key: The property or the argument; empty if unknown.
        source: Where the value came from (``file:line``, or a variable); empty if unknown.
    """

    def __init__(self, message: str, *, key: str = "", source: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.source = ""
        self.comes_from(source)

    def comes_from(self, source: str) -> None:
        """Say that the value comes from *source*, if it is known."""
        if source:
            self.source = source
            self.add_note(f"The value comes from {source}.")


class EncodingError(PushgatewayError, ValueError):
    """The metrics cannot be sent as they are: clash, duplicate, bad name, timestamp."""


class PushConnectionError(PushgatewayError, ConnectionError):
    """The gateway did not answer: refused, unknown host, reset, TLS.

    Attributes:
        tls: Whether the failure is one of TLS, such as an untrusted certificate.
        sent: Whether the gateway may have received the push all the same.
        final: Whether trying again cannot help.
    """

    tls: bool = False
    sent: bool = False
    final: bool = False


class PushTimeoutError(PushConnectionError, TimeoutError):
    """The gateway did not answer in time.

    Attributes:
        phase: The limit that passed: ``connect``, ``read`` or ``deadline``.
    """

    phase: str = "read"


class PushHTTPError(PushgatewayError, OSError):
    """The gateway answered with a status other than 2xx.

    Attributes:
        status: The HTTP status.
        reason: Its reason phrase.
        body: The whole body of the answer.
        headers: The headers of the answer, names in lower case.
    """

    status: int = 0
    reason: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = {}


class PushRejectedError(PushHTTPError):
    """400, 413, 415 and similar: the gateway will never accept this push."""


class PushAuthError(PushHTTPError):
    """401, 403 or 407: the credentials are missing or wrong."""


class PushRedirectError(PushHTTPError):
    """A redirect that is not followed, because it leads elsewhere or too far."""


class PushServerError(PushHTTPError):
    """5xx or 429: the gateway, or a proxy in front of it, could not accept the push now."""


class UsageError(StartupError):
    """The command line is wrong. The message is that of the Go server; the exit status is 1."""


def needs_server(what: str, error: ModuleNotFoundError) -> str:
    """Return the message that *what* needs a library of the server, which *error* is about."""
    extras = "server,postgres" if error.name == "psycopg" else "server"
    return (
        f"{what} needs the server ({error.name} is missing): run pip install '.[{extras}]' in a"
        " checkout, or install a wheel with that extra"
    )
