"""Every error this package raises.

PushgateError
├── InvalidPush               the request is not what it promises to be
│   ├── InvalidGroupingKey    the path does not name a group
│   ├── InvalidBody           the body breaks its format or its encoding
│   │   └── TextFormatError   ... and we can name the line
│   └── UnsupportedEncoding   a Content-Encoding we do not decode
├── LimitExceeded             a limit of the server was passed; it names its flag
├── InconsistentPush          well-formed, but it contradicts itself or what is stored
├── JournalFailed             the disk did not take the push
└── StartupError              the server can't start; the message says what to do
"""


class PushgateError(Exception):
    """Base of everything this package raises on purpose."""


class InvalidPush(PushgateError):
    """The request is not what it promises to be; nothing was stored."""


class InvalidGroupingKey(InvalidPush):
    """The path does not name a group."""


class InvalidBody(InvalidPush):
    """The body is not what its content type or encoding promises."""


class TextFormatError(InvalidBody):
    """A text body broke the grammar on a known line (counted from 1)."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"text format parsing error in line {line}: {reason}")
        self.line = line
        self.reason = reason


class UnsupportedEncoding(InvalidPush):
    """The body has a Content-Encoding that we do not decode."""


class LimitExceeded(PushgateError):
    """A limit of the server was passed. *flag* is the setting that moves it."""

    def __init__(self, message: str, *, flag: str, status: int = 413) -> None:
        super().__init__(message)
        self.flag = flag
        self.status = status


class InconsistentPush(PushgateError):
    """The push contradicts itself, the stored groups or the server's own metrics.

    ``str()`` is the reference's text; *advice* are further lines: who holds the
    conflicting name, and what to do.
    """

    def __init__(self, message: str, *, advice: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.advice = advice


class JournalFailed(PushgateError):
    """The journal could not be written; the push was not stored."""


class StartupError(PushgateError):
    """The server can't start. The message is one line and says what to do."""
