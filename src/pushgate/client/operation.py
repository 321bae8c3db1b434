"""Each call to a gateway is written once, for blocking code and for asyncio.

A call is a coroutine. :class:`operation` makes a method of it: a function in a gateway that
blocks, a coroutine function in one that is awaited.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def finished(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Return what *coroutine* returns, for blocking code.

    It needs no event loop, because whatever it awaits blocks instead of being suspended.
    """
    # A coroutine that is never suspended ends at the first send.
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _Result = done.value
        return result
    raise RuntimeError("the coroutine waits for an event loop")


class Blocking:
    """A gateway whose calls block."""


class Awaited:
    """A gateway whose calls are awaited."""


class operation(Generic[_Arguments, _Result]):  # noqa: N801  a decorator
    """A method that carries out the decorated coroutine function."""

    def __init__(
        self, call: Callable[Concatenate[Any, _Arguments], Coroutine[Any, Any, _Result]]
    ) -> None:
        @wraps(call)
        def blocking(*args: Any, **options: Any) -> _Result:
            return finished(call(*args, **options))

        self._awaited, self._blocking = call, blocking
        self.__doc__ = call.__doc__

    @overload
    def __get__(self, gateway: Blocking, kind: type) -> Callable[_Arguments, _Result]: ...
    @overload
    def __get__(
        self, gateway: Awaited, kind: type
    ) -> Callable[_Arguments, Coroutine[Any, Any, _Result]]: ...
    @overload
    def __get__(self, gateway: None, kind: type) -> Callable[..., Any]: ...
    def __get__(self, gateway: object, kind: type) -> Any:
        method: Any = self._awaited if issubclass(kind, Awaited) else self._blocking
        return method if gateway is None else method.__get__(gateway)
