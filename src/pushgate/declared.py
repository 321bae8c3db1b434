"""Dataclasses of many options, for programs that others wait for."""

from dataclasses import dataclass, fields
from typing import Any, TypeVar, dataclass_transform

_Class = TypeVar("_Class", bound=type)


@dataclass_transform(frozen_default=True)
def declared(kind: _Class) -> _Class:
    """Make *kind*, in which each field has a default, a dataclass without its own ``__init__``.

    That would be written and compiled at each start. With a few dozen fields it takes longer than
    all else that the class needs.
    """
    dataclass(init=False, eq=False, repr=False)(kind)
    kind.__init__ = _set_fields  # type: ignore[misc]  # the same for all
    return kind


def _set_fields(self: Any, *by_position: object, **by_name: object) -> None:
    names = [each.name for each in fields(self) if not each.kw_only]
    if len(by_position) > len(names):
        raise TypeError(f"takes {len(names)} by position, not {len(by_position)}")
    given = dict(zip(names, by_position, strict=False))
    twice = given.keys() & by_name.keys()
    unknown = by_name.keys() - {each.name for each in fields(self)}
    if twice or unknown:
        raise TypeError(f"{'given twice' if twice else 'no such option'}: {min(twice or unknown)}")
    vars(self).update(given, **by_name)  # other fields are attributes of the class: the defaults
    if hasattr(self, "__post_init__"):
        self.__post_init__()
