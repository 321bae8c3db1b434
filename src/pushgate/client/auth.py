"""Credentials, as Authorization headers."""

import base64
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from stat import S_ISFIFO

from pushgate.client.collect import described
from pushgate.client.options import Options
from pushgate.errors import ConfigurationError, PushgatewayError
from pushgate.properties.files import FilePath, read_text

# RFC 9110, 5.1 and 5.5: a token, and visible characters with blanks and tabs in between.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = r"(?:[!-~](?:[\t -~]*[!-~])?)?"


class Fixed:
    """A header that never changes."""

    renewable = False

    def __init__(self, value: str) -> None:
        self._value = value

    def header(self, *, renew: bool) -> str:  # noqa: ARG002  there is no other
        return self._value


class FromCallable:
    """A bearer token from a function of the user, perhaps a coroutine function."""

    renewable = True

    def __init__(self, source: Callable[[], str | Awaitable[str]]) -> None:
        self._source = source

    def header(self, *, renew: bool) -> str | Awaitable[str]:  # noqa: ARG002  asked each time
        with blamed_on("bearer_token"):
            token = self._source()
        return token if isinstance(token, Awaitable) else bearer(token)


class FromFile:
    """A bearer token in a file that may be replaced, as Kubernetes does.

    Attributes:
        renewable: False once it turns out to be a pipe, which gives its token only once.
    """

    def __init__(self, path: FilePath) -> None:
        self.renewable = True
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._value = ""

    def header(self, *, renew: bool) -> str:
        if not self.renewable:
            return self._value
        try:
            stat = os.stat(self._path)
            # Kubernetes replaces a file by moving a link, which need not change its time.
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            # After a 401 it is read anyway: a file can change within the resolution of its time.
            if renew or seen != self._seen:
                called = f"The bearer token file {os.fspath(self._path)}"
                self._value = bearer(read_text(self._path), called=called, key="bearer_token_file")
                self._seen = seen
                self.renewable = not S_ISFIFO(stat.st_mode)
        except OSError as error:
            raise ConfigurationError(
                f"The bearer token file {os.fspath(self._path)} cannot be read: {error.strerror}.",
                key="bearer_token_file",
            ) from error
        return self._value


Credentials = Fixed | FromCallable | FromFile
"""A source of Authorization headers: ``header(renew=True)`` says that the last one was refused.

An awaitable gives a bearer token, not a header. A source is renewable if its header may be
another one after a 401.
"""


@contextmanager
def blamed_on(option: str) -> Iterator[None]:
    """Raise ConfigurationError if the block, which calls the function of *option*, fails."""
    try:
        yield
    except PushgatewayError:
        raise
    except Exception as error:
        message = f"The {option} function failed: {described(error)}"
        raise ConfigurationError(message, key=option) from error


def basic(user: str, password: str) -> str:
    """Return the header of basic authentication, in UTF-8 (RFC 7617, 2.1)."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def bearer(token: str, *, called: str = "The bearer token", key: str = "bearer_token") -> str:
    """Return the header of a bearer token (RFC 6750, 2.1). An error says what it is *called*.

    Blanks around the token are dropped: secrets are often stored with a line feed at the end.

    Raises:
        ConfigurationError: It is empty, or no text that a header can have.
    """
    if not isinstance(token, str):  # a function of the user's may return anything
        raise ConfigurationError(
            f"The bearer_token function returned {type(token).__name__} instead of text.",
            key="bearer_token",
        )
    token = token.strip()
    what = _unsendable(token) if token else "is empty"
    if what:
        raise ConfigurationError(f"{called} {what}.", key=key)
    return f"Bearer {token}"


def checked_header(name: str, value: str) -> str:
    """Return *value* if it can be sent in a header called *name*.

    Raises:
        ConfigurationError: It cannot; the message has no value, which may be a secret.
    """
    if not isinstance(value, str):
        raise ConfigurationError(
            f"The header {name!r} is {type(value).__name__} instead of text.", key="headers"
        )
    if not re.fullmatch(_NAME, name):
        raise ConfigurationError(f"No header can have the name {name!r}.", key="headers")
    if what := _unsendable(value):
        raise ConfigurationError(f"The header {name!r} {what}.", key="headers")
    return value


def _unsendable(value: str) -> str:
    """Return why *value* can be no header, empty if it can."""
    # A line break would begin another header, or the body.
    if re.fullmatch(_VALUE, value):
        return ""
    if not value.isascii():
        return "is not ASCII"
    return "contains a line break or control character, or begins or ends with a blank"


def credentials_of(options: Options, in_address: tuple[str, str] | None) -> Credentials | None:
    """Return the credentials in the options or the address, if there are any.

    Raises:
        ConfigurationError: There is more than one.
    """
    token, file = options.bearer_token, options.bearer_token_file
    # Options.effective() ignores credentials of the properties if the program gives its own.
    given = (options.basic_auth, token, file, in_address)
    if sum(value is not None for value in given) > 1:
        raise ConfigurationError(
            "Give one of basic_auth, bearer_token, bearer_token_file and user:password@address.",
            key="basic_auth" if in_address is None else "address",
        )
    names = {name.lower() for name in options.headers or {}}
    if any(value is not None for value in given) and "authorization" in names:
        raise ConfigurationError(
            "Give the Authorization header or credentials, not both.", key="headers"
        )
    pair = options.basic_auth or in_address
    if pair is not None:
        return Fixed(basic(*pair))
    if file is not None:
        return FromFile(file)
    if isinstance(token, str):
        return Fixed(bearer(token))
    return None if token is None else FromCallable(token)
