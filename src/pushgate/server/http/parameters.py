"""Reads the parameters of a query string, and says which one is wrong and why."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from starlette.types import Scope

from pushgate.errors import InvalidParameter, InvalidSelector
from pushgate.model.duration import parse_duration
from pushgate.model.grouping import unpercent
from pushgate.model.slices import Sliced
from pushgate.server.http.stream import in_steps
from pushgate.server.store.selector import Selector, parsing

_T = TypeVar("_T")

MAX_DURATION_LENGTH: Final = 100
"""Longer durations are not read."""
_MAX_PARAMETERS = 100
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def query_parameters(scope: Scope, most: int) -> list[tuple[str, str]]:
    """Return names and values in the query string of *scope*.

    What is not percent-encoded properly is taken as it stands. Label values need not be UTF-8:
    other bytes become surrogates.

    Raises:
        ValueError: there are more than *most*.
    """
    query: bytes = scope["query_string"]
    if query.count(b"&") >= most:
        raise ValueError(f"a query has at most {most} parameters")
    pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair]
    return [(_unescaped(name), _unescaped(value)) for name, _, value in pairs]


def _unescaped(text: bytes) -> str:
    text = text.replace(b"+", b" ")
    with suppress(ValueError):
        text = unpercent(text)
    return text.decode("utf-8", "surrogateescape")


class Parameters:
    """The parameters of the request *scope*. Each method raises :exc:`InvalidParameter`."""

    def __init__(self, scope: Scope) -> None:
        try:
            self._pairs = query_parameters(scope, _MAX_PARAMETERS)
        except ValueError as error:
            name = scope["query_string"].partition(b"=")[0][:100].decode()
            raise InvalidParameter(name, str(error)) from None

    def only(self, known: Collection[str]) -> None:
        """Refuse parameters that are not *known*."""
        for name, _ in self._pairs:
            if name not in known:
                raise InvalidParameter(name[:100], f"unknown; expected one of {', '.join(known)}")

    async def selectors(self) -> tuple[Selector, ...]:
        """Return the selectors in ``match[]``, which may be given several times."""
        try:
            return await in_steps(self._parsing())
        except InvalidSelector as error:
            raise InvalidParameter("match[]", str(error)) from None

    def _parsing(self) -> Sliced[tuple[Selector, ...]]:
        selectors = []
        for name, text in self._pairs:
            if name == "match[]":
                selectors.append((yield from parsing(text)))
        return tuple(selectors)

    def boolean(self, name: str) -> bool | None:
        """Return a parameter that is true or false; None if it is not given."""
        return self._one(name, "true or false", _BOOLEANS.__getitem__)

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a whole number between *least* and *most*."""

        def read(text: str) -> int:
            # int() takes signs, blanks and digits of other scripts, and time for long texts.
            if text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most:
                return int(text)
            raise ValueError

        number = self._one(name, f"a whole number from {least} to {most}", read)
        return default if number is None else number

    def duration(self, name: str) -> int | None:
        """Return a duration in nanoseconds; None if it is not given."""

        def read(text: str) -> int:
            if len(text) > MAX_DURATION_LENGTH or (duration := parse_duration(text)) < 0:
                raise ValueError
            return duration

        return self._one(name, "a duration, for example 30d or 1h30m", read)

    def choice(self, name: str, choices: Sequence[str]) -> str | None:
        """Return a parameter that is one of *choices*; None if it is not given."""
        expected = f"one of {', '.join(choices)}"
        return self._one(name, expected, {text: text for text in choices}.__getitem__)

    def _one(self, name: str, expected: str, read: Callable[[str], _T]) -> _T | None:
        """Return what *read* makes of the parameter *name*; it raises if that is not *expected*."""
        values = [value for given, value in self._pairs if given == name]
        if len(values) > 1:
            raise InvalidParameter(name, "given more than once")
        if not values:
            return None
        try:
            return read(values[0])
        except (KeyError, ValueError):
            # Errors in selectors name a position; all others are at the first one.
            reason = f"position 1: expected {expected}, found {values[0][:20]!a}"
            raise InvalidParameter(name, reason) from None
