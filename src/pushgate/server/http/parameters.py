"""The query string of a request, parameter by parameter; a mistake is named."""

from collections.abc import Collection
from urllib.parse import parse_qsl

from starlette.types import Scope

from pushgate.errors import InvalidParameter, InvalidSelector
from pushgate.model.duration import parse_duration
from pushgate.server.store.selector import Selector, parse_selector

_MAX_PARAMETERS = 100
_MAX_DURATION = 100
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class Parameters:
    """The parameters of the request *scope*. Each method raises :exc:`InvalidParameter`."""

    def __init__(self, scope: Scope) -> None:
        query = scope["query_string"].decode("utf-8", "surrogateescape")
        try:
            self._pairs = parse_qsl(
                query,
                keep_blank_values=True,
                errors="surrogateescape",
                max_num_fields=_MAX_PARAMETERS,
            )
        except ValueError:
            reason = f"a query has at most {_MAX_PARAMETERS} parameters"
            raise InvalidParameter(query.partition("=")[0][:_MAX_PARAMETERS], reason) from None

    def only(self, known: Collection[str]) -> None:
        """Refuse parameters that are not *known*."""
        for name, _ in self._pairs:
            if name not in known:
                raise InvalidParameter(name[:100], f"unknown; there are {', '.join(known)}")

    def selectors(self) -> tuple[Selector, ...]:
        """Return the selectors in ``match[]``, which may be given several times."""
        try:
            return tuple(parse_selector(text) for name, text in self._pairs if name == "match[]")
        except InvalidSelector as error:
            raise InvalidParameter("match[]", str(error)) from None

    def boolean(self, name: str) -> bool | None:
        """Return a parameter that is true or false; None if it is not given."""
        text = self._one(name)
        if text is None:
            return None
        if text not in _BOOLEANS:
            raise _unexpected(name, text, "true or false")
        return _BOOLEANS[text]

    def number(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a whole number between *least* and *most*."""
        text = self._one(name)
        if text is None:
            return default
        is_number = text.isascii() and text.isdigit() and len(text) < 20
        if not is_number or not least <= int(text) <= most:
            raise _unexpected(name, text, f"a whole number from {least} to {most}")
        return int(text)

    def duration(self, name: str) -> int | None:
        """Return a duration in nanoseconds; None if it is not given."""
        text = self._one(name)
        if text is None:
            return None
        try:
            duration = parse_duration(text) if len(text) <= _MAX_DURATION else -1
        except ValueError:
            duration = -1
        if duration < 0:
            raise _unexpected(name, text, "a duration, for example 30d or 1h30m")
        return duration

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """Return a parameter that is one of *choices*; None if it is not given."""
        text = self._one(name)
        if text is not None and text not in choices:
            raise _unexpected(name, text, f"one of {', '.join(choices)}")
        return text

    def _one(self, name: str) -> str | None:
        values = [value for given, value in self._pairs if given == name]
        if len(values) > 1:
            raise InvalidParameter(name, "given more than once")
        return values[0] if values else None


def _unexpected(name: str, text: str, expected: str) -> InvalidParameter:
    # Errors in selectors name a position; all others are at the first one.
    return InvalidParameter(name, f"position 1: expected {expected}, found {text[:20]!a}")
