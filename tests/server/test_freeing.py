"""Large shapes are freed piece by piece."""

import gc
from weakref import ref

import pytest

from pushgate.errors import TextFormatError
from pushgate.formats.text import TextReader
from pushgate.model import shape as module
from pushgate.model.family import FamilyShape, MetricType
from pushgate.model.names import NameRule
from pushgate.model.shape import interned
from pushgate.server.freeing import take_apart


class Label(str):
    """A label name that can be watched."""

    __slots__ = ("__weakref__",)


def large() -> tuple[FamilyShape, ...]:
    many = tuple(((Label(f"l{n}"), "x"),) for n in range(5000))
    few = [FamilyShape(f"m{n}", MetricType.GAUGE, None, ((),)) for n in range(5000)]
    return (FamilyShape("m", MetricType.GAUGE, None, many), *few)


def test_a_large_shape_that_nobody_holds_is_left_to_be_freed(monkeypatch):
    dropped = []
    monkeypatch.setattr(module, "release", dropped.append)
    families = large()
    labels = [ref(families[0].labels[n][0][0]) for n in (0, 4999)]
    shape = interned(families)
    assert not dropped
    del shape, families
    gc.collect()
    assert [label() for label in labels] == ["l0", "l4999"]
    [parts] = dropped
    dropped.clear()
    take_apart(parts)
    assert [label() for label in labels] == [None, None]


def test_a_large_push_that_is_known_or_refused_is_left_to_be_freed(monkeypatch):
    dropped = []
    monkeypatch.setattr(module, "release", dropped.append)
    known = interned(large())
    assert interned(large()) is known
    assert dropped
    dropped.clear()
    body = b"".join(b'm{l="%d"} 1\n' % n for n in range(5000))
    with pytest.raises(TextFormatError):
        TextReader(NameRule.LEGACY).read(body + b"m\n")
    gc.collect()
    assert dropped


def test_small_shapes_are_freed_at_once(monkeypatch):
    dropped = []
    monkeypatch.setattr(module, "release", dropped.append)
    interned((FamilyShape("freed_at_once", MetricType.GAUGE, None, ((),)),))
    gc.collect()
    assert not dropped
