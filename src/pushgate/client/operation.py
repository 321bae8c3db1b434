"""Each call to a gateway is written once, for blocking code and for asyncio.

A call is a generator of steps (see :mod:`pushgate.client.delivery`). :class:`operation` makes
a method of it that takes them: a function in a gateway that blocks, a coroutine function in
one that is awaited.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import cache, wraps
from inspect import signature
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, get_args, overload

from pushgate.client.delivery import Steps

_Step = TypeVar("_Step")
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


async def carry_all(
    steps: Generator[_Step, Any, _Result], take: Callable[[_Step], Awaitable[Any]]
) -> _Result:
    """Let *take* carry out the *steps*, one after the other; return what they come to."""
    proceed: Callable[[Any], _Step] = steps.send
    outcome: Any = None
    try:
        while True:
            step = proceed(outcome)
            try:
                proceed, outcome = steps.send, await take(step)
            except Exception as error:  # noqa: BLE001  the steps raise it again
                proceed, outcome = steps.throw, error
    except StopIteration as done:
        result: _Result = done.value
        return result


def finished(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Return what *coroutine* returns, for blocking code.

    It needs no event loop, because whatever it awaits blocks instead of being suspended.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: _Result = done.value
        return result
    raise RuntimeError("the coroutine waits for an event loop")


class Blocking:
    """A gateway that waits for each step."""

    def carry_out(self, steps: Steps[_Result]) -> _Result:
        """Take *steps* one after the other, and return what they come to."""
        raise NotImplementedError


class Awaited:
    """A gateway that awaits each step."""

    async def carry_out(self, steps: Steps[_Result]) -> _Result:
        """Take *steps* one after the other, and return what they come to."""
        raise NotImplementedError


class operation(Generic[_Arguments, _Result]):  # noqa: N801  a decorator
    """A method that carries out the steps of the decorated generator function."""

    def __init__(self, steps: Callable[Concatenate[Any, _Arguments], Steps[_Result]]) -> None:
        self._steps = steps
        self.__doc__ = steps.__doc__

    @overload
    def __get__(self, gateway: Blocking, kind: type) -> Callable[_Arguments, _Result]: ...
    @overload
    def __get__(
        self, gateway: Awaited, kind: type
    ) -> Callable[_Arguments, Coroutine[Any, Any, _Result]]: ...
    @overload
    def __get__(self, gateway: None, kind: type) -> Callable[..., Any]: ...
    def __get__(self, gateway: object, kind: type) -> Any:
        method = _method(self._steps, is_awaited=issubclass(kind, Awaited))
        return method if gateway is None else method.__get__(gateway)


@cache
def _method(steps: Callable[..., Steps[Any]], *, is_awaited: bool) -> Any:
    if is_awaited:

        @wraps(steps)
        async def method(self: Awaited, *args: Any, **options: Any) -> Any:
            return await self.carry_out(steps(self, *args, **options))
    else:

        @wraps(steps)
        def method(self: Blocking, *args: Any, **options: Any) -> Any:
            return self.carry_out(steps(self, *args, **options))

    # help() and editors show what a caller gets, instead of the generator.
    result = get_args(steps.__annotations__["return"])[-1]
    method.__signature__ = signature(steps).replace(return_annotation=result)  # type: ignore[attr-defined]
    return method
